"""Checksums of files, computed once in a process for a file that has not changed."""

from __future__ import annotations

import os
import time
from functools import lru_cache
from pathlib import Path

from versatune.schemas.files import sha256_file

_SETTLED_NS = 2 * 10**9  # a file may change again within the same tick of its file system's clock


def checksum(file: Path) -> str:
    """Return a file's sha256, in hex.

    One run checks the same dataset for several stages; a file whose last change is a while ago is read for the first.
    """
    stat = file.stat()
    if time.time_ns() - stat.st_mtime_ns < _SETTLED_NS:
        return sha256_file(file)
    return _once(os.path.abspath(file), stat.st_ino, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=2**16)
def _once(path: str, _inode: int, _size: int, _modified_ns: int) -> str:
    return sha256_file(path)
