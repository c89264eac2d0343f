"""Checkpoints are whole and hold what they are given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from versatune.schemas.checkpoint import CheckpointState, Counters, read_checkpoint, whole_checkpoints
from versatune.schemas.errors import IntegrityError
from versatune.schemas.files import sha256_bytes
from versatune.sft_runner.checkpoint import CHECKPOINTS, load_tensors, newest_whole, save_checkpoint
from versatune.sft_runner.dataset import read_pool
from versatune.sft_runner.lora import add_adapter
from versatune.sft_runner.model import Trainee, load_trainee
from versatune.sft_runner.steps import make_optimizer, train_step

IDENTITY = {"mixture_digest": "m", "model_sha256": "w", "train": {"method": "full"}, "seed": 1}
LOG = b'{"kind": "step"}'


def state(step: int, **changes: object) -> CheckpointState:
    counters = Counters.zero(3)
    counters.step = step
    return CheckpointState.create(
        **IDENTITY | changes, counters=counters, mixer={}, held_out_nll=[[0.1], [], [1 / 3]], logs={"metrics": 5},
        log_sha256={"metrics": sha256_bytes(LOG[:5])}, files={"x": ""},
    )  # fmt: skip


@pytest.fixture
def run(stepped: tuple, tmp_path: Path) -> Path:
    """A run with the checkpoints 1 and 2, its log longer than they know."""
    (tmp_path / "metrics.jsonl").write_bytes(LOG)
    for step in (1, 2):
        save_checkpoint(tmp_path / CHECKPOINTS, state(step), *stepped[:2], keep=2)
    return tmp_path


@pytest.fixture
def stepped(workplace: Callable, tiny_model: Path) -> tuple[Trainee, torch.optim.Optimizer, Trainee]:
    """A trainee after one step, its optimizer, and a fresh one."""
    work = workplace()
    rows = read_pool(work.mixture, work.mixture_path).train[0]
    trainee, fresh = (load_trainee(work.config, tiny_model) for _ in range(2))
    optimizer = make_optimizer(trainee, 1e-3, 0.0)
    train_step(
        trainee,
        optimizer,
        [rows[0]],
        5,
        micro_batch_rows=1,
        learning_rate=1e-3,
        max_grad_norm=1.0,
        seed=0,
        where="here",
    )
    return trainee, optimizer, fresh


def test_what_is_saved_comes_back_bit_for_bit(stepped: tuple, tmp_path: Path) -> None:
    trainee, optimizer, fresh = stepped
    (tmp_path / "metrics.jsonl").write_bytes(LOG)
    save_checkpoint(tmp_path, state(1), trainee, optimizer, keep=2)
    found, problems = read_checkpoint(tmp_path / "00000001", tmp_path)
    assert found is not None and problems == []
    assert found.changed(files={"x": ""}) == state(1)
    other = make_optimizer(fresh, 1e-3, 0.0)
    load_tensors(tmp_path / "00000001", fresh, other)
    for name, parameter in trainee.parameters().items():
        twin = fresh.parameters()[name]
        assert torch.equal(parameter, twin)
        assert optimizer.state[parameter].keys() == other.state[twin].keys()
        assert all(torch.equal(v, other.state[twin][k]) for k, v in optimizer.state[parameter].items())


def test_old_checkpoints_go_only_after_the_new_one_is_whole(stepped: tuple, tmp_path: Path) -> None:
    trainee, optimizer, _ = stepped
    for step in (1, 2, 10):
        save_checkpoint(tmp_path, state(step), trainee, optimizer, keep=2)
    assert [p.name for p in whole_checkpoints(tmp_path)] == ["00000002", "00000010"]
    (tmp_path / ".00000011.abcd.partial").mkdir()  # what a killed write leaves
    assert [p.name for p in whole_checkpoints(tmp_path)] == ["00000002", "00000010"]


@pytest.mark.parametrize("field", ["mixture_digest", "model_sha256", "train", "seed"])
def test_another_runs_checkpoint_is_refused_by_field(run: Path, field: str) -> None:
    mine = IDENTITY | {field: {"x": 1} if field == "train" else 7 if field == "seed" else "y"}
    with pytest.raises(IntegrityError, match=rf"00000002: {field} is"):
        newest_whole(run, mine)


def test_a_checkpoint_of_other_parameters_is_refused(stepped: tuple, workplace: Callable, tmp_path: Path) -> None:
    trainee, optimizer, fresh = stepped
    save_checkpoint(tmp_path, state(1), trainee, optimizer, keep=2)
    adapted = add_adapter(fresh, workplace().config.train.lora, seed=0)
    with pytest.raises(IntegrityError, match="is in only one of checkpoint and model"):
        load_tensors(tmp_path / "00000001", adapted, make_optimizer(adapted, 1e-3, 0.0))


def flip(file: Path, at: int) -> None:
    """Change one bit."""
    data = bytearray(file.read_bytes())
    data[at] ^= 4
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "at", "said"),
    [
        ("model.safetensors", -1, "model.safetensors: sha256 is"),
        ("model.safetensors", 20, "model.safetensors: sha256 is"),
        ("optimizer.safetensors", -3, "optimizer.safetensors: sha256 is"),
        ("state.json", 40, "state.json: "),
        ("state.json", -30, "state.json: "),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(run: Path, name: str, at: int, said: str) -> None:
    flip(run / CHECKPOINTS / "00000002" / name, at)
    found = newest_whole(run, IDENTITY)
    assert (found.directory.name, found.state.counters.step) == ("00000001", 1)
    (line,) = found.damaged
    assert line.startswith("checkpoint 00000002 cannot be used: ") and said in line


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_checkpoint_that_lacks_a_file_is_not_used(run: Path, name: str) -> None:
    (run / CHECKPOINTS / "00000002" / name).unlink()
    (line,) = newest_whole(run, IDENTITY).damaged
    assert name in line


def test_a_link_out_of_the_run_is_no_file_of_a_checkpoint(run: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "model.safetensors"
    file = run / CHECKPOINTS / "00000002" / "model.safetensors"
    file.rename(elsewhere)  # the very bytes that are pinned
    file.symlink_to(elsewhere)
    (line,) = newest_whole(run, IDENTITY).damaged
    assert "a link leads there" in line


def test_a_log_that_is_not_what_was_written_before_the_checkpoint_is_named(run: Path) -> None:
    flip(run / "metrics.jsonl", 9)  # after it: those steps are taken again
    assert newest_whole(run, IDENTITY).damaged == []
    flip(run / "metrics.jsonl", 3)
    with pytest.raises(IntegrityError, match=r"metrics.jsonl: its first 5 bytes are not those"):
        newest_whole(run, IDENTITY)


def test_nothing_starts_from_the_beginning_unasked(run: Path) -> None:
    for step in (1, 2):
        flip(run / CHECKPOINTS / f"0000000{step}" / "model.safetensors", 50)
    with pytest.raises(IntegrityError) as caught:
        newest_whole(run, IDENTITY)
    said = str(caught.value).splitlines()
    assert said[0].endswith("there is no whole checkpoint to go on from:")
    assert ["00000002" in said[1], "00000001" in said[2]] == [True, True]
    assert "delete" in said[3]
    assert newest_whole(run / "another", IDENTITY) is None


def test_a_checkpoint_of_an_earlier_versatune_is_used_and_says_what_it_does_not_pin(run: Path) -> None:
    file = run / CHECKPOINTS / "00000002" / "state.json"
    old = CheckpointState.load(file).changed(format_version=2, files=None, log_sha256=None)
    old.write(file)
    assert b"files" not in file.read_bytes()
    found = newest_whole(run, IDENTITY)
    assert found.state == old
    assert found.state.unpinned == ["its tensors", "the logs up to it"]


def test_a_parameter_that_never_had_a_gradient_comes_back_without_moments(stepped: tuple, tmp_path: Path) -> None:
    trainee, optimizer, fresh = stepped
    name, parameter = next(iter(trainee.parameters().items()))
    del optimizer.state[parameter]
    save_checkpoint(tmp_path, state(1), trainee, optimizer, keep=1)
    other = make_optimizer(fresh, 1e-3, 0.0)
    load_tensors(tmp_path / "00000001", fresh, other)
    restored = fresh.parameters()
    assert [n for n, p in restored.items() if p not in other.state] == [name]
    assert torch.equal(restored[name], parameter)
