"""Checkpoints: safetensors and JSON, either whole or absent, and enough to continue with the same bits.

A directory ``checkpoints/<step>/`` holds ``model.safetensors`` (the trained parameters by name), ``optimizer.safetensors``
(AdamW's two moments and step count, by parameter name) and ``state.json``. No random state is stored because there is
none: every step seeds its own generator from the run's seed and the step number.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load_file, save_file

from versatune.schemas.document import Document
from versatune.schemas.errors import IntegrityError
from versatune.schemas.files import atomic_directory, sync
from versatune.sft_runner.model import Trainee

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class Counters(BaseModel):
    """Where a run is, and what it has used. Vectors are in the order of the mixture's domains."""

    model_config = ConfigDict(extra="forbid")

    step: int = Field(default=0, description="optimizer steps taken")
    segment: int = Field(default=0, description="segments finished")
    position: int = Field(default=0, description="rows of the current segment trained on")
    rows: list[int] = Field(description="rows drawn so far")
    tokens: list[int] = Field(description="tokens drawn so far")
    loss_tokens: list[int] = Field(description="scored tokens drawn so far")
    rows_before: list[int] = Field(description="rows drawn before the current segment")
    train_nll: list[float] = Field(description="nats over the current segment")
    train_tokens: list[int] = Field(description="scored tokens of the current segment")
    seconds: float = Field(default=0.0, description="spent so far, over all starts")
    step_seconds: float = Field(default=0.0, description="of these, in optimizer steps")

    @classmethod
    def zero(cls, domains: int) -> Self:
        """Before the first step."""
        vectors = ("rows", "tokens", "loss_tokens", "rows_before", "train_nll", "train_tokens")
        return cls.model_validate({name: [0] * domains for name in vectors})

    def next_segment(self) -> None:
        """Begin to count a new segment."""
        self.segment, self.position, self.rows_before = self.segment + 1, 0, list(self.rows)
        self.train_nll, self.train_tokens = [0.0] * len(self.rows), [0] * len(self.rows)


class CheckpointState(Document):
    """Everything of a run that is not a tensor."""

    KIND: ClassVar[str] = "versatune/checkpoint"
    MADE_BY: ClassVar[str] = "versatune train CONFIG"

    mixture_digest: str
    model_sha256: str
    train: dict[str, Any] = Field(description="the train section")
    seed: int
    counters: Counters
    mixer: dict[str, Any] = Field(description="the mixer's state; its weights compose the current segment")
    held_out_nll: list[list[float]] = Field(description="nats of every held-out row at the last evaluation")
    logs: dict[str, int] = Field(description="bytes of each log when this was made")


def save_checkpoint(
    folder: Path, state: CheckpointState, trainee: Trainee, optimizer: torch.optim.Optimizer, keep: int
) -> None:
    """Write ``folder/<step>`` and then delete all but the newest ``keep`` checkpoints."""
    parameters = trainee.parameters()
    moments = {
        f"{moment}/{name}": optimizer.state[parameter][moment]
        for name, parameter in parameters.items()
        for moment in _MOMENTS
        if parameter in optimizer.state
    }
    with atomic_directory(folder / f"{state.counters.step:08d}") as made:
        save_file({name: p.detach().contiguous() for name, p in parameters.items()}, made / "model.safetensors")
        save_file(moments, made / "optimizer.safetensors")
        state.write(made / "state.json")
        for file in made.iterdir():
            sync(file)
    for old in whole_checkpoints(folder)[:-keep]:
        shutil.rmtree(old)


def whole_checkpoints(folder: Path) -> list[Path]:
    """Checkpoint directories, oldest first; those of a killed write have another name."""
    return sorted(p for p in folder.glob("[0-9]*") if p.is_dir())


def load_state(checkpoint: Path, expected: dict[str, Any]) -> CheckpointState:
    """Read ``state.json``.

    Args:
        checkpoint: its directory.
        expected: fields that must be equal (mixture_digest, model_sha256, train, seed).

    Raises:
        IntegrityError: the checkpoint belongs to another mixture, model or configuration; the message names which.
    """
    state = CheckpointState.load(checkpoint / "state.json")
    for field, value in expected.items():
        if (found := getattr(state, field)) != value:
            raise IntegrityError(
                f"checkpoint {checkpoint}: {field} is {_short(found)}, this run has {_short(value)}; it was made by another"
                " run. Move it away, or train with what made it"
            )
    return state


def load_tensors(checkpoint: Path, trainee: Trainee, optimizer: torch.optim.Optimizer) -> None:
    """Put a checkpoint's parameters and optimizer state back in place."""
    parameters = trainee.parameters()
    stored = load_file(checkpoint / "model.safetensors")
    if stored.keys() != parameters.keys():
        odd = min(stored.keys() ^ parameters.keys())
        raise IntegrityError(
            f"checkpoint {checkpoint}: parameter '{odd}' is in only one of checkpoint and model; delete it"
        )
    moments = load_file(checkpoint / "optimizer.safetensors")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(stored[name])
            # Clones, because tensors of a mapped file may lie at odd addresses, where kernels may round otherwise.
            if f"step/{name}" in moments:  # a parameter that has had no gradient yet has no moments
                optimizer.state[parameter] = {
                    m: moments[f"{m}/{name}"].to(parameter.device, copy=True) for m in _MOMENTS
                }


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:60] + "..."
