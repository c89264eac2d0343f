"""One optimizer step over a global batch: what the run and the reference fine-tunes share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from versatune.mixing.arrays import FloatArray
from versatune.mixing.selection import row_key
from versatune.schemas.errors import RunError
from versatune.sft_runner.batches import IGNORE_INDEX, micro_batches
from versatune.sft_runner.dataset import TokenRow
from versatune.sft_runner.model import Trainee


class StepResult(NamedTuple):
    """What a step measured on the way."""

    row_nll: FloatArray  # (B,) nats, summed over the scored tokens of each row
    grad_norm: float  # before clipping
    router_loss: float | None  # times its coefficient, averaged over the scored tokens; None where the model has none


def make_optimizer(trainee: Trainee, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW; matrices decay, vectors (norms, biases) never do."""
    parameters = list(trainee.parameters().values())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=learning_rate, fused=True)


def learning_rate_at(step: int, total: int, peak: float, warmup_ratio: float) -> float:
    """Linear rise over the first ``warmup_ratio`` of ``total`` steps, then one cosine to zero; step counts from 0.

    The peak comes at the last step of the rise; a step beyond the planned total gets the last planned step's rate.
    """
    warmup = math.ceil(warmup_ratio * total)
    step = min(step, total - 1)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))


def step_seed(seed: int, what: str, step: int) -> int:
    """Seed of one step's dropout. A generator per step leaves no random state for a checkpoint to keep."""
    return row_key(seed, what, step, "") >> 1


def train_step(
    trainee: Trainee,
    optimizer: torch.optim.Optimizer,
    rows: Sequence[TokenRow],
    loss_tokens: int,
    *,
    micro_batch_rows: int,
    learning_rate: float,
    max_grad_norm: float,
    seed: int,
    where: str,
) -> StepResult:
    """Take one step on the mean loss of a global batch.

    The loss is the sum over all scored tokens of the batch divided by their number: a mean of micro-batch means would
    weigh tokens of short rows more. Both are sums over rows, so ranks could each take a part of the rows. The loss of a router is added
    where the model's configuration asks for it; it is no part of what is reported of rows.

    Args:
        trainee: the model.
        optimizer: of its parameters.
        rows: the global batch.
        loss_tokens: scored tokens in it.
        micro_batch_rows: rows in one forward pass.
        learning_rate: of this step.
        max_grad_norm: gradients are scaled down to it.
        seed: of this step's dropout.
        where: names the step in an error.

    Raises:
        RunError: the loss or the gradient is not finite; the weights are left as they were.
    """
    torch.manual_seed(seed)
    trainee.model.train()
    row_nll, router_losses = np.zeros(len(rows)), list[float]()
    for chosen, batch in micro_batches(rows, micro_batch_rows, trainee.pad_id):
        nll, row_nll[chosen], router = trainee.losses(batch)
        loss = nll / loss_tokens
        if router is not None:
            # A mean over the tokens of its micro-batch, which counts as much as the micro-batch does.
            part = router * (int((batch.labels[:, 1:] != IGNORE_INDEX).sum()) / loss_tokens)
            router_losses.append(part.item())
            loss = loss + part
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not type it
    norm = torch.nn.utils.clip_grad_norm_(trainee.parameters().values(), max_grad_norm).item()
    if not (np.isfinite(row_nll).all() and math.isfinite(norm)):
        raise RunError(
            f"{where}: the loss is {row_nll.sum() / loss_tokens} and the gradient norm {norm}; expected finite numbers."
            " Lower the learning rate, or set train.dtype to float32"
        )
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return StepResult(row_nll, norm, sum(router_losses) if router_losses else None)
