"""How a bucket's rows come to its writer: from the fragments, from runs that they were merged into, or through the engine's own shuffle.

The bytes are the same each time: a writer sorts what it gets by id and place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsList, AsSingleton, PCollection

from versatune.transforms.overlap.near_duplicates import Clusters
from versatune.transforms.shards.merge import merged
from versatune.transforms.shards.pieces import fragment_pieces, merged_piece
from versatune.transforms.shards.runs import MergeFragments, Run, run_pieces
from versatune.transforms.shards.shard_plan import PlanFile, load_plan
from versatune.transforms.shards.write_shards import (
    NO_NEAR_DUPLICATES,
    NearDuplicates,
    ShardWriter,
    Written,
    load_near_duplicates,
)
from versatune.transforms.transport.exchange import Bucket, buckets


@dataclass(kw_only=True)
class WriteShards(beam.PTransform[PCollection[PlanFile], PCollection[Written]]):
    """The one plan in, one :class:`Written` for each bucket out. A retry writes the same bytes under the same names."""

    writer: ShardWriter
    shuffle: bool = False
    """Rows go through the engine's shuffle; a bucket without rows then has no output. Plan for it: there must be groups to merge."""
    clusters: PCollection[Clusters] | None = None
    """One element, where near-duplicates were looked for."""

    def expand(self, plan: PCollection[PlanFile]) -> PCollection[Written]:
        """Write every bucket on its own."""
        near = [AsSingleton(self.clusters)] if self.clusters is not None else []
        if self.shuffle:
            rows = plan | "ShuffleRows" >> ShuffleRows()
            write = beam.Map(self._write_shuffled, AsSingleton(plan), *near)
            return rows | "WriteBucket" >> write.with_output_types(Written)
        runs = plan | "MergeFragments" >> MergeFragments(staging=self.writer.staging)
        return (
            plan
            | "Buckets" >> beam.FlatMap(_buckets).with_output_types(Bucket)
            | "SpreadBuckets" >> beam.Reshuffle()
            | "WriteBucket" >> beam.Map(self._write, AsSingleton(plan), AsList(runs), *near).with_output_types(Written)
        )

    def _write(self, bucket: Bucket, file: PlanFile, runs: list[Run], clusters: Clusters | None = None) -> Written:
        bucket, plan = Bucket(*bucket), load_plan(file.path)
        pieces = run_pieces(bucket, runs) if plan.merges else fragment_pieces(bucket, plan)
        return self.writer.write(bucket, plan, _near(clusters), pieces)

    def _write_shuffled(
        self, rows: tuple[int, Iterable[bytes]], file: PlanFile, clusters: Clusters | None = None
    ) -> Written:
        pieces = (merged_piece(pa.ipc.open_stream(batch).read_next_batch()) for batch in rows[1])
        return self.writer.write(Bucket(rows[0], file.buckets), load_plan(file.path), _near(clusters), pieces)


def _near(clusters: Clusters | None) -> NearDuplicates:
    return load_near_duplicates(clusters.path, clusters.sha256) if clusters else NO_NEAR_DUPLICATES


def _buckets(plan: PlanFile) -> list[Bucket]:
    return list(buckets(plan.buckets))


@dataclass(kw_only=True)
class ShuffleRows(beam.PTransform[PCollection[PlanFile], PCollection[tuple[int, Iterable[bytes]]]]):
    """The one plan in, each bucket's number with its rows out: record batches of merged fragments as Arrow streams."""

    def expand(self, plan: PCollection[PlanFile]) -> PCollection[tuple[int, Iterable[bytes]]]:
        """Merge groups of fragments, each opened once, and hand what belongs to a bucket to the engine."""
        return (
            plan
            | "Groups" >> beam.FlatMap(_groups).with_output_types(int)
            | "SpreadGroups" >> beam.Reshuffle()
            | "MergeGroup" >> beam.FlatMap(_merged, AsSingleton(plan)).with_output_types(tuple[int, bytes])
            | "ByBucket" >> beam.GroupByKey()
        )


def _groups(plan: PlanFile) -> range:
    return range(plan.merges)


def _merged(number: int, plan: PlanFile) -> Iterator[tuple[int, bytes]]:
    for bucket, batch in merged(load_plan(plan.path), number):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        yield bucket, bytes(sink.getvalue())
