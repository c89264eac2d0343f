"""Rows to padded tensors, and a global batch to micro-batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from versatune.mixing.arrays import IntArray
from versatune.sft_runner.dataset import TokenRow

IGNORE_INDEX = -100


class Batch(NamedTuple):
    """Rows padded on the right to the longest of them; all (B, T) int64."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor  # 1 where there is a token
    labels: torch.Tensor  # IGNORE_INDEX where no loss

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


def collate(rows: Sequence[TokenRow], pad_id: int) -> Batch:
    """Stack rows of unequal length. The label of a position is its own token; the model shifts."""
    length = max(len(row.input_ids) for row in rows)
    input_ids = torch.full((len(rows), length), pad_id, dtype=torch.int64)
    attention_mask = torch.zeros_like(input_ids)
    labels = torch.full_like(input_ids, IGNORE_INDEX)
    for i, row in enumerate(rows):
        tokens = torch.from_numpy(row.input_ids.astype(np.int64))
        input_ids[i, : len(tokens)] = tokens
        attention_mask[i, : len(tokens)] = 1
        labels[i, : len(tokens)] = torch.where(torch.from_numpy(row.loss_mask.copy()), tokens, IGNORE_INDEX)
    return Batch(input_ids, attention_mask, labels)


def micro_batches(rows: Sequence[TokenRow], size: int, pad_id: int) -> Iterator[tuple[IntArray, Batch]]:
    """Split rows into micro-batches of about equal lengths, so that little of a batch is padding.

    The gradient of a global batch is a sum over its rows, so their order within it is free. Yields the positions of the
    rows, (B,), and the batch.
    """
    order = np.argsort([len(row.input_ids) for row in rows], kind="stable")
    for start in range(0, len(rows), size):
        chosen = order[start : start + size]
        yield chosen, collate([rows[i] for i in chosen], pad_id)
