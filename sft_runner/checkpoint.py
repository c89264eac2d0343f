"""Checkpoints: safetensors and JSON, either whole or absent, and enough to continue with the same bits.

A directory ``checkpoints/<step>/`` holds ``model.safetensors`` (the trained parameters by name), ``optimizer.safetensors``
(AdamW's two moments and step count, by parameter name) and ``state.json``, which has the sha256 of both. No random state is stored because there is
none: every step seeds its own generator from the run's seed and the step number.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from versatune.schemas.checkpoint import STATE, CheckpointState, read_checkpoint, whole_checkpoints
from versatune.schemas.errors import IntegrityError
from versatune.schemas.files import atomic_directory, sha256_file, sync
from versatune.schemas.inside import inside
from versatune.sft_runner.model import Trainee

CHECKPOINTS = "checkpoints"
_MODEL, _OPTIMIZER = "model.safetensors", "optimizer.safetensors"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def save_checkpoint(
    folder: Path, state: CheckpointState, trainee: Trainee, optimizer: torch.optim.Optimizer, keep: int
) -> None:
    """Write ``folder/<step>``, with the digests of its files, and then delete all but the newest ``keep`` checkpoints."""
    parameters = trainee.parameters()
    moments = {
        f"{moment}/{name}": optimizer.state[parameter][moment]
        for name, parameter in parameters.items()
        for moment in _MOMENTS
        if parameter in optimizer.state
    }
    with atomic_directory(folder / f"{state.counters.step:08d}") as made:
        save_file({name: p.detach().contiguous() for name, p in parameters.items()}, made / _MODEL)
        save_file(moments, made / _OPTIMIZER)
        digests = {name: sha256_file(made / name) for name in (_MODEL, _OPTIMIZER)}
        state.changed(files=digests).write(made / STATE)
        for file in made.iterdir():
            sync(file)
    for old in whole_checkpoints(folder)[:-keep]:
        old.unlink() if old.is_symlink() else shutil.rmtree(old)


@dataclass(frozen=True)
class Resumable:
    """The checkpoint that a run goes on from, and those after it that cannot be used."""

    directory: Path
    state: CheckpointState
    damaged: list[str]
    """One line for each newer checkpoint."""


def newest_whole(run: Path, identity: Mapping[str, Any]) -> Resumable | None:
    """Return the newest checkpoint of a run of which every byte is what was written; None where there is no checkpoint at all.

    A damaged one is left where it is: the run comes by again and writes it anew.

    Args:
        run: the directory of the run.
        identity: fields of its checkpoints (mixture_digest, model_sha256, train, seed); none for whatever the run is.

    Raises:
        IntegrityError: one belongs to another mixture, model or configuration. There are checkpoints, and none is whole; nothing starts from the beginning unasked. A link leads out of the run.
    """
    found = whole_checkpoints(inside(run, CHECKPOINTS))
    damaged: list[str] = []
    for checkpoint in reversed(found):
        state, problems = read_checkpoint(checkpoint, run)
        if state is not None:
            _check_identity(checkpoint, state, identity)
            if not problems:
                return Resumable(checkpoint, state, damaged)
        damaged.append(f"checkpoint {checkpoint.name} cannot be used: {'; '.join(problems)}")
    if not found:
        return None
    raise IntegrityError(
        "\n".join(
            [
                f"{run}: there is no whole checkpoint to go on from:",
                *(f"  {line}" for line in damaged),
                f"Put the files back from a copy, or delete {run / CHECKPOINTS} and {run / 'references.json'} to train from the beginning",
            ]
        )
    )


def _check_identity(checkpoint: Path, state: CheckpointState, expected: Mapping[str, Any]) -> None:
    for field, value in expected.items():
        if (found := getattr(state, field)) != value:
            raise IntegrityError(
                f"checkpoint {checkpoint}: {field} is {_short(found)}, this run has {_short(value)}; it was made by another"
                " run. Move it away, or train with what made it"
            )


def load_tensors(checkpoint: Path, trainee: Trainee, optimizer: torch.optim.Optimizer) -> None:
    """Put the parameters and optimizer state of a checkpoint that is whole back in place."""
    parameters = trainee.parameters()
    stored = load_file(checkpoint / _MODEL)
    if stored.keys() != parameters.keys():
        odd = min(stored.keys() ^ parameters.keys())
        raise IntegrityError(
            f"checkpoint {checkpoint}: parameter '{odd}' is in only one of checkpoint and model; delete it"
        )
    moments = load_file(checkpoint / _OPTIMIZER)
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
