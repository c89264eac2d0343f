"""Run a graph, quietly, and turn whatever a worker said into one error."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.options import make_runner
from schemas.errors import RunError, VersatuneError

_BEAM_THREADS = ("run_worker", "beam_control_read", "read_grpc_client_inputs")
_WORKER_DIED = "Channel closed prematurely"  # all that Beam's local runner says about it


def execute(stage: str, options: PipelineOptions, graph: Callable[[beam.Pipeline], None]) -> None:
    """Run a graph to its end.

    Raises:
        VersatuneError: what a worker raised.
        RunError: anything else that stopped it, in one line.
        KeyboardInterrupt: the user did, also where a worker was hit.
    """
    with _quiet():
        try:
            with beam.Pipeline(runner=make_runner(options), options=options) as root:
                graph(root)
        except VersatuneError:
            raise
        except Exception as error:
            cause = _cause(error)
            if cause == "KeyboardInterrupt":  # which Beam hands over as the text of a failure
                raise KeyboardInterrupt from None
            raise RunError(f"{stage}: {cause}; run it again with --debug for the whole story") from error


def _cause(error: Exception) -> str:
    """Return the last line of what a worker said: Beam hands its whole trace over as one text."""
    if _WORKER_DIED in str(error):
        return "a worker process ended before its work did: killed, or out of memory (try fewer workers)"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("File ", "^", "while running", "[while running"))]
    cause = (said or [type(error).__name__])[-1].partition(" [while running")[0]
    return cause.removeprefix("schemas.errors.RunError: ")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the remarks and thread traces of Beam to itself; what matters arrives as an exception."""
    loggers = [logging.getLogger(name) for name in ("apache_beam", "root", "google")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    hook = threading.excepthook
    threading.excepthook = lambda args: None if _is_beams(args.thread) else hook(args)
    try:
        yield
    finally:
        threading.excepthook = hook
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _is_beams(thread: threading.Thread | None) -> bool:
    return thread is not None and thread.name in _BEAM_THREADS
