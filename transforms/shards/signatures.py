"""Signature blocks of a build: written beside each fragment, found again by its key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.pvalue import PCollection

from versatune.schemas.config import NearDuplicatesConfig
from versatune.transforms.overlap.near_duplicates import write_signatures
from versatune.transforms.shards.shard_plan import PlanFile, load_plan
from versatune.transforms.transport.batch import Batch


@dataclass(kw_only=True)
class WriteSignatures(beam.PTransform[PCollection[Batch], PCollection[Batch]]):
    """Batches in, the same out; the block of each is there before its fragment is, so that a finished fragment needs nothing more."""

    settings: NearDuplicatesConfig
    directory: str

    def expand(self, batches: PCollection[Batch]) -> PCollection[Batch]:
        """Write a block for each batch that has examples."""
        return batches | "WriteBlock" >> beam.Map(self._write).with_output_types(Batch)

    def _write(self, batch: Batch) -> Batch:
        if batch.examples.num_rows:
            write_signatures(batch.examples, self.settings, self.directory, batch.key)
        return batch


@dataclass(kw_only=True)
class ListSignatures(beam.PTransform[PCollection[PlanFile], PCollection[str]]):
    """The plan in, the path of every block of a file that was not refused out."""

    directory: str

    def expand(self, plan: PCollection[PlanFile]) -> PCollection[str]:
        """Name the blocks of the plan's fragments."""
        return plan | "NameBlocks" >> beam.FlatMap(self._paths).with_output_types(str)

    def _paths(self, plan: PlanFile) -> Iterator[str]:
        fragments = load_plan(plan.path).fragments()
        return (f"{self.directory}/{fragment.key}.arrow" for fragment in fragments if fragment.rows)
