"""Parquet shards: one bucket's rows merged, duplicates dropped, sorted by id, split by domain, the same bytes every time."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.pvalue import AsSingleton, PCollection

from versatune.schemas.arrow import LINEAGE, ORIGIN, REJECT_FILE
from versatune.schemas.dataset import SPLITS
from versatune.schemas.machine_faults import naming
from versatune.transforms.overlap.near_duplicates import dropped_of
from versatune.transforms.shards.pieces import Piece
from versatune.transforms.shards.shard_plan import Place, PlanFile, ShardPlan, load_plan
from versatune.transforms.transport.exchange import Bucket, read_rejects
from versatune.transforms.transport.ids import all_halves
from versatune.transforms.transport.storage import exists, open_new, read_bytes, replace_bytes, sha256

ROW_GROUP_ROWS = 8192
_LINEAGE_ROWS = 2 * ROW_GROUP_ROWS  # at once
_REPEATING_COLUMNS = [
    "source", "license", "domain", "origin.uri", "stage", "reason", "fate", "messages.list.element.role", "tags.list.element",
]  # fmt: skip
_NOT_IN_SHARDS = ("row", "item")
_FACTS = ("id", "domain", "license", "num_tokens", "num_loss_tokens")
_WORTH_COPYING = 0.5  # share of rows that stay below which the others are left out before anything else
_SPLIT_DIGITS = 8


@dataclass(frozen=True)
class Written:
    """What one bucket became: entries of the manifest and tallies for the books, by source and domain."""

    shards: list[dict[str, Any]]
    """Fields of :class:`versatune.schemas.dataset.Shard`."""
    lineage: list[dict[str, Any]]
    """Fields of :class:`versatune.schemas.dataset.SideFile`."""
    written: dict[str, dict[str, int]]
    duplicates: dict[str, dict[str, int]]
    near_duplicates: dict[str, dict[str, int]]
    undetermined: dict[str, dict[str, int]]
    """Of what is written, the rows whose domain cannot be relied on."""
    cut: dict[str, dict[str, int]] = field(default_factory=dict)
    """Of what is written, the rows that were cut at the limit of tokens."""
    cut_tokens: dict[str, dict[str, int]] = field(default_factory=dict)


class Rows(NamedTuple):
    """A bucket's rows, and of each what decides its fate."""

    batches: list[pa.RecordBatch]
    first: np.ndarray
    """(n,) uint64, the first half of the id."""
    second: np.ndarray
    place: np.ndarray
    """(n,) int32, which of ``places``."""
    row: np.ndarray
    """(n,) int64, the row's number in its file."""
    item: np.ndarray
    places: list[Place]
    """One for each file, ordered by source, licence and uri."""


class Fates(NamedTuple):
    """What becomes of a bucket's rows, in the order of their ids; each array (n,)."""

    order: np.ndarray
    """Row numbers, sorted by id, then source, licence, uri, row and item."""
    duplicate: np.ndarray
    """True but for the first row of an id."""
    near: np.ndarray
    """Index into ``kept_for`` of a near-duplicate, else -1; the same for all copies of an id."""

    @property
    def kept(self) -> np.ndarray:
        """Which rows are written."""
        return ~self.duplicate & (self.near < 0)


def gather(pieces: Iterable[Piece], files: list[Place]) -> Rows:
    """Put a bucket's rows together."""
    found = list(pieces)
    batches = [piece.batch for piece in found]
    halves = all_halves(batch.column("id") for batch in batches)
    return Rows(
        batches,
        halves[:, 0],
        halves[:, 1],
        np.concatenate([np.zeros(0, np.int32), *(piece.file for piece in found)]),
        np.concatenate([np.zeros(0, np.int64), *(piece.row for piece in found)]),
        _column(batches, "item", np.int32),
        files,
    )


def decide(rows: Rows, near_ids: np.ndarray) -> Fates:
    """Say what becomes of every row: of equal ids that of the smallest source, licence, uri, row and item stays.

    Args:
        rows: the bucket's.
        near_ids: (d, 2) uint64, sorted: the ids that are dropped as near-duplicates.
    """
    order = np.lexsort((rows.item, rows.row, rows.place, rows.second, rows.first))
    first, second = rows.first[order], rows.second[order]
    duplicate = np.zeros(len(order), bool)
    duplicate[1:] = (first[1:] == first[:-1]) & (second[1:] == second[:-1])
    return Fates(order, duplicate, _found(near_ids, first, second))


