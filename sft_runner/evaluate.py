"""Held-out loss of each domain, always on the same rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from versatune.mixing.arrays import FloatArray, IntArray
from versatune.mixing.losses import mean_loss
from versatune.mixing.potential import paired_loss_change
from versatune.mixing.selection import draw_rows
from versatune.sft_runner.batches import micro_batches
from versatune.sft_runner.dataset import Rows
from versatune.sft_runner.model import Trainee

_SEED = 0  # Not the run's: runs with different seeds are compared on the same rows.


class HeldOut(NamedTuple):
    """The rows on which one domain is evaluated."""

    rows: Rows
    chosen: IntArray  # (n,) positions

    @property
    def tokens(self) -> IntArray:
        """(n,) scored tokens of each row."""
        return self.rows.loss_tokens[self.chosen]


def held_out(rows: Rows, limit: int) -> HeldOut:
    """The first ``limit`` rows of a validation split in hash order: the same ones in every run on a dataset."""
    return HeldOut(rows, draw_rows(_SEED, rows.domain, rows.ids, min(limit, len(rows))).rows)


def evaluate(
    trainee: Trainee, slice_: HeldOut, batch_rows: int, on_rows: Callable[[int], None] = lambda rows: None
) -> FloatArray:
    """Negative log-likelihood of each row's answers, (n,) nats. ``on_rows`` is told how many rows each batch did."""
    trainee.model.eval()
    out = np.zeros(len(slice_.chosen))
    rows = [slice_.rows[i] for i in slice_.chosen]
    with torch.no_grad():
        for chosen, batch in micro_batches(rows, batch_rows, trainee.pad_id):
            _, out[chosen] = trainee.row_nll(batch)
            on_rows(len(chosen))
    return out


class Losses(NamedTuple):
    """What one evaluation says of the k domains; None where a domain has no held-out rows."""

    loss: list[float | None]  # nats per scored token
    standard_error: list[float | None]
    per_byte: list[float | None]  # nats per UTF-8 byte of the answers, over the rows that were not cut
    tokens: list[int]


def summarize(slices: Sequence[HeldOut], row_nll: Sequence[FloatArray]) -> Losses:
    """Token-weighted losses of each domain from the sums of its rows."""
    tokens = [int(s.tokens.sum()) for s in slices]
    whole = [s.rows.target_bytes[s.chosen] for s in slices]
    return Losses(
        loss=numbers(mean_loss([nll.sum() for nll in row_nll], tokens)),
        standard_error=[_standard_error(nll, s.tokens) for s, nll in zip(slices, row_nll, strict=True)],
        per_byte=numbers(
            mean_loss([nll[b > 0].sum() for nll, b in zip(row_nll, whole, strict=True)], [b.sum() for b in whole])
        ),
        tokens=tokens,
    )


def change_z(slices: Sequence[HeldOut], now: Sequence[FloatArray], before: Sequence[FloatArray]) -> list[float | None]:
    """How many standard errors each domain's loss moved, over the same rows; None below two rows."""
    return [
        paired_loss_change((new - old) / s.tokens, s.tokens).z if len(new) > 1 else None
        for s, new, old in zip(slices, now, before, strict=True)
    ]


def _standard_error(nll: FloatArray, tokens: IntArray) -> float | None:
    """Of the mean loss: the ratio estimator, as for a change from nothing."""
    return paired_loss_change(nll / tokens, tokens).se if len(nll) > 1 else None


def numbers(values: FloatArray) -> list[float | None]:
    """Means as JSON takes them: None where there is nothing to average."""
    return [None if np.isnan(v) else v for v in values.tolist()]
