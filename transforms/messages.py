"""Conversations out of an Arrow column, without a Python dictionary per turn."""

from __future__ import annotations

import pyarrow as pa

Turn = tuple[str, str]


def conversations(batch: pa.RecordBatch) -> list[list[Turn]]:
    """Return each row's turns as (role, content) pairs."""
    column = batch.column("messages")
    roles, contents = (part.to_pylist() for part in column.flatten().flatten())
    turns = list(zip(roles, contents, strict=True))
    ends = column.value_lengths().to_numpy().cumsum().tolist()
    return [turns[start:end] for start, end in zip([0, *ends], ends, strict=False)]
