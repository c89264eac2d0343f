"""Which engine runs a pipeline, and how: the local one unless the user's flags name another."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from versatune.schemas.errors import ConfigError
from versatune.transforms.transport.python_path import first_lines

LOCAL_RUNNER = "FnApiRunner"
_SMALL_INPUT_BYTES = 64 * 2**20
# A worker process prints nothing: its failures come back as exceptions.
# Ctrl-C reaches every process of a terminal and ends a worker at once, without a trace of where it was; so does the launcher's death,
# or a restarted build would find it still writing. Rows die by reference count, so cycles are looked for seldom. At its end a worker
# has nothing left to do: taking the interpreter down in order takes it half a second.
_WORKER = """\
import ctypes, gc, logging, os, runpy, signal, sys
logging.disable(logging.CRITICAL)
signal.signal(signal.SIGINT, signal.SIG_DFL)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
gc.set_threshold(1_000_000, 50, 100)
from apache_beam.runners.worker import sdk_worker
sdk_worker.print = lambda *args, **kwargs: None  # the trace of what is raised, which goes back to the launcher too
try:
    runpy.run_module("apache_beam.runners.worker.sdk_worker_main", run_name="__main__", alter_sys=True)
except BaseException:
    os._exit(1)
os._exit(0)
"""


def local_workers(configured: int, input_bytes: int) -> int:
    """Return the number of local processes: as configured, or for 0 one for a small input, else one per core.

    Outside the main thread it is one: a run with workers is ended by an interrupt when one of them dies, which only the main thread hears.
    """
    if threading.current_thread() is not threading.main_thread():
        return 1
    if configured:
        return configured
    return 1 if input_bytes < _SMALL_INPUT_BYTES else _cores()


def _cores() -> int:
    """Return how many cores this process may use; where the system does not tell, how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pipeline_options(beam_args: Sequence[str], workers: int) -> PipelineOptions:
    """Return Beam's options: the user's flags over the local defaults.

    Args:
        beam_args: flags for Beam, such as ``--runner=DataflowRunner``. If they name a runner, the local defaults step back.
        workers: local processes.

    Raises:
        ConfigError: a flag Beam does not know, a value it does not take, or a mode that loses rows.
    """
    _check(beam_args)
    # The local runner is named: Beam's default one first looks for a binary on the network.
    named = runner_name(PipelineOptions(list(beam_args)))
    local = [f"--runner={LOCAL_RUNNER}", f"--direct_num_workers={workers}"] if named in ("", LOCAL_RUNNER) else []
    options = PipelineOptions([*local, *beam_args])
    if options.view_as(DirectOptions).direct_running_mode == "multi_threading":
        raise ConfigError(
            "--direct_running_mode=multi_threading: Beam's local runner loses rows in this mode; use in_memory or multi_processing"
        )
    return options


def make_runner(options: PipelineOptions) -> FnApiRunner | None:
    """Return the local runner, with quiet worker processes where there is more than one; None lets Beam make the one that is named."""
    if runner_name(options) != LOCAL_RUNNER:
        return None
    if options.view_as(DirectOptions).direct_num_workers <= 1:
        return FnApiRunner()
    command = f"exec {shlex.quote(sys.executable)} -c {shlex.quote(first_lines() + _WORKER)}"  # exec: no shell stays between us and the worker
    return FnApiRunner(default_environment=SubprocessSDKEnvironment.from_command_string(command))


def runner_name(options: PipelineOptions) -> str:
    """Return the engine's name without its package; empty when none is named."""
    return (options.view_as(StandardOptions).runner or "").rpartition(".")[2]


def _check(beam_args: Sequence[str]) -> None:
    found: list[argparse.ArgumentParser] = []
    PipelineOptions([]).get_all_options(add_extra_args_fn=found.append)
    parser = found[0]

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"flags for Beam: {message}")

    parser.error = refuse  # type: ignore[method-assign]  # argparse would print its usage (hundreds of flags) and exit
    _, unknown = parser.parse_known_args(list(beam_args))
    if unknown:
        flag = unknown[0].split("=")[0]
        raise ConfigError(f"Beam knows no flag {flag}; flags after -- go to Beam, those of versatune stand before it")
