"""How a graph ends when somebody presses Ctrl-C, or a worker is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import apache_beam as beam
import pytest

import versatune.pipelines.execute
from versatune.pipelines.execute import execute
from versatune.pipelines.options import _WORKER, pipeline_options


def _interrupt(_: int) -> None:
    raise KeyboardInterrupt


def test_an_interrupt_inside_a_graph_is_an_interrupt_and_no_failure() -> None:
    with pytest.raises(KeyboardInterrupt):
        execute("build", pipeline_options([], 1), lambda root: root | beam.Create([1]) | beam.Map(_interrupt))


def test_ctrl_c_ends_a_worker_process_without_a_trace() -> None:
    before, _, _ = _WORKER.partition("try:")
    program = f"{before}\nimport os\nos.kill(os.getpid(), signal.SIGINT)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


# A program of its own: what its graph does is pickled with it, which a test module's functions are not.
_DYING = """
import os, signal
import apache_beam as beam
import versatune.pipelines.execute
from versatune.pipelines.execute import execute
from versatune.pipelines.options import pipeline_options

def die(_):
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    execute("build", pipeline_options([], 2), lambda root: root | beam.Create([1]) | beam.Map(die))
"""


@pytest.mark.parametrize("start", ["", "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"])
def test_a_worker_that_is_killed_ends_the_run_with_one_error(tmp_path: Path, start: str) -> None:
    program = tmp_path / "dying.py"
    program.write_text(start + _DYING)  # the second as a shell starts it in the background
    environment = os.environ | {"PYTHONPATH": str(Path(versatune.pipelines.execute.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, check=False, timeout=120, env=environment
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "versatune.schemas.errors.RunError: build: a worker process ended before its work did: it was killed, ran out of memory (try fewer workers), or could not start"
    )
