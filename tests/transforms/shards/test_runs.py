"""Fragments merged into runs: the same rows for every bucket, few opens, little in memory, whole or not at all."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as BeamTestPipeline

import versatune.transforms.transport.batch_coders  # noqa: F401  # registers how batches travel
from versatune.transforms.shards import merge, runs
from versatune.transforms.shards.merge import merged
from versatune.transforms.shards.pieces import Piece, fragment_pieces
from versatune.transforms.shards.plan_shards import RUNS, count_merges
from versatune.transforms.shards.runs import run_pieces, write_run
from versatune.transforms.shards.shard_plan import ShardPlan, save_plan
from versatune.transforms.shards.write_buckets import WriteShards
from versatune.transforms.transport import exchange, storage
from versatune.transforms.transport.exchange import buckets

MakeCorpus = Callable[..., Any]


@pytest.fixture
def made(corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return 60 fragments of three files, most of them of several parts, one row in them many times."""
    monkeypatch.setattr(exchange, "_PART_ROWS", 1)
    built = corpus(parts=8, batch_rows=10).file("a", range(300), parts=2).file("b", range(100, 305), source="two")
    return built.file("c", [7] * 100)


def plan_of(made: Any, merges: int = 3, shard_bytes: int = 2000) -> ShardPlan:
    return replace(made.plan(shard_bytes=shard_bytes), merges=merges)


def rows(pieces: Iterable[Piece]) -> Counter[tuple[Any, ...]]:
    """Return what is known of each row: where it stands and all that it holds but the columns that say so."""
    return Counter(
        (int(file), int(row), repr({name: value for name, value in content.items() if name != "row"}))
        for piece in pieces
        for file, row, content in zip(piece.file, piece.row, piece.batch.to_pylist(), strict=True)
    )


@pytest.mark.parametrize("sorted_bytes", [1, 3000, 10**9])
def test_a_bucket_has_the_same_rows_from_runs_as_from_fragments(
    made: Any, monkeypatch: pytest.MonkeyPatch, sorted_bytes: int
) -> None:
    monkeypatch.setattr(merge, "_SORTED_BYTES", sorted_bytes)
    plan = plan_of(made)
    assert plan.buckets == 32
    written = [write_run(number, plan, str(made.home)) for number in range(plan.merges)]
    assert bool(sum(len(run.further) for run in written)) == (
        sorted_bytes < 10**9
    )  # of what one bucket alone has too much
    for bucket in buckets(plan.buckets):
        assert rows(run_pieces(bucket, written)) == rows(fragment_pieces(bucket, plan))


def test_rows_are_merged_in_the_order_of_buckets_and_never_many_at_a_time(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "_SORTED_BYTES", 3000)
    sizes: list[int] = []
    whole = merge._sorted
    monkeypatch.setattr(merge, "_sorted", lambda b, *more: (sizes.append(sum(x.nbytes for x in b)), whole(b, *more))[1])
    numbers = [bucket for bucket, _ in merged(plan_of(made, merges=1), 0)]
    assert all(one <= other for one, other in pairwise(numbers))
    assert 0 < max(sizes) <= 3000


@pytest.mark.parametrize("buckets_in_file", [1, 16, 64])
def test_a_bucket_costs_one_open_of_each_run_and_merging_one_of_each_fragment(
    made: Any, monkeypatch: pytest.MonkeyPatch, buckets_in_file: int
) -> None:
    monkeypatch.setattr(runs, "_BUCKETS_IN_FILE", buckets_in_file)
    opened: Counter[str] = Counter()
    plan = plan_of(made, merges=4)
    with monkeypatch.context() as patch:
        mapped = storage.pa.memory_map
        patch.setattr(storage.pa, "memory_map", lambda path: (opened.update([path]), mapped(path))[1])
        written = [write_run(number, plan, str(made.home)) for number in range(plan.merges)]
        assert set(opened.values()) == {1}
        assert len(opened) == sum(1 for fragment in plan.fragments() if fragment.rows)
        for bucket in buckets(plan.buckets):
            opened.clear()
            found = list(run_pieces(bucket, written))
            assert len(found) <= sum(opened.values()) <= plan.merges


def test_the_footer_of_a_run_does_not_grow_with_the_buckets(made: Any) -> None:
    one, other = (write_run(0, plan_of(made, 1, size), str(made.home)) for size in (500, 60))
    assert len(one.file_bytes) == 2
    assert len(other.file_bytes) > 8


def test_what_is_merged_again_has_the_same_bytes_and_what_has_a_record_is_taken(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(made)
    run = write_run(1, plan, str(made.home))
    content = {path: Path(path).read_bytes() for path in run.file_bytes}
    record = Path(f"{run.directory}.json")
    with monkeypatch.context() as patch:
        patch.setattr(runs, "merged", lambda *_: pytest.fail("it is there"))
        assert write_run(1, plan, str(made.home)) == run
    for harm in (lambda: record.write_bytes(b""), record.unlink, Path(next(iter(run.file_bytes))).unlink):
        harm()
        assert write_run(1, plan, str(made.home)) == run
        assert {path: Path(path).read_bytes() for path in run.file_bytes} == content


def test_a_merge_that_was_killed_is_done_again(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(made)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runs, "replace_bytes", killed)
        write_run(0, plan, str(made.home))
    run = write_run(0, plan, str(made.home))
    assert sorted(os.listdir(run.directory)) == sorted(path.rpartition("/")[2] for path in run.file_bytes)


@pytest.mark.parametrize("way", ["fragments", "runs", "shuffle"])
def test_shards_are_the_same_bytes_whichever_way_their_rows_come(made: Any, way: str, tmp_path: Path) -> None:
    plan = plan_of(made, 0 if way == "fragments" else 5)
    reference = replace(made.writer(), staging=str(tmp_path / "reference"))
    for bucket in buckets(plan.buckets):
        reference.write(bucket, plan, made.near({}), fragment_pieces(bucket, plan))
    writer = replace(made.writer(), staging=str(tmp_path / way))
    with BeamTestPipeline(runner="FnApiRunner") as root:
        planned = root | beam.Create([save_plan(plan, str(tmp_path / way))])
        planned | WriteShards(writer=writer, shuffle=way == "shuffle")
    assert files(tmp_path / way / "out") == files(tmp_path / "reference" / "out")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("fragments", "of", "opens"),
    [(1, 1, 1), (50, 4, 50), (256, KEYS := 65536, 256), (1221, 64, 1221), (244_141, 16384, 256)],
)
def test_a_bucket_of_many_is_read_from_few_files(fragments: int, of: int, opens: int) -> None:
    merges = count_merges(fragments, of)
    assert (merges or fragments) == opens
    assert opens <= RUNS or fragments * of <= 2**18
