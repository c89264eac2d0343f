"""Runs that find damage when they go on: it is named, and nothing is trained on from it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from versatune.schemas.errors import IntegrityError
from versatune.schemas.progress import Silence
from versatune.schemas.run import MeasuredReferences, RunRecord
from versatune.sft_runner.train import export, run
from versatune.versions.verify import verify

GIVEN = {"source": "given", "losses": {"law": 3.0, "code": 2.0, "general": 5.5}}


class Log(Silence):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def trained(work: Any) -> Path:
    return run(work.config, work.mixture_path, progress=Silence()).parent


def losses(directory: Path) -> list[tuple[Any, ...]]:
    """What a run must repeat bit for bit."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [(line["kind"], line["step"], line["loss"], line.get("grad_norm")) for line in lines]


def flip(file: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 16
    file.write_bytes(data)


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_named_and_the_losses_are_those_of_the_one_before_it(
    workplace: Callable, file: str
) -> None:
    work = workplace(train={"reference": GIVEN, "checkpoint_steps": 1, "keep_checkpoints": 3})
    directory = trained(work)
    expected, files = losses(directory), RunRecord.load(directory / "run.json").model_files
    (directory / "run.json").unlink()
    flip(directory / "checkpoints" / "00000009" / file)
    log = Log()
    run(work.config, work.mixture_path, progress=log)
    (said,) = [line for line in log.said if line.startswith("warning: checkpoint")]
    assert said.startswith("warning: checkpoint 00000009 cannot be used: ") and file in said
    assert said.endswith("the one before it is used")
    assert any("goes on from step 8 " in line for line in log.said)
    assert (losses(directory), RunRecord.load(directory / "run.json").model_files) == (expected, files)
    assert verify(directory, log)[1] == []


def test_a_run_without_a_whole_checkpoint_neither_goes_on_nor_starts_anew(workplace: Callable) -> None:
    work = workplace(train={"reference": GIVEN, "keep_checkpoints": 1})
    directory = trained(work)
    (directory / "run.json").unlink()
    flip(directory / "checkpoints" / "00000009" / "model.safetensors")
    before = (directory / "metrics.jsonl").read_bytes()
    for command in (lambda: trained(work), lambda: export(directory, progress=Silence())):
        with pytest.raises(
            IntegrityError, match=r"no whole checkpoint to go on from:\n  checkpoint 00000009 cannot be used"
        ):
            command()
    assert (directory / "metrics.jsonl").read_bytes() == before
    shutil.rmtree(directory / "checkpoints")  # as the message says
    trained(work)


def test_damaged_references_are_named_and_not_used(workplace: Callable) -> None:
    work = workplace()
    directory = trained(work)
    (directory / "run.json").unlink()
    file = directory / "references.json"
    file.write_text(file.read_text().replace('"epochs": 1', '"epochs": 3', 1))
    with pytest.raises(IntegrityError, match=r"references\.json: the content does not match its digest"):
        trained(work)


def test_references_of_an_earlier_versatune_are_used_and_said_to_be_unpinned(workplace: Callable) -> None:
    work = workplace()
    directory = trained(work)
    (directory / "run.json").unlink()
    file = directory / "references.json"
    measured = MeasuredReferences.load(file).domains
    file.write_text(json.dumps(measured))
    log = Log()
    run(work.config, work.mixture_path, progress=log)
    assert f"notice: {file} was written by an earlier versatune and has no checksum; it is used as it is" in log.said
    assert RunRecord.load(directory / "run.json").reference.protocol == measured


def test_a_record_of_an_earlier_versatune_verifies_and_says_what_it_does_not_pin(workplace: Callable) -> None:
    directory = trained(workplace(train={"reference": GIVEN}))
    record = RunRecord.load(directory / "run.json")
    old = record.changed(format_version=3, files=None)
    old.write(directory / "run.json")
    assert old.digest == record.digest
    log = Log()
    assert verify(directory, log) == (old, [])
    assert [line for line in log.said if "does not pin" in line or "did not pin" in line] == [
        (
            f"notice: {directory / 'run.json'} was made by an earlier versatune, which did not pin weights.jsonl, metrics.jsonl,"
            " references.json, export.json and adapter/: damage there is not found"
        )
    ]
