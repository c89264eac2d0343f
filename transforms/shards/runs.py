"""Runs: what groups of fragments are merged into where there are many, so that a shard's writer opens a few hundred files at most.

A run is a directory of Arrow files, each of some neighbouring buckets in order, one record batch a bucket; its record is written last. Names
are those of the plan: a retried or restarted build takes what has a record as it is. Runs take as much disk as the fragments do.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby

import apache_beam as beam
import orjson
import pyarrow as pa
from apache_beam.pvalue import AsSingleton, PCollection

from versatune.transforms.shards.merge import merged
from versatune.transforms.shards.pieces import Piece, merged_piece
from versatune.transforms.shards.shard_plan import PlanFile, ShardPlan, load_plan
from versatune.transforms.transport.exchange import Bucket
from versatune.transforms.transport.storage import exists, open_arrow, read_bytes, replace_bytes, sizes, write_arrow

_BUCKETS_IN_FILE = 64  # a file's footer names each of its batches, and is read with every bucket


@dataclass(frozen=True)
class Run:
    """One group of fragments, merged."""

    directory: str
    file_bytes: dict[str, int]
    """By path of each file; ranges of buckets without rows have none."""
    further: dict[str, int]
    """By bucket, how many record batches beyond one it has: more than none where its rows are many."""

    def batches(self, bucket: Bucket) -> tuple[str, range]:
        """Return in which file a bucket is, and the numbers of its record batches."""
        first = bucket.number - bucket.number % _BUCKETS_IN_FILE
        start = bucket.number - first + sum(self.further.get(str(at), 0) for at in range(first, bucket.number))
        return _path(self.directory, first), range(start, start + 1 + self.further.get(str(bucket.number), 0))


def write_run(number: int, plan: ShardPlan, staging: str) -> Run:
    """Merge one group of fragments into files, unless an earlier try did so.

    Args:
        number: of the group.
        plan: all of it.
        staging: where the build works.
    """
    directory = f"{staging}/runs-{plan.basis}/{number:05d}-of-{plan.merges:05d}"
    record = f"{directory}.json"
    if exists(record):
        with contextlib.suppress(ValueError, TypeError):  # a record that a power cut left without its content
            run = Run(**orjson.loads(read_bytes(record)))
            if sizes(f"{directory}/*.arrow") == run.file_bytes:
                return run
    further: Counter[str] = Counter()
    for first, rows in groupby(merged(plan, number), lambda entry: entry[0] - entry[0] % _BUCKETS_IN_FILE):
        _write_file(_path(directory, first), first, min(_BUCKETS_IN_FILE, plan.buckets), rows, further)
    run = Run(directory, sizes(f"{directory}/*.arrow"), dict(further))
    replace_bytes(record, orjson.dumps(asdict(run)), durable=False)
    return run


def _path(directory: str, first: int) -> str:
    return f"{directory}/{first:05d}.arrow"


def _write_file(
    path: str, first: int, count: int, rows: Iterator[tuple[int, pa.RecordBatch]], further: Counter[str]
) -> None:
    """Write the batches of some buckets, an empty one for each bucket without rows; note which have several."""
    start, batch = next(rows)
    empty = batch.slice(0, 0)

    def whole() -> Iterator[pa.RecordBatch]:
        yield from [empty] * (start - first)
        yield batch
        last = start
        for bucket, more in rows:
            if bucket == last:
                further[str(bucket)] += 1
            yield from [empty] * (bucket - last - 1)
            yield more
            last = bucket
        yield from [empty] * (first + count - 1 - last)

    write_arrow(whole(), batch.schema, path)


def run_pieces(bucket: Bucket, runs: Iterable[Run]) -> Iterator[Piece]:
    """Read a bucket's rows from every run: one file of each."""
    for run in runs:
        path, numbers = run.batches(bucket)
        if path in run.file_bytes:
            with open_arrow(path) as stream:  # a mapping outlives its closed file
                reader = pa.ipc.open_file(stream)
                found = [reader.get_batch(number) for number in numbers]
            yield from (merged_piece(batch) for batch in found if batch.num_rows)


@dataclass(kw_only=True)
class MergeFragments(beam.PTransform[PCollection[PlanFile], PCollection[Run]]):
    """The plan in, one :class:`Run` for each group of fragments out; none where there are few fragments."""

    staging: str

    def expand(self, plan: PCollection[PlanFile]) -> PCollection[Run]:
        """Merge every group on its own."""
        return (
            plan
            | "Groups" >> beam.FlatMap(_groups).with_output_types(int)
            | "SpreadGroups" >> beam.Reshuffle()
            | "MergeGroup" >> beam.Map(self._write, AsSingleton(plan)).with_output_types(Run)
        )

    def _write(self, number: int, plan: PlanFile) -> Run:
        return write_run(number, load_plan(plan.path), self.staging)


def _groups(plan: PlanFile) -> range:
    return range(plan.merges)
