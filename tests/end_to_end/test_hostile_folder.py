"""Folders and files beside the user that share a name with our rooms, or with the standard library, do no harm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | ({} if sys.flags.isolated else {"PYTHONPATH": str(ROOT)})  # the checkout, from any folder
ROOMS = ("schemas", "mixing", "transforms", "pipelines", "sft_runner", "reporting", "cli", "versions")
MODULE = [sys.executable, "-m", "versatune"]  # the working directory comes first on the path
SCRIPT = [sys.executable, "-P", "-m", "versatune"]  # as the console script, which does not look there
STANDARD = ("random", "queue", "logging", "types", "tempfile")


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path) -> Path:
    """A user's folder: raw rows, a configuration, and packages of their own that must never be imported."""
    for room in ROOMS:
        _raises(tmp_path / room / "__init__.py")
    rows = [{"question": f"What is {n} plus {n}?", "answer": f"It is {2 * n}."} for n in range(60)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "name": "hostile",
        "output": "out",
        "model": {"path": str(tiny_model)},
        "sources": [{"name": "sums", "files": ["rows.jsonl"], "domain": "science"}],
        "build": {"workers": 2, "batch_rows": 10, "validation_fraction": 0.2, "max_tokens": 256},
        "mix": {"policy": "proportional", "budget": 8, "segments": 1, "mixer": {"name": "constant"}},
        "train": {"global_batch_rows": 4, "micro_batch_rows": 4, "dtype": "float32", "device": "cpu"},
    }
    (tmp_path / "my.yaml").write_text(json.dumps(config))
    return tmp_path


def _raises(file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"raise SystemError('{file.stem} of the user was imported by mistake')\n")


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def said(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_user_may_have_folders_that_are_called_as_our_rooms(folder: Path) -> None:
    built = said(run(folder, *MODULE, "build", "my.yaml", "--json"))
    assert (built["read"], built["written"]) == (60, 60)
    program = (
        "import versatune; config = versatune.load_config('my.yaml')\n"
        "print(versatune.read_dataset(versatune.build(config)).digest, versatune.read_mixture(versatune.mix(config)).budget)"
    )
    assert run(folder, sys.executable, "-c", program).stdout.split() == [built["digest"], "8"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "1"]
    run(folder, *torchrun, "-m", "versatune", "train", "my.yaml")
    newest = "import versatune; print(versatune.read_run('out/hostile/runs').steps)"
    assert run(folder, sys.executable, "-c", newest).stdout.split() == ["2"]


def test_a_worker_does_not_look_into_the_working_directory_where_its_launcher_does_not(folder: Path) -> None:
    for name in STANDARD:
        _raises(folder / f"{name}.py")
    built = said(run(folder, *SCRIPT, "build", "my.yaml", "--json"))
    assert (built["read"], built["written"]) == (60, 60)
