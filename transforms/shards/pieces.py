"""A bucket's rows as its writer gets them: record batches, and of each row the file it stands in and its number there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from versatune.transforms.shards.shard_plan import ShardPlan
from versatune.transforms.transport.exchange import Bucket, read_bucket

FILE = "file"
"""Column of merged batches: which of the plan's files; ``row`` is there counted from the file's beginning."""


class Piece(NamedTuple):
    """Some rows of a bucket."""

    batch: pa.RecordBatch
    """As a fragment holds them."""
    file: np.ndarray
    """(n,) int32, which of the plan's files."""
    row: np.ndarray
    """(n,) int64, the row's number in its file."""


def fragment_pieces(bucket: Bucket, plan: ShardPlan) -> Iterator[Piece]:
    """Read a bucket's rows from every fragment."""
    for fragment in plan.fragments():
        if fragment.rows:
            first_row, file = plan.places[fragment.split].first_row, plan.file_numbers[fragment.split]
            for batch in read_bucket(plan.directory, fragment.key, fragment.parts, bucket):
                rows = batch.column("row").to_numpy() + first_row
                yield Piece(batch, np.full(batch.num_rows, file, np.int32), rows)


def with_places(batch: pa.RecordBatch, file: int, first_row: int) -> pa.RecordBatch:
    """Return rows of a fragment that say themselves where they stand, so that they can lie among those of others."""
    at = batch.schema.get_field_index("row")
    rows = pa.array(batch.column(at).to_numpy() + first_row)
    named = pa.array(np.full(batch.num_rows, file, np.int32))
    return batch.set_column(at, batch.schema.field(at), rows).append_column(pa.field(FILE, pa.int32()), named)


def merged_piece(batch: pa.RecordBatch) -> Piece:
    """Undo :func:`with_places`."""
    file, row = batch.column(FILE).to_numpy(), batch.column("row").to_numpy()
    return Piece(batch.drop_columns([FILE]), file, row)
