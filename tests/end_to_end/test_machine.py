"""A full disk, one that can only be read, a place that cannot be: one message with path and remedy, and never "a fault in versatune"."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from versatune.cli.command import guarded
from versatune.cli.terminal import Terminal

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def may_mount() -> bool:
    """Say whether a process of its own namespace may mount something, which nobody else sees."""
    if not shutil.which("unshare"):
        return False
    command = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs tmpfs /tmp"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


needs_mounts = pytest.mark.skipif(not may_mount(), reason="no mounts in a namespace of one's own here")


def prepared(folder: Path) -> Path:
    rng = random.Random(0)
    (folder / "raw").mkdir()
    with (folder / "raw" / "a.jsonl").open("w") as stream:
        for number in range(3000):
            noise = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz ") for _ in range(300))
            stream.write(json.dumps({"prompt": f"What is number {number}?", "completion": noise}) + "\n")
    build = {"tokenize": False, "workers": 1, "batch_rows": 300}
    sources = [{"name": "s", "files": ["raw/a.jsonl"]}]
    (folder / "c.json").write_text(json.dumps({"name": "t", "output": "out", "sources": sources, "build": build}))
    (folder / "out").mkdir()
    return folder


def versatune(folder: Path, arguments: Sequence[str], *, mount: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "versatune", *arguments]
    if mount:
        command = ["unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh", *command]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def failed(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "fault in versatune" not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


@needs_mounts
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_disk_that_gets_full_in_the_midst_of_a_build(tmp_path: Path, workers: str) -> None:
    folder = prepared(tmp_path)
    said = failed(
        versatune(
            folder,
            ["build", "c.json", "--set", f"build.workers={workers}"],
            mount=f"mount -t tmpfs -o size=600k tmpfs {folder}/out",
        )
    )
    assert f"{folder}/out/t/" in said
    assert ": no space is left on the disk. Free some there" in said


@needs_mounts
def test_a_disk_that_can_only_be_read(tmp_path: Path) -> None:
    folder = prepared(tmp_path)
    said = failed(versatune(folder, ["build", "c.json"], mount=f"mount -t tmpfs -o ro tmpfs {folder}/out"))
    assert said.startswith(f"error: {folder}/out/t: the file system can only be read. Give 'output'")


@pytest.mark.parametrize(
    ("output", "what"), [("file/below", "a part of the path is a file"), ("/proc/nowhere", "no such file or folder")]
)
def test_a_place_that_cannot_be(tmp_path: Path, output: str, what: str) -> None:
    folder = prepared(tmp_path)
    (folder / "file").write_text("")
    said = failed(versatune(folder, ["build", "c.json", "--set", f"output={output}"]))
    assert what in said
    assert output.rsplit("/", maxsplit=1)[-1] in said


def test_every_command_ends_in_the_same_way(capfd: pytest.CaptureFixture[str]) -> None:
    def work(_: Terminal) -> Any:
        raise OSError(28, "No space left on device", "/out/x")

    with pytest.raises(typer.Exit) as end:
        guarded(work, as_json=True, debug=False)
    assert end.value.exit_code == 1
    answer = capfd.readouterr()
    assert json.loads(answer.out)["error"].startswith("/out/x: no space is left on the disk")
    assert "fault" not in answer.err
