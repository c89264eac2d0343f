"""The plan of a build's second half: how many shards there will be, and where every row of a split stands in its file.

It travels as a file that each worker reads once: of a fragment it keeps some 40 bytes, and the engine carries its name alone.
"""

from __future__ import annotations

import json  # and not orjson: see versatune.transforms.transport.batch_coders
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import pyarrow as pa

from versatune.transforms.transport.exchange import split_of
from versatune.transforms.transport.field_counts import FieldCounts
from versatune.transforms.transport.storage import open_arrow, write_arrow

FRAGMENTS = pa.schema([("key", pa.string()), ("rows", pa.int32()), ("parts", pa.int32()), ("rejected", pa.int32())])
_ABOUT = b"versatune.plan"
Tally = dict[str, dict[str, int]]
"""By source, numbers by name."""


class Place(NamedTuple):
    """What the rows of a split have in common."""

    source: str
    uri: str
    part: int
    first_row: int
    """Number in the file of the split's row 0."""
    license: str


class Planned(NamedTuple):
    """What is left of a fragment in the plan."""

    key: str
    rows: int
    parts: int
    rejected: int

    @property
    def split(self) -> str:
        """Key of its split."""
        return split_of(self.key)


@dataclass(frozen=True)
class ShardPlan:
    """What every shard writer needs; a function of the fragments and of the records of reading, in whatever order they came."""

    directory: str
    """Where the fragments are."""
    buckets: int
    table: pa.Table
    """:data:`FRAGMENTS`: those of files that were not refused, in the order of source, uri and row."""
    places: dict[str, Place]
    """By key of split."""
    fields: dict[str, FieldCounts]
    """By source, which fields of the raw rows were used."""
    classified: Tally
    """By source, examples by domain."""
    counts: Tally
    """By source, what happened to rows on the way."""
    reject_groups: list[tuple[int, int]]
    """Bounds in ``table``: the rejects of these fragments become one file each."""
    merges: int
    """Into how many runs the fragments are merged before the shards are written; 0 where each bucket is read from all of them."""
    basis: str
    """Digest of all this: what was written for another basis cannot be used again."""

    def merge_bounds(self, number: int) -> tuple[int, int]:
        """Return which fragments become a run, as bounds in ``table``."""
        count = len(self.table)
        return count * number // self.merges, count * (number + 1) // self.merges

    def fragments(self, start: int = 0, end: int | None = None) -> Iterator[Planned]:
        """Yield some of the fragments, in order."""
        for batch in self.table.slice(start, None if end is None else end - start).to_batches(max_chunksize=4096):
            yield from map(Planned._make, zip(*(column.to_pylist() for column in batch.columns), strict=True))

    @cached_property
    def files(self) -> list[Place]:
        """One place for each file, ordered by source, licence and uri: which of equal rows stays must not depend on the names of files."""
        return [place for _, place in sorted({_file(place): place for place in self.places.values()}.items())]

    @cached_property
    def file_numbers(self) -> dict[str, int]:
        """By key of split, which of ``files`` it is in."""
        number = {_file(place): at for at, place in enumerate(self.files)}
        return {split: number[_file(place)] for split, place in self.places.items()}


def _file(place: Place) -> tuple[str, str, str]:
    return place.source, place.license, place.uri


class PlanFile(NamedTuple):
    """Where the plan is, and how much there is to do: what the engine carries."""

    path: str
    buckets: int
    reject_groups: int
    merges: int
    basis: str


def save_plan(plan: ShardPlan, staging: str) -> PlanFile:
    """Write the plan beside what it plans; a retry writes the same bytes under the same name."""
    path = f"{staging}/plan-{plan.basis}-{plan.merges}.arrow"  # one name, one content: workers remember it
    about = {
        "directory": plan.directory,
        "buckets": plan.buckets,
        "places": plan.places,
        "fields": {source: vars(counts) for source, counts in plan.fields.items()},
        "classified": plan.classified,
        "counts": plan.counts,
        "reject_groups": plan.reject_groups,
        "merges": plan.merges,
        "basis": plan.basis,
    }
    write_arrow(plan.table.to_batches(), FRAGMENTS.with_metadata({_ABOUT: json.dumps(about).encode()}), path)
    return PlanFile(path, plan.buckets, len(plan.reject_groups), plan.merges, plan.basis)


@lru_cache(maxsize=1)
def load_plan(path: str) -> ShardPlan:
    """Read what :func:`save_plan` wrote, once per process."""
    with open_arrow(path) as stream:
        table = pa.ipc.open_file(stream).read_all()
    about = json.loads(table.schema.metadata[_ABOUT])
    places = {split: Place(*values) for split, values in about.pop("places").items()}
    fields = {source: FieldCounts(**values) for source, values in about.pop("fields").items()}
    groups = [(start, end) for start, end in about.pop("reject_groups")]
    table = table.replace_schema_metadata(None)
    return ShardPlan(table=table, places=places, fields=fields, reject_groups=groups, **about)


def table_of(fragments: Iterable[Planned]) -> pa.Table:
    """Return fragments as :data:`FRAGMENTS`."""
    columns = list(zip(*fragments, strict=True)) or [()] * len(FRAGMENTS)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, FRAGMENTS, strict=True)], FRAGMENTS)
