"""Shards: sorted, without duplicates, split by hash, the same bytes whatever the order and the files of the rows."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as BeamTestPipeline
from apache_beam.testing.util import assert_that

from versatune.schemas.arrow import LINEAGE, REJECT_FILE, example_schema
from versatune.schemas.dataset import Shard, SideFile
from versatune.schemas.files import sha256_bytes
from versatune.transforms.overlap.near_duplicates import NEAR_DUPLICATE, Clusters
from versatune.transforms.shards import write_shards
from versatune.transforms.shards.pieces import fragment_pieces
from versatune.transforms.shards.shard_plan import save_plan
from versatune.transforms.shards.write_buckets import WriteShards
from versatune.transforms.shards.write_shards import (
    NO_NEAR_DUPLICATES,
    NearDuplicates,
    WriteRejects,
    Written,
    in_validation,
    load_near_duplicates,
    write_rejects,
)
from versatune.transforms.transport.exchange import Bucket, buckets

MakeCorpus = Callable[..., Any]
ALL = Bucket(0, 1)


def write(corpus: Any, bucket: Bucket = ALL, near: NearDuplicates = NO_NEAR_DUPLICATES, **plan: Any) -> Written:
    planned = corpus.plan(**plan)
    written: Written = corpus.writer().write(bucket, planned, near, fragment_pieces(bucket, planned))
    return written


def files(corpus: Any) -> dict[str, bytes]:
    out = corpus.home / "out"
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def shards(corpus: Any) -> dict[str, bytes]:
    return {path: data for path, data in files(corpus).items() if path.startswith("data/")}


def read(corpus: Any, folder: str = "data") -> list[dict[str, Any]]:
    return [
        row
        for path in sorted((corpus.home / "out" / folder).rglob("*.parquet"))
        for row in pq.read_table(path, partitioning=None).to_pylist()
    ]


def lineage(corpus: Any) -> list[tuple[str, str, int, int, str, str]]:
    rows = read(corpus, "lineage")
    return [
        (row["id"], row["origin"]["uri"], row["origin"]["row"], row["origin"]["item"], row["fate"], row["kept_id"])
        for row in rows
    ]


# --- what a shard is ---


@pytest.mark.parametrize("tokenized", [True, False])
def test_shards_hold_every_row_once_sorted_by_id_in_its_split_and_domain(corpus: MakeCorpus, tokenized: bool) -> None:
    made = corpus(tokenized=tokenized).file("a.jsonl", range(300), parts=2)
    seen: list[str] = []
    for bucket in buckets(4):
        for entry in write(made, bucket).shards:
            shard = Shard(**entry)
            assert shard.path == f"data/{shard.split}/{shard.domain}/part-{bucket.number:05d}-of-00004.parquet"
            table = pq.read_table(made.home / "out" / shard.path, partitioning=None)
            assert table.schema.equals(example_schema(6, tokenized=tokenized))
            found = table["id"].to_pylist()
            assert found == sorted(found)
            assert {int(name[-4:], 16) >> 14 for name in found} == {bucket.number}
            assert set(table["domain"].to_pylist()) == {shard.domain}
            assert all((int(name, 16) < 0.2 * 2**128) == (shard.split == "validation") for name in found)
            data = (made.home / "out" / shard.path).read_bytes()
            assert (shard.bytes, shard.sha256) == (len(data), hashlib.sha256(data).hexdigest())
            tokens = (3 * len(found), 2 * len(found)) if tokenized else (0, 0)
            assert (shard.rows, shard.tokens, shard.loss_tokens) == (len(found), *tokens)
            seen += found
    assert sorted(seen) == sorted(map(made.identity, range(300)))


def test_a_row_keeps_all_that_it_has(corpus: MakeCorpus) -> None:
    special = {"number": 1, "tools": "[]", "rejected": "worse", "tags": ["pii.email"], "num_chars": 9, "domain": "law"}
    made = corpus().file("a", [special, 2], source="src", license="CC0-1.0")
    write(made)
    row = next(row for row in read(made) if row["id"] == made.identity(1))
    assert {name: row[name] for name in ("tools", "rejected", "tags", "num_chars", "domain", "source", "license")} == {
        "tools": "[]", "rejected": "worse", "tags": ["pii.email"], "num_chars": 9, "domain": "law", "source": "src",
        "license": "CC0-1.0",
    }  # fmt: skip
    assert (row["messages"][0], row["input_ids"]) == ({"role": "user", "content": "q1"}, [1, 1, 2])


def test_licenses_are_those_of_the_shards_rows(corpus: MakeCorpus) -> None:
    made = corpus().file("a", range(40), license="MIT").file("b", range(40, 80), license="CC0-1.0")
    assert {tuple(shard["licenses"]) for shard in write(made).shards if shard["split"] == "train"} == {
        ("CC0-1.0", "MIT")
    }


def test_a_bucket_without_rows_writes_nothing(corpus: MakeCorpus) -> None:
    made = corpus().file("a", rejects=[(0, "read.not_json")])
    assert write(made) == Written([], [], {}, {}, {}, {})
    assert files(made) == {}


def test_a_huge_row_is_written(corpus: MakeCorpus) -> None:
    long = [{"role": "user", "content": "x" * 20_000_000}, {"role": "assistant", "content": "a"}]
    made = corpus().file("a", [{"number": 1, "messages": long}, 2])
    assert sum(shard["rows"] for shard in write(made).shards) == 2
    assert max(len(row["messages"][0]["content"]) for row in read(made)) == 20_000_000


def test_a_split_is_a_function_of_the_id_and_holds_its_share(corpus: MakeCorpus) -> None:
    ids = pa.array([corpus().identity(number) for number in range(20_000)])
    assert 850 < in_validation(ids, 0.05).sum() < 1150
    edge = pa.array(["0" * 32, "0ccc" + "0" * 28, "0ccd" + "0" * 28])
    assert in_validation(edge, 0.05).tolist() == [True, True, False]
    assert not in_validation(pa.array(["0" * 32]), 0.0).any()
    assert (in_validation(ids, 0.05) <= in_validation(ids, 0.2)).all()  # a larger share only adds rows


# --- duplicates ---


def test_of_equal_ids_the_smallest_source_file_row_and_item_stays(corpus: MakeCorpus) -> None:
    places = [("two", "a", 0, 0), ("one", "b", 0, 0), ("one", "a", 7, 1), ("one", "a", 7, 0), ("one", "a", 5, 3)]
    expected = sorted(places)
    for seed in range(6):
        order = list(places)
        random.Random(seed).shuffle(order)
        made = corpus(f"seed{seed}")
        for source, uri in dict.fromkeys((source, uri) for source, uri, *_ in order):
            entries = [{"number": 1, "row": row, "item": item} for s, u, row, item in order if (s, u) == (source, uri)]
            made.file(uri, entries, source=source)
        written = write(made)
        assert [(row["source"], row["id"]) for row in read(made)] == [("one", made.identity(1))]
        assert [(fate, uri, row, item) for _, uri, row, item, fate, _ in lineage(made)] == [
            ("duplicate" if at else "written", uri, row, item) for at, (_, uri, row, item) in enumerate(expected)
        ]
        assert (written.written, written.duplicates) == ({"one": {"code": 1}}, {"one": {"code": 3}, "two": {"code": 1}})
        assert written.near_duplicates == {}


def test_rows_of_a_later_part_come_after_those_of_an_earlier_one(corpus: MakeCorpus) -> None:
    entries = [{"number": 1 if row in (9, 3) else 100 + row} for row in range(10)]
    made = corpus().file("a", entries, parts=5)  # as row 1 of its part, each
    write(made)
    same = [(row, fate) for name, _, row, _, fate, _ in lineage(made) if name == made.identity(1)]
    assert same == [(3, "written"), (9, "duplicate")]


def test_a_duplicate_counts_for_its_own_source_and_domain(corpus: MakeCorpus) -> None:
    made = corpus()
    made.file("b", [{"number": 1, "domain": "law"}], source="two")
    made.file("a", [{"number": 1, "domain": "code"}, {"number": 2, "domain": "law"}], source="one")
    written = write(made)
    assert written.written == {"one": {"code": 1, "law": 1}}
    assert written.duplicates == {"two": {"law": 1}}
    assert {(row["source"], row["domain"]) for row in read(made)} == {("one", "code"), ("one", "law")}


def test_the_licence_of_a_row_is_that_of_the_copy_that_stays(corpus: MakeCorpus) -> None:
    made = corpus().file("a", [1], source="x", license="A").file("a", [1], source="y", license="B")
    (shard,) = write(made).shards
    assert shard["licenses"] == ["A"]


def test_dropped_copies_are_never_in_memory(corpus: MakeCorpus) -> None:
    long = [{"role": "user", "content": "x" * 100_000}, {"role": "assistant", "content": "a"}]
    made = corpus().file("a", [*({"number": 1, "messages": long} for _ in range(400)), 2])
    usual, counted = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(counted)
    try:
        written = write(made)
    finally:
        pa.set_memory_pool(usual)
    assert (written.written, written.duplicates) == ({"one": {"code": 1, "law": 1}}, {"one": {"code": 399}})
    assert 0 < counted.max_memory() < 4 * 100_000  # of 40 MB


# --- the same bytes ---


def test_bytes_do_not_depend_on_the_order_of_rows_their_files_or_the_size_of_batches(corpus: MakeCorpus) -> None:
    numbers = [*range(200), *range(0, 200, 3)]
    first = corpus("first").file("a", numbers)
    written = write(first)
    random.Random(0).shuffle(numbers)
    second = corpus("second", parts=64, batch_rows=7).file("x", numbers[:120], parts=3).file("b", numbers[120:])
    again = write(second)
    assert shards(second) == shards(first) != {}
    assert replace(again, lineage=[]) == replace(written, lineage=[])


def test_bytes_do_not_depend_on_how_many_rows_are_dropped(corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    few = corpus("few").file("a", range(50))
    most = corpus("most").file("a", range(50)).file("b", list(range(50)) * 4)
    filtered: list[int] = []
    original = write_shards._filtered
    monkeypatch.setattr(
        write_shards, "_filtered", lambda b, keep: filtered.append(int(keep.sum())) or original(b, keep)
    )
    write(few)
    assert filtered == []
    write(most)
    assert filtered == [50]
    assert shards(most) == shards(few) != {}


def test_a_row_group_ends_at_the_same_row_whatever_the_batches(
    corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_shards, "ROW_GROUP_ROWS", 16)
    for home, batch_rows in (("a", 50), ("b", 7)):
        write(corpus(home, batch_rows=batch_rows).file("f", [{"number": 2 * n} for n in range(60)]))
    first, second = (corpus(home) for home in ("a", "b"))
    assert shards(first) == shards(second)
    path = next(first.home.rglob("data/train/*/*.parquet"))
    file = pq.ParquetFile(path)
    assert file.metadata.num_row_groups == -(-file.metadata.num_rows // 16) > 1


# --- near-duplicates ---


def test_a_near_duplicate_goes_with_all_its_copies_and_lineage_names_what_stands_for_it(corpus: MakeCorpus) -> None:
    made = corpus().file("a", [1, 2, 3, 2]).file("b", [2, 1, 4], source="two")
    near = made.near({2: 1, 4: 3, 77: 1})  # 77 is in another bucket
    written = write(made, near=near)
    name = made.identity
    assert sorted(row["id"] for row in read(made)) == sorted([name(1), name(3)])
    assert written.written == {"one": {"code": 2}}
    assert written.near_duplicates == {"one": {"law": 1}, "two": {"law": 1}}
    assert written.duplicates == {"one": {"law": 1}, "two": {"law": 1, "code": 1}}
    assert sorted(lineage(made)) == sorted(
        [
            (name(1), "a", 0, 0, "written", name(1)),
            (name(1), "b", 1, 0, "duplicate", name(1)),
            (name(2), "a", 1, 0, "near_duplicate", name(1)),
            (name(2), "a", 3, 0, "duplicate", name(1)),
            (name(2), "b", 0, 0, "duplicate", name(1)),
            (name(3), "a", 2, 0, "written", name(3)),
            (name(4), "b", 2, 0, "near_duplicate", name(3)),
        ]
    )


def test_a_bucket_may_lose_all_its_rows(corpus: MakeCorpus) -> None:
    made = corpus().file("a", [1, 2])
    written = write(made, near=made.near({1: 3, 2: 3}))
    assert (written.shards, written.written) == ([], {})
    assert {fate for *_, fate, _ in lineage(made)} == {"near_duplicate"}


def test_a_bucket_takes_the_near_duplicates_of_its_own_keys(corpus: MakeCorpus) -> None:
    near = corpus().near(dict.fromkeys(range(100), 1000))
    here = [near.of(bucket) for bucket in buckets(8)]
    assert sum(len(ids) for ids, _ in here) == 100
    for bucket, (ids, kept) in zip(buckets(8), here, strict=True):
        assert {int(second) & 0xFFFF for second in ids[:, 1]} <= set(range(*bucket.keys))
        assert len(kept) == len(ids)


def test_clusters_are_read_from_their_file(corpus: MakeCorpus, tmp_path: Path) -> None:
    made = corpus()
    table = pa.table([[made.identity(1)] * 3, [made.identity(n) for n in (5, 3, 4)], [0.9] * 3], schema=NEAR_DUPLICATE)
    pq.write_table(table, tmp_path / "c.parquet")
    near = load_near_duplicates(str(tmp_path / "c.parquet"), "digest")
    assert near.dropped.tolist() == sorted(
        [int(made.identity(n)[:16], 16), int(made.identity(n)[16:], 16)] for n in (3, 4, 5)
    )
    assert near.kept.to_pylist() == [made.identity(1)] * 3
    assert near.digest == "digest"


# --- books and lineage ---


def test_lineage_has_every_example_in_the_order_of_ids(corpus: MakeCorpus) -> None:
    made = corpus().file("a", [*range(40), 3, 4], parts=2).file("b", range(35, 50))
    written = write(made, near=made.near({7: 1}))
    (entry,) = written.lineage
    path = made.home / "out" / SideFile(**entry).path
    assert pq.read_schema(path).equals(LINEAGE)
    assert (entry["path"], entry["sha256"]) == ("lineage/part-00000-of-00001.parquet", sha256_bytes(path.read_bytes()))
    rows = lineage(made)
    assert rows == sorted(rows, key=lambda row: row[:4])
    assert Counter(fate for *_, fate, _ in rows) == {"written": 49, "near_duplicate": 1, "duplicate": 7}
    assert {(uri, row) for _, uri, row, *_ in rows} == {("a", n) for n in range(42)} | {("b", n) for n in range(15)}
    stays = {row["id"] for row in read(made)}
    assert {kept for *_, kept in rows} == stays


def test_lineage_is_made_in_pieces_and_the_pieces_change_nothing(
    corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = corpus("pieces").file("a", [*range(20_000), 3, 4])
    pieces: list[int] = []
    origin = write_shards._origin

    def counted(uri: Any, row: Any, item: Any) -> Any:
        pieces.append(len(row))
        return origin(uri, row, item)

    with monkeypatch.context() as patch:
        patch.setattr(write_shards, "_origin", counted)
        written = write(made)
    assert max(pieces) <= 16_384 < sum(pieces)
    again = corpus("whole").file("a", [*range(20_000), 3, 4])
    monkeypatch.setattr(write_shards, "_LINEAGE_ROWS", 10**9)
    assert write(again).lineage == written.lineage


# --- a killed build ---


@pytest.fixture
def written_once(corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[str]]:
    """Return a corpus whose shards are written, and the list of files that are written from now on."""
    made = corpus().file("a", range(40))
    write(made)
    opened: list[str] = []
    original = write_shards.open_new
    monkeypatch.setattr(write_shards, "open_new", lambda path: opened.append(path) or original(path))
    return made, opened


def test_a_finished_bucket_is_not_written_again(written_once: tuple[Any, list[str]]) -> None:
    made, opened = written_once
    before = files(made)
    again = write(made)
    assert (opened, files(made)) == ([], before)
    assert sum(shard["rows"] for shard in again.shards) == 40


@pytest.mark.parametrize("harm", ["gone", "cut short"])
@pytest.mark.parametrize("folder", ["data", "lineage"])
def test_a_finished_bucket_of_which_a_file_is_gone_or_cut_short_is_written_again(
    written_once: tuple[Any, list[str]], folder: str, harm: str
) -> None:
    made, opened = written_once
    before = files(made)
    path = next((made.home / "out" / folder).rglob("*.parquet"))
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(b"")
    write(made)
    assert (len(opened), files(made)) == (len(before), before)


def test_a_bucket_whose_record_a_power_cut_emptied_is_written_again(written_once: tuple[Any, list[str]]) -> None:
    made, opened = written_once
    before = files(made)
    next((made.home / "shards").iterdir()).write_bytes(b"")
    write(made)
    assert (len(opened), files(made)) == (len(before), before)


def test_a_bucket_of_another_plan_is_written_again(written_once: tuple[Any, list[str]]) -> None:
    made, opened = written_once
    write(made, settings="other")
    assert len(opened) == len(files(made))


def test_a_bucket_with_other_near_duplicates_is_written_again(written_once: tuple[Any, list[str]]) -> None:
    made, opened = written_once
    assert sum(shard["rows"] for shard in write(made, near=made.near({3: 2})).shards) == 39
    assert opened


# --- rejects ---


def test_rejects_are_in_the_order_of_their_origins_and_counted_by_reason(corpus: MakeCorpus) -> None:
    made = corpus(batch_rows=3)
    made.file("b", [0], rejects=[(1, "normalize.empty_answer")])
    made.file("a", [], rejects=[(0, "read.not_json")], source="two")
    made.file("a", [1, 2], rejects=[(row, "read.not_json") for row in (10, 9, 3, 2)], parts=2)
    result = write_rejects(0, made.plan(), str(made.home / "out"))
    file = SideFile(**result.files[0])
    path = made.home / "out" / file.path
    table = pq.read_table(path)
    assert table.schema.equals(REJECT_FILE)
    found = table.to_pylist()
    assert [(row["source"], row["origin"]["uri"], row["origin"]["row"]) for row in found] == [
        ("one", "a", 2), ("one", "a", 3), ("one", "a", 9), ("one", "a", 10), ("one", "b", 1), ("two", "a", 0),
    ]  # fmt: skip
    assert [row["payload"] for row in found] == [b"2", b"3", b"9", b"10", b"1", b"0"]
    assert result.rejected == {
        "one": {"read.not_json": 4, "normalize.empty_answer": 1},
        "two": {"read.not_json": 1},
    }
    data = path.read_bytes()
    assert file == SideFile(
        path="rejects/part-00000-of-00001.parquet", rows=6, bytes=len(data), sha256=sha256_bytes(data)
    )


def test_each_group_of_rejects_is_a_file(corpus: MakeCorpus) -> None:
    made = corpus(batch_rows=2).file("a", [], rejects=[(row, "read.not_json") for row in range(6)])
    plan = made.plan(shard_bytes=1)
    results = [write_rejects(number, plan, str(made.home / "out")) for number in range(3)]
    assert [row["origin"]["row"] for row in read(made, "rejects")] == list(range(6))
    assert {result.files[0]["path"] for result in results} == set(files(made))


# --- in a pipeline ---


def test_the_transforms_write_what_the_functions_write(corpus: MakeCorpus, tmp_path: Path) -> None:
    one, two = (corpus(home).file("a", range(60), rejects=[(70, "read.not_json")], parts=2) for home in ("one", "two"))
    plan = one.plan(shard_bytes=1000)
    near = one.near({4: 2})
    for number in range(plan.buckets):
        bucket = Bucket(number, plan.buckets)
        one.writer().write(bucket, plan, near, fragment_pieces(bucket, plan))
    write_rejects(0, plan, str(one.home / "out"))
    pairs = [[one.identity(2)], [one.identity(4)], [0.9]]
    path = str(tmp_path / "c.parquet")
    pq.write_table(pa.table(pairs, schema=NEAR_DUPLICATE), path)

    with BeamTestPipeline(runner="FnApiRunner") as root:
        planned = root | beam.Create([save_plan(two.plan(shard_bytes=1000), str(two.home))])
        clusters = root | "C" >> beam.Create([Clusters(path, 1, 1, "digest", 1)])
        written = planned | WriteShards(writer=two.writer(), clusters=clusters)
        rejected = planned | WriteRejects(directory=str(two.home / "out"))
        counted = written | beam.Map(lambda bucket: sum(shard["rows"] for shard in bucket.shards))
        assert_that(counted | beam.CombineGlobally(sum), lambda sums: np.testing.assert_equal(sums, [59]))
        assert_that(rejected, lambda found: np.testing.assert_equal(len(found), 1), label="rejects")
    assert files(two) == files(one)
