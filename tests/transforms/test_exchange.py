"""Rows through files: nothing is lost, doubled or read by the wrong bucket."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as BeamTestPipeline
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given
from hypothesis import strategies as st

from transforms.exchange import (
    MAX_BUCKETS,
    GatherBuckets,
    bucket_of_examples,
    bucket_of_ids,
    bucket_of_rejects,
    count_buckets,
    read_pieces,
    write_fragment,
)


def ids(count: int) -> list[str]:
    return [hashlib.blake2b(str(i).encode(), digest_size=16).hexdigest() for i in range(count)]


def batch_of(names: list[str]) -> pa.RecordBatch:
    return pa.record_batch({"id": names, "tags": [[name[:2], name[2:4]] for name in names]})


@given(st.integers(0, 2**44), st.integers(1, 2**34))
def test_buckets_are_the_smallest_power_of_two_that_keeps_shards_small(input_bytes: int, shard_bytes: int) -> None:
    buckets = count_buckets(input_bytes, shard_bytes)
    assert buckets & (buckets - 1) == 0
    assert buckets == MAX_BUCKETS or buckets * shard_bytes >= input_bytes
    assert buckets == 1 or buckets // 2 * shard_bytes < input_bytes


def test_a_bucket_is_the_last_digits_of_the_id() -> None:
    names = ids(200)
    assert bucket_of_ids(pa.array(names), 64).tolist() == [int(name[-4:], 16) % 64 for name in names]
    assert bucket_of_ids(pa.array([], pa.string()), 64).tolist() == []


def test_buckets_are_even() -> None:
    counts = np.bincount(bucket_of_ids(pa.array(ids(64_000)), 64), minlength=64)
    assert 850 < counts.min() <= counts.max() < 1150  # 1000 each, within 5 standard deviations


def test_rejects_spread_by_their_place() -> None:
    batch = pa.RecordBatch.from_pylist([{"origin": {"uri": "f", "row": row}} for row in (0, 5, 6)])
    assert bucket_of_rejects(batch, 4).tolist() == [0, 1, 2]


def test_every_row_comes_back_in_its_bucket_once(tmp_path: Path) -> None:
    names = ids(1000)
    pieces = defaultdict(list)
    for start in range(0, 1000, 300):
        batch = batch_of(names[start : start + 300])
        for bucket, piece in write_fragment(batch, bucket_of_examples(batch, 8), str(tmp_path), "rows"):
            pieces[bucket].append(piece)
    found = {bucket: read_pieces(parts) for bucket, parts in pieces.items()}
    assert sorted(name for table in found.values() for name in table["id"].to_pylist()) == sorted(names)
    for bucket, table in found.items():
        assert set(bucket_of_ids(table["id"].combine_chunks(), 8)) == {bucket}
        assert table["tags"].to_pylist() == [[name[:2], name[2:4]] for name in table["id"].to_pylist()]
        assert table.num_rows == sum(piece.rows for piece in pieces[bucket])


def test_a_retry_writes_another_file(tmp_path: Path) -> None:
    batch = batch_of(ids(3))
    first, second = (list(write_fragment(batch, np.zeros(3, np.int32), str(tmp_path), "rows")) for _ in range(2))
    assert first[0][1].path != second[0][1].path
    assert {file.name.rsplit("-", 1)[0] for file in tmp_path.iterdir()} == {"rows-3"}


def test_thousands_of_pieces_need_few_open_files(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    batch = batch_of(ids(2))
    pieces = [
        piece for _ in range(300) for _, piece in write_fragment(batch, np.zeros(2, np.int32), str(tmp_path), "rows")
    ]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        assert read_pieces(pieces).num_rows == 600
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_transform_brings_equal_ids_together_whatever_the_batches(tmp_path: Path) -> None:
    names = ids(40)
    batches = [batch_of(names[:25]), batch_of(names[20:]), batch_of([])]
    expected = sorted(names + names[20:25])

    def contents(element: tuple[int, object]) -> list[str]:
        bucket, pieces = element
        found = read_pieces(pieces)["id"].to_pylist()  # type: ignore[arg-type]
        assert {int(name[-4:], 16) % 4 for name in found} == {bucket}
        return found

    with BeamTestPipeline(runner="FnApiRunner") as root:
        gathered = (
            root
            | beam.Create(batches)
            | GatherBuckets(directory=str(tmp_path), kind="rows", bucket_of=bucket_of_examples, buckets=4)
        )
        rows = gathered | beam.FlatMap(contents) | beam.combiners.ToList() | beam.Map(sorted)
        assert_that(rows, equal_to([expected]))
