"""Bring rows that belong together to one place: rows travel through files, the engine's shuffle carries references.

A local engine keeps whatever passes its shuffle in memory (5 to 9 KB a row). So each record batch becomes one Arrow IPC file,
its rows ordered by bucket, with one Arrow record batch for each bucket that has rows: whoever gathers a bucket reads that part of
every file and nothing else. Names are unique, so a retried step never disturbs what an earlier attempt wrote, and a file that
nothing refers to is never read.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.pvalue import PCollection

from transforms import arrow_coder  # noqa: F401  # registers how record batches travel
from transforms.storage import open_arrow, open_new

MAX_BUCKETS = 2**16
_DIGITS = 4  # hex digits that hold a number below MAX_BUCKETS
_HEX = np.zeros(256, np.uint32)
_HEX[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)


class Piece(NamedTuple):
    """The rows of one bucket in one fragment."""

    path: str
    part: int
    """Which of the file's record batches."""
    rows: int


def count_buckets(input_bytes: int, shard_bytes: int) -> int:
    """Return the power of two at which a bucket gets at most ``shard_bytes`` of the input on average (at most 65,536)."""
    wanted = max(1, -(-input_bytes // shard_bytes))
    return min(MAX_BUCKETS, 1 << (wanted - 1).bit_length())


def bucket_of_ids(ids: pa.Array, buckets: int) -> np.ndarray:
    """Return the bucket of each id, (n,) int32: its last 4 hex digits modulo the number of buckets.

    The first digits decide the split, so a bucket must come from others: it holds rows of both splits.
    """
    width = len(ids[0].as_py()) if len(ids) else _DIGITS
    text = np.frombuffer(b"".join(ids.cast(pa.binary()).to_pylist()), np.uint8).reshape(len(ids), width)
    value = np.zeros(len(ids), np.uint32)
    for column in text[:, -_DIGITS:].T:
        value = (value << 4) | _HEX[column]
    return (value % buckets).astype(np.int32)


def bucket_of_examples(batch: pa.RecordBatch, buckets: int) -> np.ndarray:
    """Return the bucket of each example: equal conversations have equal ids, so they meet."""
    return bucket_of_ids(batch.column("id"), buckets)


def bucket_of_rejects(batch: pa.RecordBatch, buckets: int) -> np.ndarray:
    """Return the bucket of each rejected row, by its place in its file: nothing has to meet, only to spread."""
    return (batch.column("origin").field("row").to_numpy() % buckets).astype(np.int32)


def write_fragment(
    batch: pa.RecordBatch, buckets: np.ndarray, directory: str, kind: str
) -> Iterator[tuple[int, Piece]]:
    """Write one batch and yield ``(bucket, piece)`` for each bucket that has rows.

    Args:
        batch: the rows, in any order.
        buckets: (n,) int32, the bucket of each.
        directory: where the file goes.
        kind: first part of the file's name; the second is its number of rows, by which a watcher counts.
    """
    path = f"{directory}/{kind}-{batch.num_rows}-{uuid.uuid4().hex}.arrow"
    found, counts = np.unique(buckets, return_counts=True)
    if len(found) > 1:
        batch = batch.take(pa.array(np.argsort(buckets, kind="stable")))
    with open_new(path) as stream, pa.ipc.new_file(stream, batch.schema) as writer:
        for start, count in zip(np.cumsum(counts) - counts, counts, strict=True):
            writer.write_batch(batch.slice(int(start), int(count)))
    for part, (bucket, count) in enumerate(zip(found, counts, strict=True)):
        yield int(bucket), Piece(path, part, int(count))


def read_pieces(pieces: Iterable[Piece]) -> pa.Table:
    """Read the rows of some pieces; local files are mapped, not copied."""
    batches = []
    for piece in sorted(pieces):
        with open_arrow(
            piece.path
        ) as stream:  # a mapping outlives its closed file, so thousands of pieces are no problem
            batches.append(pa.ipc.open_file(stream).get_batch(piece.part))
    return pa.Table.from_batches(batches)


@dataclass(kw_only=True)
class GatherBuckets(beam.PTransform[PCollection[pa.RecordBatch], PCollection[tuple[int, Iterable[Piece]]]]):
    """Record batches in, ``(bucket, pieces)`` out: every row of a bucket is in its pieces, once.

    The order of pieces means nothing. A retry writes new files and refers to those alone.
    """

    directory: str
    kind: str
    bucket_of: Callable[[pa.RecordBatch, int], np.ndarray]
    buckets: int

    def expand(self, batches: PCollection[pa.RecordBatch]) -> PCollection[tuple[int, Iterable[Piece]]]:
        """Write fragments, then group the references."""
        return (
            batches
            | "WriteFragments" >> beam.FlatMap(self._write).with_output_types(tuple[int, Piece])
            | "GroupByBucket" >> beam.GroupByKey()
        )

    def _write(self, batch: pa.RecordBatch) -> Iterator[tuple[int, Piece]]:
        if batch.num_rows:
            yield from write_fragment(batch, self.bucket_of(batch, self.buckets), self.directory, self.kind)
