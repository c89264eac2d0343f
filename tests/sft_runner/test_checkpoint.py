"""Checkpoints are whole and hold what they are given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from versatune.schemas.errors import DataError, IntegrityError
from versatune.sft_runner.checkpoint import (
    CheckpointState,
    Counters,
    load_state,
    load_tensors,
    save_checkpoint,
    whole_checkpoints,
)
from versatune.sft_runner.dataset import read_pool
from versatune.sft_runner.lora import add_adapter
from versatune.sft_runner.model import Trainee, load_trainee
from versatune.sft_runner.steps import make_optimizer, train_step

IDENTITY = {"mixture_digest": "m", "model_sha256": "w", "train": {"method": "full"}, "seed": 1}


def state(step: int, **changes: object) -> CheckpointState:
    counters = Counters.zero(3)
    counters.step = step
    return CheckpointState.create(
        **IDENTITY | changes, counters=counters, mixer={}, held_out_nll=[[0.1], [], [1 / 3]], logs={"metrics": 5}
    )


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
    save_checkpoint(tmp_path, state(1), trainee, optimizer, keep=2)
    assert load_state(tmp_path / "00000001", IDENTITY) == state(1)
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
def test_another_runs_checkpoint_is_refused_by_field(stepped: tuple, tmp_path: Path, field: str) -> None:
    trainee, optimizer, _ = stepped
    save_checkpoint(tmp_path, state(1, **{field: {"x": 1} if field == "train" else 7 if field == "seed" else "y"}),
                    trainee, optimizer, keep=2)  # fmt: skip
    with pytest.raises(IntegrityError, match=rf"00000001: {field} is"):
        load_state(tmp_path / "00000001", IDENTITY)


def test_a_checkpoint_of_other_parameters_is_refused(stepped: tuple, workplace: Callable, tmp_path: Path) -> None:
    trainee, optimizer, fresh = stepped
    save_checkpoint(tmp_path, state(1), trainee, optimizer, keep=2)
    adapted = add_adapter(fresh, workplace().config.train.lora, seed=0)
    with pytest.raises(IntegrityError, match="is in only one of checkpoint and model"):
        load_tensors(tmp_path / "00000001", adapted, make_optimizer(adapted, 1e-3, 0.0))


def test_a_changed_state_is_refused(stepped: tuple, tmp_path: Path) -> None:
    trainee, optimizer, _ = stepped
    save_checkpoint(tmp_path, state(1), trainee, optimizer, keep=2)
    file = tmp_path / "00000001" / "state.json"
    file.write_bytes(file.read_bytes().replace(b'"step": 1', b'"step": 2'))
    with pytest.raises(IntegrityError, match="does not match its digest"):
        load_state(tmp_path / "00000001", IDENTITY)
    file.unlink()
    with pytest.raises(DataError, match="no such file"):
        load_state(tmp_path / "00000001", IDENTITY)


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
