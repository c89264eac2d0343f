"""Parquet shards: one bucket's rows merged, exact duplicates dropped, sorted by id, split by domain, the same bytes every time."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.pvalue import PCollection

from schemas.dataset import SPLITS
from transforms.exchange import Piece, read_pieces
from transforms.storage import open_new

ROW_GROUP_ROWS = 8192
_REPEATING_COLUMNS = ["source", "license", "domain", "origin.uri", "stage", "reason", "messages.list.element.role"]
_FACTS = ["id", "source", "domain", "license", "num_tokens", "num_loss_tokens"]
_IDENTITY = ["id", "origin", "source"]
_SPLIT_DIGITS = 16


class Written(NamedTuple):
    """What one bucket became: entries of the manifest and tallies for the books."""

    shards: list[dict[str, Any]]
    """Fields of :class:`schemas.dataset.Shard`."""
    written: Counter[tuple[str, str]]
    """Rows by (source, domain)."""
    duplicates: Counter[str]
    """Dropped rows by source."""


class Rejected(NamedTuple):
    """What one bucket of rejected rows became."""

    files: list[dict[str, Any]]
    """Fields of :class:`schemas.dataset.RejectFile`."""
    rejected: Counter[tuple[str, str]]
    """Rows by (source, '<stage>.<reason>')."""


def sorted_unique(rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(kept, dropped)`` row numbers: kept sorted by id, one row for each id, that of the smallest (uri, row)."""
    order = _order(rows, ["id"])
    ids = rows["id"].combine_chunks().take(order)
    first = np.ones(len(ids), bool)
    if len(ids) > 1:
        first[1:] = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
    numbers = order.to_numpy()
    return numbers[first], numbers[~first]


def _order(rows: pa.Table, first: list[str]) -> pa.Array:
    """Return the row numbers sorted by some columns, then by origin, then by source (two sources may share a file)."""
    origin = {name: pc.struct_field(rows["origin"], name) for name in ("uri", "row")}
    keys = pa.table({**{name: rows[name] for name in first}, **origin, "source": rows["source"]})
    return pc.sort_indices(keys, [(name, "ascending") for name in keys.column_names])


def in_validation(ids: pa.Array, fraction: float) -> np.ndarray:
    """Say which rows are held out, (n,) bool: those whose id, read as a fraction of 2^128, is below ``fraction``.

    An id is a digest already, so its first 16 hex digits are as random as another hash of it would be, and a row stays on its side
    whatever else is in the dataset.
    """
    bound = f"{min(int(fraction * 2**64), 2**64 - 1):0{_SPLIT_DIGITS}x}"
    return pc.less(pc.utf8_slice_codeunits(ids, 0, _SPLIT_DIGITS), bound).to_numpy(zero_copy_only=False)


def write_shards(
    bucket: int,
    pieces: Iterable[Piece],
    *,
    directory: str,
    buckets: int,
    domains: tuple[str, ...],
    validation_fraction: float,
) -> Written:
    """Write a bucket's rows as ``<directory>/data/<split>/<domain>/part-<bucket>-of-<buckets>.parquet``."""
    rows, kept, duplicates = _without_duplicates(read_pieces(pieces))
    facts = rows.select([name for name in _FACTS if name in rows.column_names]).take(pa.array(kept)).combine_chunks()
    written = Counter(zip(facts["source"].to_pylist(), facts["domain"].to_pylist(), strict=True))
    held_out = in_validation(facts["id"], validation_fraction)
    shards = []
    for split in SPLITS:
        for domain in domains:
            here = pc.equal(facts["domain"], domain).to_numpy(zero_copy_only=False) & (
                held_out == (split == "validation")
            )
            if here.any():
                path = f"data/{split}/{domain}/part-{bucket:05d}-of-{buckets:05d}.parquet"
                file = _write_parquet(rows, kept[here], f"{directory}/{path}")
                shards.append(
                    {"path": path, "split": split, "domain": domain, **file, **_sums(facts.filter(pa.array(here)))}
                )
    return Written(shards, written, duplicates)


def _without_duplicates(rows: pa.Table) -> tuple[pa.Table, np.ndarray, Counter[str]]:
    """Return a table of the rows to keep, their order by id, and the number of dropped rows by source.

    Whatever is dropped is never copied: a bucket holds every copy of a row, and millions of them would not fit into memory.
    """
    kept, dropped = sorted_unique(rows.select(_IDENTITY).combine_chunks())
    duplicates = Counter(rows["source"].take(pa.array(dropped)).to_pylist())
    if len(dropped):
        keep = np.zeros(len(rows), bool)
        keep[kept] = True
        rows = rows.filter(pa.array(keep))
        kept = (np.cumsum(keep) - 1)[kept]  # the numbers that the kept rows have now
    return rows.combine_chunks(), kept, duplicates


