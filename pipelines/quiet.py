"""Keep what Beam says to itself, and leave what everybody else logs alone."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

# In these threads Beam's local runner waits for a worker process to end, and for what it sends.
WORKER_THREAD = "run_worker"
_BEAM_THREADS = (WORKER_THREAD, "beam_control_read", "read_grpc_client_inputs")
_LOGGERS = ("apache_beam", "google", "grpc")
_INSIDE_BEAM = f"{os.sep}apache_beam{os.sep}"

_lock = threading.Lock()
_hearers: list[Callable[[str], None]] = []
_undo = ExitStack()
_depth = 0


@contextmanager
def quiet(hear: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Silence Beam's loggers, its remarks to the root logger and its threads' traces; the last of several that leaves restores all.

    Args:
        hear: given the name of a thread that died of an exception.
    """
    global _undo, _depth
    with _lock:
        _hearers.append(hear)
        if not _depth:
            _undo = _hush()
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _hearers.remove(hear)
            _depth -= 1
            if not _depth:
                _undo.close()


def _hush() -> ExitStack:
    undo, root = ExitStack(), logging.getLogger()
    for logger in map(logging.getLogger, _LOGGERS):
        undo.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.CRITICAL)
    root.addFilter(_not_of_beam)
    undo.callback(root.removeFilter, _not_of_beam)
    if not root.handlers:  # or Beam's first remark would configure logging for the whole program
        handler = logging.NullHandler()
        root.addHandler(handler)
        undo.callback(root.removeHandler, handler)
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread else ""
        for hear in [*_hearers]:
            hear(name)
        if name not in _BEAM_THREADS:
            before(args)

    threading.excepthook = hook
    undo.callback(setattr, threading, "excepthook", before)
    return undo


def _not_of_beam(record: logging.LogRecord) -> bool:
    return _INSIDE_BEAM not in record.pathname
