"""One process at a time in an output directory."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from versatune.schemas.errors import RunError


@contextmanager
def only_one(directory: str | Path, what: str) -> Iterator[None]:
    """Refuse to run twice at once on one local directory; the system frees the lock of a killed run.

    Args:
        directory: made if it is not there.
        what: build, probe or train; named in the error and in the lock's file.

    Raises:
        RunError: another process is at it.
    """
    Path(directory).mkdir(parents=True, exist_ok=True)
    with _open(Path(directory, f".{what}.lock")) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(
                f"{directory}: another {what} is writing here; wait for it, or give this one another name or output"
            ) from None
        yield


def _open(file: Path) -> FileIO:
    """Open a lock's file, made if it is not there; never the one that a link leads to."""
    try:
        return FileIO(os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+")
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise RunError(f"{file}: is a link; a lock is a file of its own. Delete it") from None
