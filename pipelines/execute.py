"""Run a graph, quietly, and turn whatever a worker said into one error."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.options import make_runner
from schemas.errors import RunError, VersatuneError


def execute(stage: str, options: PipelineOptions, graph: Callable[[beam.Pipeline], None]) -> None:
    """Run a graph to its end.

    Raises:
        VersatuneError: what a worker raised.
        RunError: anything else that stopped it, in one line.
    """
    with _quiet():
        try:
            with beam.Pipeline(runner=make_runner(options), options=options) as root:
                graph(root)
        except VersatuneError:
            raise
        except Exception as error:
            raise RunError(f"{stage}: {_cause(error)}; run it again with --debug for the whole story") from error


def _cause(error: Exception) -> str:
    """Return the last line of what a worker said: Beam hands its whole trace over as one text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("File ", "^", "while running", "[while running"))]
    cause = (said or [type(error).__name__])[-1].partition(" [while running")[0]
    return cause.removeprefix("schemas.errors.RunError: ")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Beam's remarks to itself; what matters arrives as an exception."""
    loggers = [logging.getLogger(name) for name in ("apache_beam", "root", "google")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
