"""A limit of time for a chat template: a program that its author may have written so that it never ends.

It holds in every thread of every process. One thread looks every half second after the work that is going on in the others, and raises in
the one that takes too long; it is there only while there is such work. A second in which the whole process stands still (a laptop asleep)
does not count.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

TICK_S = 0.5
LIMIT_S = 10.0
"""A template writes a conversation of a few turns in a thousandth of a second, one of many megabytes in a second."""


class TookTooLong(BaseException):
    """Raised in the midst of the work; no Exception, since a template's own handlers must not take it for an error of theirs."""


class _Watch:
    """The work that goes on in this process, by thread."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._lock = threading.Lock()
        self._ticks: dict[int, int] = {}
        self._raised: set[int] = set()
        self._works = False

    def begin(self, thread: int) -> None:
        with self._lock:
            self._ticks[thread] = 0
            if not self._works:
                self._works = True
                threading.Thread(target=self._look, name="template-time-limit", daemon=True).start()

    def end(self, thread: int) -> None:
        with self._lock:
            self._ticks.pop(thread, None)
            if thread in self._raised:  # raised as the work ended: nothing may be left to be raised later
                self._raised.discard(thread)
                _raise_in(thread, None)

    def _look(self) -> None:
        idle = False
        while True:
            time.sleep(TICK_S)
            with self._lock:
                if idle and not self._ticks:
                    self._works = False
                    return
                idle = not self._ticks
                for thread, ticks in self._ticks.items():
                    self._ticks[thread] = ticks + 1
                    if ticks * TICK_S >= LIMIT_S and thread not in self._raised:
                        self._raised.add(thread)
                        _raise_in(thread, TookTooLong)


_watch = _Watch()


@contextmanager
def time_limit() -> Iterator[None]:
    """End what takes longer than the limit; not to be nested.

    Raises:
        TookTooLong: it did.
    """
    global _watch  # a forked process has none of its parent's threads
    if _watch.process != os.getpid():
        _watch = _Watch()
    watch, thread = _watch, threading.get_ident()
    watch.begin(thread)
    try:
        yield
    finally:
        watch.end(thread)


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Raise an error in another thread as soon as it runs Python; None takes back one that it has not got yet."""
    argument = ctypes.py_object(error) if error is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), argument)
