"""One process at a time in an output directory."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
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
    with Path(directory, f".{what}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(
                f"{directory}: another {what} is writing here; wait for it, or give this one another name or output"
            ) from None
        yield
