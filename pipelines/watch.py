"""Look at what a local run has written so far, while it writes, and tell the listener."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from versatune.schemas.progress import Progress

_SECONDS_BETWEEN_LOOKS = 0.5


@contextmanager
def watched(look: Callable[[], None], progress: Progress) -> Iterator[None]:
    """Call ``look`` twice a second, in a thread of its own, until the block ends; then end the listener's task."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(_SECONDS_BETWEEN_LOOKS):
            look()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()

    def rest() -> None:
        stop.set()
        watcher.join()

    try:
        yield
        rest()
        look()  # at what was done since it looked last
    finally:
        rest()
        progress.end()