def write_rejects(bucket: int, pieces: Iterable[Piece], *, directory: str, buckets: int) -> Rejected:
    """Write a bucket's rejected rows, in the order of their files and places, as one Parquet file."""
    rows = read_pieces(pieces).combine_chunks()
    order = _order(rows, []).to_numpy()
    path = f"rejects/part-{bucket:05d}-of-{buckets:05d}.parquet"
    file = _write_parquet(rows, order, f"{directory}/{path}")
    reasons = zip(rows["source"].to_pylist(), rows["stage"].to_pylist(), rows["reason"].to_pylist(), strict=True)
    return Rejected(
        [{"path": path, **file}], Counter((source, f"{stage}.{reason}") for source, stage, reason in reasons)
    )


def _sums(facts: pa.Table) -> dict[str, Any]:
    """Count a shard's tokens (0 when there are none) and name its licences."""
    tokens = {
        name: pc.sum(facts[name]).as_py() for name in ("num_tokens", "num_loss_tokens") if name in facts.column_names
    }
    return {
        "tokens": tokens.get("num_tokens", 0),
        "loss_tokens": tokens.get("num_loss_tokens", 0),
        "licenses": sorted(facts["license"].unique().to_pylist()),
    }


def _write_parquet(rows: pa.Table, numbers: np.ndarray, path: str) -> dict[str, Any]:
    """Write the numbered rows, a row group at a time, and return the file's rows, bytes and sha256."""
    with open_new(path) as stream:
        sink = _HashingSink(stream)
        with pq.ParquetWriter(
            pa.PythonFile(sink, mode="w"), rows.schema, compression="zstd", use_dictionary=_repeating(rows.schema)
        ) as writer:
            for start in range(0, len(numbers), ROW_GROUP_ROWS):
                group = rows.take(pa.array(numbers[start : start + ROW_GROUP_ROWS]))
                writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
    return {"rows": len(numbers), "bytes": sink.bytes, "sha256": sink.digest.hexdigest()}


def _repeating(schema: pa.Schema) -> list[str]:
    """Name the columns that gain from a dictionary; one for ids or texts only costs time."""
    return [column for column in _REPEATING_COLUMNS if column.split(".")[0] in schema.names]


class _HashingSink:
    """A file that knows the size and the sha256 of what was written to it."""

    closed = False

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.bytes = 0

    def write(self, data: Any) -> int:
        self.digest.update(data)
        self.bytes += len(data)
        self._stream.write(data)
        return len(data)

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        """Leave the file open: whoever opened it closes it."""


@dataclass(kw_only=True)
class WriteShards(beam.PTransform[PCollection[tuple[int, Iterable[Piece]]], PCollection[Written]]):
    """``(bucket, pieces)`` in, one :class:`Written` for each bucket out. A retry writes the same bytes under the same names."""

    directory: str
    buckets: int
    domains: tuple[str, ...]
    validation_fraction: float

    def expand(self, buckets: PCollection[tuple[int, Iterable[Piece]]]) -> PCollection[Written]:
        """Write every bucket on its own."""
        return buckets | "WriteBucket" >> beam.FlatMap(self._write).with_output_types(Any)

    def _write(self, element: tuple[int, Iterable[Piece]]) -> Iterator[Written]:
        bucket, pieces = element
        yield write_shards(
            bucket,
            pieces,
            directory=self.directory,
            buckets=self.buckets,
            domains=self.domains,
            validation_fraction=self.validation_fraction,
        )


@dataclass(kw_only=True)
class WriteRejects(beam.PTransform[PCollection[tuple[int, Iterable[Piece]]], PCollection[Rejected]]):
    """``(bucket, pieces)`` of rejected rows in, one :class:`Rejected` for each bucket out; retries as :class:`WriteShards`."""

    directory: str
    buckets: int

    def expand(self, buckets: PCollection[tuple[int, Iterable[Piece]]]) -> PCollection[Rejected]:
        """Write every bucket on its own."""
        return buckets | "WriteBucket" >> beam.FlatMap(self._write).with_output_types(Any)

    def _write(self, element: tuple[int, Iterable[Piece]]) -> Iterator[Rejected]:
        bucket, pieces = element
        yield write_rejects(bucket, pieces, directory=self.directory, buckets=self.buckets)
