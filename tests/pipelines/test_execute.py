"""How a graph ends when somebody presses Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys

import apache_beam as beam
import pytest

from pipelines.execute import execute
from pipelines.options import _WORKER, pipeline_options


def _interrupt(_: int) -> None:
    raise KeyboardInterrupt


def test_an_interrupt_inside_a_graph_is_an_interrupt_and_no_failure() -> None:
    with pytest.raises(KeyboardInterrupt):
        execute("build", pipeline_options([], 1), lambda root: root | beam.Create([1]) | beam.Map(_interrupt))


def test_ctrl_c_ends_a_worker_process_without_a_trace() -> None:
    before, _, _ = _WORKER.format(root=".").partition("runpy.run_module(")
    program = f"{before}\nimport os\nos.kill(os.getpid(), signal.SIGINT)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")
