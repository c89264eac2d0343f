"""Rows through files: nothing is lost, doubled or read by the wrong bucket."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as BeamTestPipeline
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given, settings
from hypothesis import strategies as st

import versatune.transforms.transport.batch_coders  # noqa: F401  # registers how batches travel
from versatune.schemas.arrow import NORMALIZED, REJECT
from versatune.transforms.transport import exchange, storage
from versatune.transforms.transport.batch import Batch, InputSplit, rejected_rows
from versatune.transforms.transport.exchange import (
    KEYS,
    Bucket,
    Fragment,
    WriteFragments,
    buckets,
    count_buckets,
    examples_path,
    pack,
    read_bucket,
    read_record,
    read_rejects,
    record_path,
    unpack,
    write_fragment,
)
from versatune.transforms.transport.ids import id_keys

SPLIT = InputSplit(source="s", uri="f.jsonl", location="/f.jsonl", bytes=1)
SCHEMA = pa.schema([*NORMALIZED, pa.field("domain", pa.string(), nullable=False)])
POWERS = st.sampled_from([1, 2, 8, 64, 4096, KEYS])


def identities(count: int) -> list[str]:
    return [hashlib.blake2b(str(i).encode(), digest_size=16).hexdigest() for i in range(count)]


def batch_of(names: list[str], *, number: int = 0, rejected: int = 0, text: str = "é") -> Batch:
    rows = [
        {
            "id": name,
            "messages": [{"role": "user", "content": name}, {"role": "assistant", "content": text}],
            "unlearned": [],
            "tags": [name[:2]],
            "num_chars": 33,
            "row": at,
            "item": 0,
            "domain": "law" if at % 3 else "code",
        }
        for at, name in enumerate(names)
    ]
    columns = [[word] * rejected for word in ("read", "not_json", "")]
    rejects = rejected_rows(
        list(range(rejected)),
        [0] * rejected,
        stages=columns[0],
        reasons=columns[1],
        details=columns[2],
        payloads=[b"{" * 10] * rejected,
    )
    examples = pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
    return Batch(f"{SPLIT.key}-{number:06d}", SPLIT, examples, rejects, Counter(expanded=2), 77)


def found(fragment: Fragment, directory: Path | str, bucket: Bucket) -> list[dict[str, Any]]:
    batches = read_bucket(str(directory), fragment.key, fragment.parts, bucket)
    return [row for batch in batches for row in batch.to_pylist()]


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@given(st.integers(0, 2**44), st.integers(1, 2**34))
def test_buckets_are_the_smallest_power_of_two_that_keeps_shards_small(total_bytes: int, bucket_bytes: int) -> None:
    count = count_buckets(total_bytes, bucket_bytes)
    assert count & (count - 1) == 0
    assert count == KEYS or count * bucket_bytes >= total_bytes
    assert count == 1 or count // 2 * bucket_bytes < total_bytes


def test_a_key_is_the_last_digits_of_the_id() -> None:
    names = identities(200)
    assert id_keys(pa.array(names)).tolist() == [int(name[-4:], 16) for name in names]
    assert id_keys(pa.array(names).slice(7, 3)).tolist() == [int(name[-4:], 16) for name in names[7:10]]
    assert id_keys(pa.array([], pa.string())).tolist() == []


@pytest.mark.parametrize("count", [1, 2, 64, KEYS])
def test_buckets_cover_every_key_once(count: int) -> None:
    edges = [bucket.keys for bucket in buckets(count)]
    assert (edges[0][0], edges[-1][1]) == (0, KEYS)
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(edges))


def test_buckets_are_even() -> None:
    counts = np.bincount(id_keys(pa.array(identities(64_000))) // 1024, minlength=64)
    assert 850 < counts.min() <= counts.max() < 1150  # 1000 each, within 5 standard deviations


@settings(max_examples=40, deadline=None)
@given(
    keys=st.lists(st.integers(0, KEYS - 1) | st.sampled_from([0, 1, KEYS // 2, KEYS - 1]), max_size=30),
    parts=st.sampled_from([1, 2, 8, 64]),
    of=POWERS,
)
def test_every_row_is_in_its_bucket_exactly_once(keys: list[int], parts: int, of: int) -> None:
    names = [f"{at:028x}{key:04x}" for at, key in enumerate(keys)]
    batch = batch_of(names)
    with TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "_parts_of", lambda rows: KEYS)  # few rows are cut into many parts, most of them empty
        fragment = write_fragment(batch, directory, parts)
        assert fragment.parts == parts
        wanted = sorted(
            {key // (KEYS // of) for key in keys} | {0, of - 1}
        )  # the others are empty: they take long to try
        rows = []
        for number in wanted:
            here = found(fragment, directory, Bucket(number, of)) if fragment.rows else []
            assert {int(row["id"][-4:], 16) // (KEYS // of) for row in here} <= {number}
            rows += here
    assert [int(row["id"][-4:], 16) for row in rows] == sorted(keys)
    assert sorted(rows, key=lambda row: row["row"]) == batch.examples.to_pylist()


@pytest.mark.parametrize(("rows", "parts"), [(1, 1), (127, 1), (128, 2), (300, 4), (4096, 64)])
def test_a_part_is_never_near_a_single_row(rows: int, parts: int, tmp_path: Path) -> None:
    fragment = write_fragment(batch_of(identities(rows)), str(tmp_path), KEYS)
    with pa.memory_map(examples_path(str(tmp_path), fragment.key)) as stream:
        assert (fragment.parts, pa.ipc.open_file(stream).num_record_batches) == (parts, parts)


@pytest.mark.parametrize("parts", [1, 64, KEYS])
def test_what_the_engine_and_the_record_hold_does_not_grow_with_the_buckets(parts: int, tmp_path: Path) -> None:
    fragment = write_fragment(batch_of(identities(4096)), str(tmp_path), parts)
    assert unpack(pack(fragment)) == fragment
    assert len(pack(fragment)) < 200
    assert Path(record_path(str(tmp_path), fragment.key)).stat().st_size < 200


def test_a_bucket_costs_one_open_of_a_fragment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fragment = write_fragment(batch_of(identities(4096)), str(tmp_path), KEYS)
    opened: list[str] = []
    whole = exchange.open_arrow
    monkeypatch.setattr(exchange, "open_arrow", lambda path: (opened.append(path), whole(path))[1])
    for of in (1, 64, 1024):
        found(fragment, tmp_path, Bucket(of - 1, of))
    assert opened == [examples_path(str(tmp_path), fragment.key)] * 3


def test_tools_and_worse_answers_count_among_the_bytes_that_decide_the_shards(tmp_path: Path) -> None:
    batch = batch_of(identities(2))
    rows = [{**row, "tools": "[" + " " * 998 + "]", "rejected": "é" * 50} for row in batch.examples.to_pylist()]
    larger = batch._replace(examples=pa.RecordBatch.from_pylist(rows, schema=batch.examples.schema))
    plain = write_fragment(batch, str(tmp_path), 2).bytes
    assert write_fragment(larger, str(tmp_path), 2).bytes == plain + 2 * (1000 + 100)


def test_the_fragment_says_what_is_in_the_files(tmp_path: Path) -> None:
    names = identities(7)
    fragment = write_fragment(batch_of(names, rejected=3), str(tmp_path), 2)
    assert (fragment.key, fragment.split, fragment.source) == (f"{SPLIT.key}-000000", SPLIT.key, "s")
    assert (fragment.rows, fragment.rejected, fragment.raw_bytes) == (7, 3, 77)
    assert fragment.domains == {"code": 3, "law": 4}
    assert fragment.counts == {"expanded": 2}
    assert fragment.bytes == 7 * (32 + 2 + 64)  # "é" has two bytes, and a row counts 64
    rejects = read_rejects(str(tmp_path), fragment.key)
    assert rejects.to_pylist() == batch_of([], rejected=3).rejects.to_pylist()
    assert rejects.schema == REJECT
    assert read_record(record_path(str(tmp_path), fragment.key)) == fragment


def test_the_bytes_of_a_fragment_are_those_of_its_rows_however_they_are_cut_into_batches(tmp_path: Path) -> None:
    names = identities(50)
    whole = write_fragment(batch_of(names), str(tmp_path), 4)
    parts = [
        write_fragment(batch_of(names[at : at + 9], number=1 + at), str(tmp_path), 8) for at in range(0, len(names), 9)
    ]
    sliced = batch_of(names)._replace(examples=batch_of(names).examples.slice(10, 5))
    assert sum(part.bytes for part in parts) == whole.bytes
    assert write_fragment(sliced, str(tmp_path), 4).bytes == 5 * whole.bytes // 50


def test_a_batch_without_examples_has_only_what_it_needs(tmp_path: Path) -> None:
    empty = write_fragment(batch_of([]), str(tmp_path), 4)
    assert set(files(tmp_path)) == {f"{empty.key}.json"}
    assert (empty.rows, empty.bytes, empty.domains) == (0, 0, {})
    rejected = write_fragment(batch_of([], rejected=2), str(tmp_path), 4)
    assert set(files(tmp_path)) == {f"{empty.key}.json", f"{empty.key}.rejects.arrow"}
    assert read_rejects(str(tmp_path), rejected.key).num_rows == 2


def test_a_retry_writes_the_same_bytes_under_the_same_names(tmp_path: Path) -> None:
    batch = batch_of(identities(100), rejected=5)
    fragment = write_fragment(batch, str(tmp_path), 8)
    first = files(tmp_path)
    assert write_fragment(batch, str(tmp_path), 8) == fragment
    assert files(tmp_path) == first
    assert set(first) == {fragment.key + end for end in (".examples.arrow", ".rejects.arrow", ".json")}


@pytest.mark.parametrize("step", ["writer", "move", "replace_bytes"])
def test_a_fragment_that_was_not_finished_has_no_record_and_no_half_file_under_its_name(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    batch = batch_of(identities(20), rejected=1)
    whole = tmp_path / "whole"
    write_fragment(batch, str(whole), 4)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if step == "writer":
            patch.setattr(pa.ipc.RecordBatchFileWriter, "write_batch", killed)
        else:
            patch.setattr(storage if step == "move" else exchange, step, killed)
        write_fragment(batch, str(tmp_path / "killed"), 4)
    left = files(tmp_path / "killed")
    assert f"{batch.key}.json" not in left
    final = {name: data for name, data in left.items() if name in files(whole)}
    assert final == {name: files(whole)[name] for name in final}
    assert write_fragment(batch, str(tmp_path / "killed"), 4).rows == 20  # what is left is in nobody's way
    assert files(whole).keys() <= files(tmp_path / "killed").keys()


def test_a_huge_row_passes(tmp_path: Path) -> None:
    fragment = write_fragment(batch_of(identities(3), text="x" * 30_000_000), str(tmp_path), 4)
    assert fragment.bytes > 90_000_000
    rows = [row for bucket in buckets(4) for row in found(fragment, tmp_path, bucket)]
    assert len(rows) == 3


def test_the_transform_writes_what_the_function_writes(tmp_path: Path) -> None:
    names = identities(40)
    batches = [batch_of(names[:25], rejected=1), batch_of(names[25:], number=1), batch_of([], number=2)]
    expected = [write_fragment(batch, str(tmp_path), 4) for batch in batches]
    with BeamTestPipeline(runner="FnApiRunner") as root:
        written = root | beam.Create(batches) | WriteFragments(directory=str(tmp_path), parts=4)
        assert written.element_type is Fragment
        assert_that(written, equal_to(expected))


def test_ids_come_together_from_all_fragments(tmp_path: Path, corpus: Callable[..., Any]) -> None:
    made = corpus(parts=8, batch_rows=10).file("a", range(30)).file("b", range(15, 45))
    for bucket in buckets(4):
        here = Counter(
            row["id"] for fragment in made.fragments for row in found(fragment, f"{made.home}/fragments", bucket)
        )
        assert here == Counter(
            name
            for numbers in (range(30), range(15, 45))
            for name in map(made.identity, numbers)
            if int(name[-4:], 16) // (KEYS // 4) == bucket.number
        )
