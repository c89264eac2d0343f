"""Which files (and not folders) are opened while something runs, by whom ever: asked of the kernel (inotify), so that no library can hide it."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OPEN, _OF_FOLDER, _NONBLOCK = 0x20, 0x40000000, 0o4000
_EVENT = struct.Struct("iIII")


@contextmanager
def opened(folder: Path) -> Iterator[list[str]]:
    """Watch a folder and all below it; the list is filled with the paths that were opened when the block ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(_NONBLOCK)
    assert descriptor >= 0, os.strerror(ctypes.get_errno())
    watched = {
        libc.inotify_add_watch(descriptor, os.fsencode(path), _OPEN): path
        for path in [folder, *folder.rglob("*")]
        if path.is_dir()
    }
    seen: list[str] = []
    try:
        yield seen
        while data := _read(descriptor):
            while data:
                watch, mask, _, length = _EVENT.unpack_from(data)
                name = data[_EVENT.size : _EVENT.size + length].rstrip(b"\0")
                if not mask & _OF_FOLDER:
                    seen.append(str(watched[watch] / os.fsdecode(name)))
                data = data[_EVENT.size + length :]
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except BlockingIOError:
        return b""
