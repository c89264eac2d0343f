"""Between reading and writing: how many shards there will be, and where every row of a split stands in its file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsIter, AsList, PCollection

from versatune.schemas.errors import RunError
from versatune.transforms.shards.shard_plan import Place, PlanFile, Planned, ShardPlan, save_plan, table_of
from versatune.transforms.transport.exchange import Fragment, count_buckets, pack, unpack
from versatune.transforms.transport.field_counts import FieldCounts

RUNS = 256
"""Files that a bucket is read from at most, where there are many fragments."""
_MERGED_FROM = 2**18
"""Opens of fragments by all buckets together from which merging costs less than it saves: a fragment's rows are read and written in the
time of some hundred opens."""


def plan_shards(
    fragments: Iterable[Fragment],
    records: Sequence[dict[str, Any]],
    directory: str,
    shard_bytes: int,
    settings: str,
    *,
    shuffle: bool = False,
) -> ShardPlan:
    """Decide the number of shards from the bytes of all examples, and the place of every split.

    Args:
        fragments: one per batch; each is looked at once, and little of it is kept.
        records: :class:`versatune.transforms.reading.read.ReadRecord` as dictionaries, one per split.
        directory: where the fragments are.
        shard_bytes: bytes of text that a bucket may hold on average.
        settings: whatever else decides the shards' bytes.
        shuffle: rows go through the engine's shuffle, so fragments are merged in any case.

    Raises:
        RunError: a batch that was read has no fragment, or a fragment belongs to no split: rows would be lost.
    """
    places = _places(records)
    sums = _Sums()
    known = {record["key"] for record in records}
    unknown = set()
    for fragment in fragments:
        if fragment.split in places:
            sums.add(fragment)
        elif fragment.split not in known:
            unknown.add(fragment.split)
    _check_known(unknown)
    kept = sorted(sums.fragments.values(), key=lambda fragment: (places[fragment.split], fragment.key))
    _check_complete(kept, records, places)
    buckets = count_buckets(sums.bytes, shard_bytes)
    return ShardPlan(
        directory=directory,
        buckets=buckets,
        table=table_of(kept),
        places=places,
        fields=sums.fields,
        classified={source: dict(counts) for source, counts in sums.classified.items()},
        counts={source: dict(counts) for source, counts in sums.counts.items()},
        merges=min(RUNS, len(kept)) if shuffle else count_merges(len(kept), buckets),
        reject_groups=list(_groups(kept, sums.rejected_bytes, shard_bytes)),
        basis=_basis(settings, buckets, kept, places),
    )


@dataclass
class _Sums:
    """What is kept of the fragments: of each a few numbers, of each source the sums."""

    fragments: dict[str, Planned] = field(default_factory=dict)
    rejected_bytes: dict[str, int] = field(default_factory=dict)
    """Of those fragments that have some."""
    fields: dict[str, FieldCounts] = field(default_factory=dict)
    classified: dict[str, Counter[str]] = field(default_factory=dict)
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    bytes: int = 0

    def add(self, fragment: Fragment) -> None:
        """Count a fragment, once."""
        if fragment.key in self.fragments:
            return
        self.fragments[fragment.key] = Planned(fragment.key, fragment.rows, fragment.parts, fragment.rejected)
        if fragment.rejected:
            self.rejected_bytes[fragment.key] = fragment.rejected_bytes
        self.bytes += fragment.bytes
        self.fields.setdefault(fragment.source, FieldCounts()).add(fragment.fields)
        self.classified.setdefault(fragment.source, Counter()).update(fragment.domains)
        self.counts.setdefault(fragment.source, Counter()).update(fragment.counts)


def count_merges(fragments: int, buckets: int) -> int:
    """Return into how many runs fragments are merged before buckets are read from them; 0 where that is not worth it."""
    return RUNS if fragments > RUNS and fragments * buckets > _MERGED_FROM else 0


def _basis(settings: str, buckets: int, kept: Iterable[Planned], places: Mapping[str, Place]) -> str:
    digest = blake2b(repr((settings, buckets)).encode(), digest_size=16)
    for fragment in kept:
        digest.update(repr(fragment).encode())
    for place in places.items():
        digest.update(repr(place).encode())
    return digest.hexdigest()


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


def _check_known(unknown: set[str]) -> None:
    if unknown:
        raise RunError(
            f"build: batches of {len(unknown)} parts of files arrived without the record that they were read: rows were lost on the way."
            " Run it again; if it happens twice, it is a fault in versatune or in the engine"
        )


def _check_complete(kept: Sequence[Planned], records: Sequence[dict[str, Any]], places: dict[str, Place]) -> None:
    batches = dict.fromkeys(places, 0)
    for fragment in kept:
        batches[fragment.split] += 1
    for record in records:
        if record["key"] in places and batches[record["key"]] != record["batches"]:
            raise RunError(
                f"build: {record['uri']} was read as {record['batches']} batches, {batches[record['key']]} arrived: rows were lost"
                " on the way. Run it again; if it happens twice, it is a fault in versatune or in the engine"
            )


def _groups(
    fragments: Sequence[Planned], rejected_bytes: Mapping[str, int], group_bytes: int
) -> Iterator[tuple[int, int]]:
    """Yield the bounds of groups of fragments whose rejects make one file."""
    start, size = 0, 0
    for at, fragment in enumerate(fragments):
        size += rejected_bytes.get(fragment.key, 0)
        if size >= group_bytes:
            yield start, at + 1
            start, size = at + 1, 0
    if size:
        yield start, len(fragments)


@dataclass(kw_only=True)
class PlanShards(beam.PTransform[Any, PCollection[PlanFile]]):
    """Wait for every fragment and every record of reading, then :func:`plan_shards`. In: a pipeline's root. Out: the plan's one file."""

    fragments: PCollection[Fragment]
    records: PCollection[dict[str, Any]]
    splits: frozenset[str]
    """Keys of all that was to be read."""
    directory: str
    """Where the fragments are."""
    staging: str
    """Where the plan goes."""
    shard_bytes: int
    settings: str
    shuffle: bool = False

    def expand(self, root: Any) -> PCollection[PlanFile]:
        """Take the collections as side inputs, one small entry for each batch and split.

        An engine may hold all of a side input in memory: a fragment travels as its record, a tenth of the object.
        """
        packed = self.fragments | "Pack" >> beam.Map(pack).with_output_types(bytes)
        return (
            root
            | "Once" >> beam.Create([None])
            | "WaitForRows" >> beam.Map(self._plan, AsIter(packed), AsList(self.records)).with_output_types(PlanFile)
        )

    def _plan(self, _: None, packed: Iterable[bytes], records: list[dict[str, Any]]) -> PlanFile:
        lost = self.splits - {record["key"] for record in records}
        if lost:
            raise RunError(
                f"build: nothing is known of {len(lost)} of {len(self.splits)} parts of files: rows were lost on the way. Run it again;"
                " if it happens twice, it is a fault in versatune or in the engine"
            )
        fragments = map(unpack, packed)
        plan = plan_shards(fragments, records, self.directory, self.shard_bytes, self.settings, shuffle=self.shuffle)
        return save_plan(plan, self.staging)
