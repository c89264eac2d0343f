"""Conversations out of an Arrow column, without a Python dictionary per turn."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Turn = tuple[str, str]


def conversations(batch: pa.RecordBatch) -> list[list[Turn]]:
    """Return each row's turns as (role, content) pairs."""
    column = batch.column("messages")
    roles, contents = (part.to_pylist() for part in column.flatten().flatten())
    turns = list(zip(roles, contents, strict=True))
    ends = column.value_lengths().to_numpy().cumsum().tolist()
    return [turns[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def contents_without(batch: pa.RecordBatch, *without: str) -> list[bytes]:
    """Return each row's contents but those of some roles' turns, joined with blanks, in UTF-8: no Python object for a turn."""
    column = batch.column("messages")
    roles, contents = column.flatten().flatten()
    left = ~pc.is_in(roles, value_set=pa.array(without)).to_numpy(zero_copy_only=False)
    ends = column.value_lengths().to_numpy().cumsum()
    if not left.all():
        contents = contents.filter(pa.array(left))
        ends = np.concatenate([[0], left.cumsum()])[ends]
    offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
    texts = pc.binary_join(pa.ListArray.from_arrays(offsets, contents), " ")
    return list(texts.cast(pa.binary()).to_pylist())
