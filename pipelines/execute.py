"""Run a graph, quietly, and turn whatever a worker said into one error."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from versatune.pipelines.options import make_runner
from versatune.pipelines.quiet import WORKER_THREAD, quiet
from versatune.schemas import errors
from versatune.schemas.errors import RunError, VersatuneError
from versatune.schemas.machine_faults import machine_fault, machine_fault_in

_SECONDS_TO_NOTICE = 3.0
_SECONDS_TO_HEED = 15.0
_DIED = "a worker process ended before its work did: it was killed, ran out of memory (try fewer workers), or could not start"
_SAID = re.compile(r"versatune\.schemas\.errors\.(\w+): (.*)")
"""What a worker process says of an error that is meant for the user."""
_WORKER_DIED = "Channel closed prematurely"  # all that Beam's local runner says about it


def execute(stage: str, options: PipelineOptions, graph: Callable[[beam.Pipeline], None]) -> None:
    """Run a graph to its end.

    Raises:
        VersatuneError: what a worker raised.
        RunError: anything else that stopped it, in one line.
        KeyboardInterrupt: the user did, also where a worker was hit.
    """
    with _quiet() as deaths:
        try:
            with beam.Pipeline(runner=make_runner(options), options=options) as root:
                graph(root)
        except VersatuneError as error:
            error.args = (_without_step(str(error)),)
            raise
        except KeyboardInterrupt:
            if not deaths.told:
                raise
            raise RunError(f"{stage}: {_DIED}") from None
        except Exception as error:
            cause = _cause(error)
            if cause == "KeyboardInterrupt":  # which Beam hands over as the text of a failure
                raise KeyboardInterrupt from None
            if said := _SAID.fullmatch(cause):
                raise getattr(errors, said[1], RunError)(f"{stage}: {said[2]}") from error
            if fault := machine_fault(error) or machine_fault_in(cause):
                raise RunError(f"{stage}: {fault}") from error
            raise RunError(f"{stage}: {cause}; run it again with --debug for the whole story") from error


def _cause(error: Exception) -> str:
    """Return the last line of what a worker said: Beam hands its whole trace over as one text."""
    if _WORKER_DIED in str(error):
        return _DIED
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Dataflow ends with "State: FAILED, Error:" and the error on the next line, which may be None.
    said = [
        line
        for line in lines
        if line != "None" and not line.startswith(("File ", "^", "while running", "[while running"))
    ]
    return _without_step((said or [type(error).__name__])[-1])


def _without_step(message: str) -> str:
    """Return a message without the name of the step, which Beam adds to whatever a worker raises."""
    return message.partition(" [while running")[0]


class _Deaths:
    """Ends a local run one of whose workers died: Beam may notice, and may also wait for that worker for ever."""

    def __init__(self) -> None:
        self.told = False
        self.over = threading.Event()
        self.can_interrupt = threading.current_thread() is threading.main_thread()

    def report(self) -> None:
        """Interrupt the run if it has not ended by itself in a moment; called in the thread that waited for the worker."""
        if self.can_interrupt:
            threading.Thread(target=self._interrupt, daemon=True).start()

    def _interrupt(self) -> None:
        seconds = _SECONDS_TO_NOTICE
        while not self.over.wait(seconds):
            self.told = True
            os.kill(os.getpid(), signal.SIGINT)  # the one thing that ends a wait in the main thread
            seconds = _SECONDS_TO_HEED  # Beam may have caught it, and gone on waiting


@contextmanager
def _quiet() -> Iterator[_Deaths]:
    """Keep Beam quiet, but for what it says of a worker's death."""
    deaths = _Deaths()
    deaf = deaths.can_interrupt and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if deaf:  # as a shell starts what it runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with quiet(lambda thread: deaths.report() if thread == WORKER_THREAD else None):
            yield deaths
    finally:
        deaths.over.set()
        if deaf:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
