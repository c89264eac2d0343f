"""Many fragments become one sequence of rows in the order of buckets, little of it in memory at a time.

Each fragment is opened once and mapped (a remote one is copied beside the worker first, in one request). Its rows are in the order of
their keys already, so a range of keys is a few slices of it; ranges are taken one after the other, and halved as long as their rows
are too large to be sorted at once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

from versatune.transforms.shards.pieces import with_places
from versatune.transforms.shards.shard_plan import Planned, ShardPlan
from versatune.transforms.transport.exchange import Bucket, bucket_rows, examples_path, map_fragment
from versatune.transforms.transport.ids import id_keys
from versatune.transforms.transport.storage import is_local, read_bytes

_SORTED_BYTES = 64 * 2**20  # of rows that are sorted at once


def merged(plan: ShardPlan, number: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield the rows of one group of fragments as (bucket, batch), buckets ascending; one that is huge comes in several batches.

    Args:
        plan: says which fragments are the group's.
        number: of the group.
    """
    fragments = [fragment for fragment in plan.fragments(*plan.merge_bounds(number)) if fragment.rows]
    with _near(plan.directory, fragments) as directory:
        opened = [map_fragment(directory, fragment.key) for fragment in fragments]
        ranges = min(plan.buckets, max((fragment.parts for fragment in fragments), default=1))
        for range_ in (Bucket(at, ranges) for at in range(ranges)):
            found = [
                with_places(batch, plan.file_numbers[fragment.split], plan.places[fragment.split].first_row)
                for fragment, examples in zip(fragments, opened, strict=True)
                for batch in bucket_rows(examples, fragment.parts, range_)
            ]
            if found:
                yield from _cut(found, range_, plan.buckets)


@contextmanager
def _near(directory: str, fragments: Sequence[Planned]) -> Iterator[str]:
    """Give a local directory that holds the files of some fragments."""
    if is_local(directory):
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="versatune-") as copies:
        for fragment in fragments:
            Path(examples_path(copies, fragment.key)).write_bytes(read_bytes(examples_path(directory, fragment.key)))
        yield copies


def _cut(batches: list[pa.RecordBatch], range_: Bucket, buckets: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Sort the rows of a range of keys and cut them into buckets."""
    if sum(batch.nbytes for batch in batches) <= _SORTED_BYTES:
        yield from _sorted(batches, range_, buckets)
    elif range_.of == buckets:
        yield from ((range_.number, whole) for whole in _joined(batches))
    else:
        low, high = Bucket(2 * range_.number, 2 * range_.of), Bucket(2 * range_.number + 1, 2 * range_.of)
        edges = [int(np.searchsorted(id_keys(batch.column("id")), high.keys[0])) for batch in batches]
        below = [batch.slice(0, edge) for batch, edge in zip(batches, edges, strict=True) if edge]
        above = [batch.slice(edge) for batch, edge in zip(batches, edges, strict=True) if edge < batch.num_rows]
        for half, part in ((below, low), (above, high)):
            if half:
                yield from _cut(half, part, buckets)


def _sorted(batches: list[pa.RecordBatch], range_: Bucket, buckets: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    rows = pa.concat_batches(batches)
    keys = id_keys(rows.column("id"))
    order = np.argsort(keys, kind="stable")
    rows = rows.take(pa.array(order))
    count = buckets // range_.of
    numbers = range(range_.number * count, (range_.number + 1) * count)
    edges = np.searchsorted(keys[order], [Bucket(number, buckets).keys[0] for number in numbers]).tolist()
    for number, start, end in zip(numbers, edges, [*edges[1:], len(keys)], strict=True):
        if end > start:
            yield number, rows.slice(start, end - start)


def _joined(batches: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Join batches as long as they are small together."""
    group: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        if group and size + batch.nbytes > _SORTED_BYTES:
            yield pa.concat_batches(group)
            group, size = [], 0
        group.append(batch)
        size += batch.nbytes
    yield pa.concat_batches(group)