def _found(ids: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return which of some sorted ids each row has, or -1."""
    near = np.full(len(first), -1, np.int64)
    if len(ids):
        pairs = np.dtype([("first", np.uint64), ("second", np.uint64)])
        known = ids.astype(np.uint64).view(pairs).ravel()
        wanted = np.stack([first, second], axis=1).view(pairs).ravel()
        at = np.searchsorted(known, wanted)
        hit = at < len(known)
        hit[hit] = known[at[hit]] == wanted[hit]
        near[hit] = at[hit]
    return near


def in_validation(ids: pa.Array, fraction: float) -> np.ndarray:
    """Say which rows are held out, (n,) bool: those of which the first eight digits of the id, as a fraction of 2^32, are below ``fraction``.

    These digits are a digest of what comes before the assistant's first act. So all answers to one prompt stand on one side, and a row
    stays on its side whatever else is in the dataset.
    """
    bound = f"{min(int(fraction * 2**32), 2**32 - 1):0{_SPLIT_DIGITS}x}"
    return pc.less(pc.utf8_slice_codeunits(ids, 0, _SPLIT_DIGITS), bound).to_numpy(zero_copy_only=False)


@dataclass(frozen=True, kw_only=True)
class ShardWriter:
    """Writes buckets; everything that decides their bytes besides the plan."""

    staging: str
    """Shards go to ``out/`` below it, under their final relative paths; records of finished buckets to ``shards/``."""
    domains: tuple[str, ...]
    validation_fraction: float

    def write(self, bucket: Bucket, plan: ShardPlan, near: NearDuplicates, pieces: Iterable[Piece]) -> Written:
        """Write a bucket as ``data/<split>/<domain>/part-*.parquet`` and ``lineage/part-*.parquet``.

        What a killed build finished for the same plan is taken as it is.

        Args:
            bucket: which rows.
            plan: what it belongs to.
            near: the near-duplicates of all buckets.
            pieces: the rows, in any order; they are not asked for where the bucket is written already.
        """
        record = f"{self.staging}/shards/{bucket.number:05d}-of-{bucket.of:05d}.json"
        basis = f"{plan.basis}-{near.digest}"
        if exists(record):
            with contextlib.suppress(ValueError):  # a record that a power cut left without its content
                found = orjson.loads(read_bytes(record))
                written = Written(**found["written"])
                if found["basis"] == basis and self._are_there(written):
                    return written
        written = self._write(bucket, gather(pieces, plan.files), near)
        replace_bytes(record, orjson.dumps({"basis": basis, "written": asdict(written)}), durable=False)
        return written

    def _are_there(self, written: Written) -> bool:
        return all(
            sha256(f"{self.staging}/out/{entry['path']}") == entry["sha256"]
            for entry in (*written.shards, *written.lineage)
        )

    def _write(self, bucket: Bucket, rows: Rows, near: NearDuplicates) -> Written:
        name = f"part-{bucket.number:05d}-of-{bucket.of:05d}.parquet"
        if not rows.batches:
            return Written([], [], {}, {}, {}, {})
        ids, kept_for = near.of(bucket)
        fates = decide(rows, ids)
        domains = pa.chunked_array([batch.column("domain") for batch in rows.batches])
        unsure = _column(rows.batches, "undetermined", bool)[fates.order]
        tally = _Tally(rows, fates, domains)
        tokenized = "num_cut_tokens" in rows.batches[0].schema.names
        beyond = _column(rows.batches, "num_cut_tokens", np.int32)[fates.order] if tokenized else np.zeros(len(unsure))
        lineage = _write_parquet(_lineage(rows, fates, kept_for), f"{self.staging}/out/lineage/{name}")
        return Written(
            list(self._shards(rows, fates, name)),
            [{"path": f"lineage/{name}", **lineage}],
            tally.of(fates.kept),
            tally.of(fates.duplicate),
            tally.of(~fates.duplicate & (fates.near >= 0)),
            tally.of(fates.kept & unsure),
            tally.of(fates.kept & (beyond > 0)),
            tally.of(fates.kept & (beyond > 0), beyond),
        )

    def _shards(self, rows: Rows, fates: Fates, name: str) -> Iterator[dict[str, Any]]:
        table, numbers = _kept_rows(rows, fates)
        facts = table.select([column for column in _FACTS if column in table.column_names]).take(pa.array(numbers))
        held_out = in_validation(facts["id"], self.validation_fraction)
        for split in SPLITS:
            for domain in self.domains:
                here = pc.equal(facts["domain"], domain).to_numpy(zero_copy_only=False) & (
                    held_out == (split == "validation")
                )
                if here.any():
                    path = f"data/{split}/{domain}/{name}"
                    groups = (table.take(pa.array(part)) for part in _cut(numbers[here]))
                    file = _write_parquet(groups, f"{self.staging}/out/{path}")
                    yield {
                        "path": path,
                        "split": split,
                        "domain": domain,
                        **file,
                        **_sums(facts.filter(pa.array(here))),
                    }


class NearDuplicates(NamedTuple):
    """Which ids are dropped because another row says nearly the same."""

    dropped: np.ndarray
    """(d, 2) uint64, the halves of the ids, sorted."""
    kept: pa.Array
    """For each, the id that stands for it."""
    digest: str

    def of(self, bucket: Bucket) -> tuple[np.ndarray, pa.Array]:
        """Return those whose key is in a bucket."""
        first, last = bucket.keys
        key = self.dropped[:, 1] & np.uint64(0xFFFF)
        here = np.flatnonzero((key >= first) & (key < last))
        return self.dropped[here], self.kept.take(pa.array(here))


NO_NEAR_DUPLICATES = NearDuplicates(np.zeros((0, 2), np.uint64), pa.array([], pa.string()), "")


@lru_cache(maxsize=1)
def load_near_duplicates(path: str, sha256: str) -> NearDuplicates:
    """Read a file of clusters once per process."""
    return NearDuplicates(*dropped_of(path), sha256)


def _column(batches: list[pa.RecordBatch], name: str, dtype: Any) -> np.ndarray:
    parts = [batch.column(name).to_numpy(zero_copy_only=False) for batch in batches]
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


def _cut(numbers: np.ndarray) -> Iterator[np.ndarray]:
    return (numbers[start : start + ROW_GROUP_ROWS] for start in range(0, len(numbers), ROW_GROUP_ROWS))


def _kept_rows(rows: Rows, fates: Fates) -> tuple[pa.Table, np.ndarray]:
    """Return a table in the columns of a shard, and the numbers of its rows that are written, in the order of their ids.

    Where most rows are dropped they are left out first: a bucket holds every copy of a row, and millions may not fit into memory.
    """
    numbers = fates.order[fates.kept]
    batches, place = rows.batches, rows.place
    if len(numbers) < len(place) * _WORTH_COPYING:
        keep = np.zeros(len(place), bool)
        keep[numbers] = True
        batches, place = list(_filtered(batches, keep)), place[keep]
        numbers = (np.cumsum(keep) - 1)[numbers]
    table = pa.Table.from_batches(batches).drop_columns(list(_NOT_IN_SHARDS)).combine_chunks()
    after_content = table.column_names.index("num_chars")
    for name in ("license", "source"):
        column = _shared(rows.places, place, name)
        table = table.add_column(after_content, pa.field(name, pa.string(), nullable=False), column)
    return table, numbers


def _filtered(batches: list[pa.RecordBatch], keep: np.ndarray) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in batches:
        here = keep[start : start + batch.num_rows]
        start += batch.num_rows
        yield batch if here.all() else batch.filter(pa.array(here))


def _lineage(rows: Rows, fates: Fates, kept_for: pa.Array) -> Iterator[pa.Table]:
    """Yield where each of a bucket's examples came from and what became of it: :data:`versatune.schemas.arrow.LINEAGE`, in the order of ids.

    In pieces: of a row that millions of files repeat the names alone take more than the 2 GiB of an Arrow array, which overflows silently.
    """
    ids = pa.concat_arrays([batch.column("id") for batch in rows.batches])
    for start in range(0, len(fates.order), _LINEAGE_ROWS):
        here = slice(start, start + _LINEAGE_ROWS)
        order, near = fates.order[here], fates.near[here]
        own = ids.take(pa.array(order))
        fate = np.where(fates.duplicate[here], 1, np.where(near >= 0, 2, 0))
        stands_for = (
            pc.if_else(pa.array(near >= 0), kept_for.take(pa.array(np.maximum(near, 0))), own) if len(kept_for) else own
        )
        place = rows.place[order]
        columns = [
            own,
            _shared(rows.places, place, "source"),
            _origin(_shared(rows.places, place, "uri"), pa.array(rows.row[order]), pa.array(rows.item[order])),
            pa.array(["written", "duplicate", "near_duplicate"]).take(pa.array(fate)),
            stands_for,
        ]
        yield pa.Table.from_arrays(columns, schema=LINEAGE)


def _shared(places: list[Place], numbers: np.ndarray, name: str) -> pa.Array:
    """Return what each row has in common with the others of its file: its source, uri or licence."""
    return pa.array([getattr(place, name) for place in places], pa.string()).take(pa.array(numbers))


def _origin(uri: pa.Array, row: pa.Array, item: pa.Array) -> pa.StructArray:
    return pa.StructArray.from_arrays([uri, row, item], fields=list(ORIGIN))


class _Tally:
    """Counts rows by source and domain."""

    def __init__(self, rows: Rows, fates: Fates, domains: pa.ChunkedArray) -> None:
        encoded = domains.combine_chunks().dictionary_encode()
        self._domains = encoded.dictionary.to_pylist()
        self._sources = [place.source for place in rows.places]
        width = len(self._domains)
        self._cell = (rows.place.astype(np.int64) * width + encoded.indices.to_numpy())[fates.order]

    def of(self, which: np.ndarray, amounts: np.ndarray | None = None) -> dict[str, dict[str, int]]:
        """Count some rows, or add up what each amounts to."""
        found: dict[str, Counter[str]] = {}
        cells, number = np.unique(self._cell[which], return_inverse=True)
        sums = np.zeros(len(cells), np.int64)
        np.add.at(sums, number, 1 if amounts is None else amounts[which].astype(np.int64))
        for cell, sum_ in zip(cells, sums, strict=True):
            place, domain = divmod(int(cell), len(self._domains))
            found.setdefault(self._sources[place], Counter())[self._domains[domain]] += int(sum_)
        return {source: dict(counts) for source, counts in found.items()}


@dataclass(frozen=True)
class Rejected:
    """What one group of rejected rows became."""

    files: list[dict[str, Any]]
    """Fields of :class:`versatune.schemas.dataset.SideFile`."""
    rejected: dict[str, dict[str, int]]
    """By source and '<stage>.<reason>'."""


def write_rejects(number: int, plan: ShardPlan, directory: str) -> Rejected:
    """Write a group of rejected rows, in the order of their files and places, as one Parquet file."""
    group = plan.fragments(*plan.reject_groups[number])
    tables = (
        _reject_table(read_rejects(plan.directory, fragment.key), plan.places[fragment.split])
        for fragment in group
        if fragment.rejected
    )
    tally: dict[str, Counter[str]] = {}

    def counted() -> Iterator[pa.Table]:
        for table in tables:
            reasons = zip(
                table["source"].to_pylist(), table["stage"].to_pylist(), table["reason"].to_pylist(), strict=True
            )
            for source, stage, reason in reasons:
                tally.setdefault(source, Counter())[f"{stage}.{reason}"] += 1
            yield table

    path = f"rejects/part-{number:05d}-of-{len(plan.reject_groups):05d}.parquet"
    file = _write_parquet(counted(), f"{directory}/{path}")
    return Rejected([{"path": path, **file}], {source: dict(counts) for source, counts in tally.items()})


def _reject_table(rejects: pa.RecordBatch, place: Place) -> pa.Table:
    rows = pa.Table.from_batches([rejects]).sort_by([("row", "ascending"), ("item", "ascending")]).combine_chunks()
    count = len(rows)
    row = pa.array(rows["row"].to_numpy() + place.first_row)
    origin = _origin(pa.repeat(place.uri, count), row, rows["item"].combine_chunks())
    rest = [rows[name].combine_chunks() for name in REJECT_FILE.names[2:]]
    return pa.Table.from_arrays([pa.repeat(place.source, count), origin, *rest], schema=REJECT_FILE)


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


def _write_parquet(groups: Iterable[pa.Table], path: str) -> dict[str, Any]:
    """Write tables as row groups (at least one) and return the file's rows, bytes and sha256."""
    groups = iter(groups)
    first = next(groups)
    rows = 0
    with naming(path), open_new(path) as stream:
        sink = _HashingSink(stream)
        schema = first.schema
        with pq.ParquetWriter(
            pa.PythonFile(sink, mode="w"), schema, compression="zstd", use_dictionary=_repeating(schema)
        ) as writer:
            for group in _and_then(first, groups):
                rows += len(group)
                writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
    return {"rows": rows, "bytes": sink.bytes, "sha256": sink.digest.hexdigest()}


def _and_then(first: pa.Table, others: Iterator[pa.Table]) -> Iterator[pa.Table]:
    yield first
    yield from others


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


def _groups(plan: PlanFile) -> range:
    return range(plan.reject_groups)


def _write_group(number: int, plan: PlanFile, directory: str) -> Rejected:
    return write_rejects(number, load_plan(plan.path), directory)


@dataclass(kw_only=True)
class WriteRejects(beam.PTransform[PCollection[PlanFile], PCollection[Rejected]]):
    """The one plan in, one :class:`Rejected` for each group of rejected rows out; retries as :class:`WriteShards`."""

    directory: str

    def expand(self, plan: PCollection[PlanFile]) -> PCollection[Rejected]:
        """Write every group on its own."""
        return (
            plan
            | "Groups" >> beam.FlatMap(_groups).with_output_types(int)
            | "SpreadGroups" >> beam.Reshuffle()
            | "WriteGroup" >> beam.Map(_write_group, AsSingleton(plan), self.directory).with_output_types(Rejected)
        )
