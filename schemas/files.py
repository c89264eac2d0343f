"""Local files that are either whole or absent, and digests that do not depend on the process."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from versatune.schemas.machine_faults import naming

_BLOCK_BYTES = 1 << 20


def canonical_json(value: Any) -> bytes:
    """Serialise JSON data to one byte string per value: sorted keys, no blanks, shortest float form."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def sha256_bytes(data: bytes) -> str:
    """Return the sha256 of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def sha256_json(value: Any) -> str:
    """Return the sha256 of a JSON value's canonical form, in hex."""
    return sha256_bytes(canonical_json(value))


def sha256_file(path: str | Path) -> str:
    """Return the sha256 of a file, in hex, read in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def write_atomic(path: str | Path, data: bytes) -> None:
    """Write a file so that a reader, or a run after a crash, finds the old one, or the new one whole."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with naming(target), open(partial, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    sync(target.parent)


@contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Give an empty directory to fill; it takes its name only if the block ends without an exception.

    What has the name already keeps it until then, and is never half there. What a killed run left is swept by the next call for the
    same path.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in target.parent.glob(f".{target.name}.*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    partial.mkdir()
    try:
        yield partial
        old = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
        if target.exists():
            target.rename(old)
        partial.rename(target)
        _remove(old)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sync(target.parent)


def _remove(old: Path) -> None:
    """Delete what had a name before; of a link the link alone."""
    if old.is_symlink():
        old.unlink()
    else:
        shutil.rmtree(old, ignore_errors=True)


def sync(path: Path) -> None:
    """Make a file's content, or the names in a directory, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
