"""Between reading and writing: how many shards there will be, and where every row of a split stands in its file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import AsList, PCollection

from versatune.schemas.errors import RunError
from versatune.transforms.transport.exchange import Fragment, count_buckets, total
from versatune.transforms.transport.field_counts import FieldCounts


class Place(NamedTuple):
    """What the rows of a split have in common."""

    source: str
    uri: str
    part: int
    first_row: int
    """Number in the file of the split's row 0."""
    license: str


@dataclass(frozen=True)
class ShardPlan:
    """What every shard writer needs; a function of the fragments and of the records of reading, in whatever order they came."""

    buckets: int
    fragments: list[Fragment]
    """Those of files that were not refused, in the order of source, uri and row."""
    places: dict[str, Place]
    """By key of split."""
    fields: dict[str, FieldCounts]
    """By source, which fields of the raw rows were used. The fragments here hold none: they go to every worker."""
    reject_groups: list[list[Fragment]]
    """Fragments with rejects, in the same order; one file each."""
    basis: str
    """Digest of all this: what was written for another basis cannot be used again."""


def plan_shards(
    fragments: Iterable[Fragment], records: Sequence[dict[str, Any]], shard_bytes: int, settings: str
) -> ShardPlan:
    """Decide the number of shards from the bytes of all examples, and the place of every split.

    Args:
        fragments: one per batch.
        records: :class:`versatune.transforms.reading.read.ReadRecord` as dictionaries, one per split.
        shard_bytes: bytes of text that a bucket may hold on average.
        settings: whatever else decides the shards' bytes.

    Raises:
        RunError: a batch that was read has no fragment, or a fragment belongs to no split: rows would be lost.
    """
    fragments = list(fragments)
    _check_known(fragments, records)
    places = _places(records)
    kept = sorted(
        {fragment.key: fragment for fragment in fragments if fragment.split in places}.values(),
        key=lambda fragment: (places[fragment.split], fragment.key),
    )
    _check_complete(kept, records, places)
    fields = _fields(kept)
    kept = [replace(fragment, fields=FieldCounts()) for fragment in kept]
    example_bytes, _ = total(kept)
    buckets = count_buckets(example_bytes, shard_bytes)
    with_rejects = [fragment for fragment in kept if fragment.rejected]
    facts = [
        settings,
        buckets,
        *((fragment.key, fragment.rows, fragment.rejected) for fragment in kept),
        *places.items(),
    ]
    return ShardPlan(
        buckets=buckets,
        fragments=kept,
        places=places,
        fields=fields,
        reject_groups=list(_groups(with_rejects, shard_bytes)),
        basis=blake2b(repr(facts).encode(), digest_size=16).hexdigest(),
    )


def _fields(fragments: Iterable[Fragment]) -> dict[str, FieldCounts]:
    fields: dict[str, FieldCounts] = {}
    for fragment in fragments:
        fields.setdefault(fragment.source, FieldCounts()).add(fragment.fields)
    return fields


def _places(records: Sequence[dict[str, Any]]) -> dict[str, Place]:
    """Return the places of the splits of files that were read whole; none where a file changed meanwhile, since nothing will be published."""
    if any(record.get("changed") for record in records):
        return {}
    refused = {(record["source"], record["uri"]) for record in records if record["refused"]}
    places: dict[str, Place] = {}
    first_row = 0
    file = None
    for record in sorted(records, key=lambda record: (record["source"], record["uri"], record["part"])):
        if (record["source"], record["uri"]) != file:
            file, first_row = (record["source"], record["uri"]), 0
        if file not in refused:
            places[record["key"]] = Place(record["source"], record["uri"], record["part"], first_row, record["license"])
        first_row += record["rows"]
    return places


def _check_known(fragments: Sequence[Fragment], records: Sequence[dict[str, Any]]) -> None:
    unknown = {fragment.split for fragment in fragments} - {record["key"] for record in records}
    if unknown:
        raise RunError(
            f"build: batches of {len(unknown)} parts of files arrived without the record that they were read: rows were lost on the way."
            " Run it again; if it happens twice, it is a fault in versatune or in the engine"
        )


def _check_complete(kept: Sequence[Fragment], records: Sequence[dict[str, Any]], places: dict[str, Place]) -> None:
    batches = dict.fromkeys(places, 0)
    for fragment in kept:
        batches[fragment.split] += 1
    for record in records:
        if record["key"] in places and batches[record["key"]] != record["batches"]:
            raise RunError(
                f"build: {record['uri']} was read as {record['batches']} batches, {batches[record['key']]} arrived: rows were lost"
                " on the way. Run it again; if it happens twice, it is a fault in versatune or in the engine"
            )


def _groups(fragments: Sequence[Fragment], group_bytes: int) -> Iterable[list[Fragment]]:
    group: list[Fragment] = []
    size = 0
    for fragment in fragments:
        group.append(fragment)
        size += fragment.rejected_bytes
        if size >= group_bytes:
            yield group
            group, size = [], 0
    if group:
        yield group


@dataclass(kw_only=True)
class PlanShards(beam.PTransform[Any, PCollection[ShardPlan]]):
    """Wait for every fragment and every record of reading, then :func:`plan_shards`. In: a pipeline's root. Out: one element."""

    fragments: PCollection[Fragment]
    records: PCollection[dict[str, Any]]
    splits: frozenset[str]
    """Keys of all that was to be read."""
    shard_bytes: int
    settings: str

    def expand(self, root: Any) -> PCollection[ShardPlan]:
        """Take the collections as side inputs: one small entry for each batch and split."""
        return (
            root
            | "Once" >> beam.Create([None])
            | "WaitForRows"
            >> beam.Map(self._plan, AsList(self.fragments), AsList(self.records)).with_output_types(ShardPlan)
        )

    def _plan(self, _: None, fragments: list[Fragment], records: list[dict[str, Any]]) -> ShardPlan:
        lost = self.splits - {record["key"] for record in records}
        if lost:
            raise RunError(
                f"build: nothing is known of {len(lost)} of {len(self.splits)} parts of files: rows were lost on the way. Run it again;"
                " if it happens twice, it is a fault in versatune or in the engine"
            )
        return plan_shards(fragments, records, self.shard_bytes, self.settings)
