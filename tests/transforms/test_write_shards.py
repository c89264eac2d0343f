"""Shards: sorted, without exact duplicates, split by hash, the same bytes whatever the order of the pieces."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.arrow import REJECT, example_schema
from schemas.dataset import RejectFile, Shard
from transforms.exchange import Piece, write_fragment
from transforms.write_shards import in_validation, sorted_unique, write_rejects, write_shards

DOMAINS = ("law", "code")
SCHEMA = example_schema(2, tokenized=True)


def identity(number: int) -> str:
    return hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest()


def row(number: int, uri: str = "a.jsonl", at: int | None = None, **changes: Any) -> dict[str, Any]:
    tokens = [number % 7, 1, 2]
    return {
        "id": identity(number),
        "messages": [{"role": "user", "content": f"q{number}"}, {"role": "assistant", "content": "a"}],
        "source": "one",
        "license": "MIT",
        "origin": {"uri": uri, "row": number if at is None else at},
        "num_chars": 3,
        "domain": DOMAINS[number % 2],
        "domain_probs": [0.5, 0.5],
        "input_ids": tokens,
        "loss_mask": [False, True, True],
        "num_tokens": 3,
        "num_loss_tokens": 2,
        **changes,
    }


def pieces_of(rows: list[dict[str, Any]], directory: Path, batch_rows: int, schema: pa.Schema = SCHEMA) -> list[Piece]:
    pieces = []
    for start in range(0, len(rows), batch_rows):
        batch = pa.RecordBatch.from_pylist(rows[start : start + batch_rows], schema=schema)
        pieces += [
            piece for _, piece in write_fragment(batch, np.zeros(batch.num_rows, np.int32), str(directory), "rows")
        ]
    return pieces


def write(rows: list[dict[str, Any]], home: Path, batch_rows: int = 50) -> Any:
    pieces = pieces_of(rows, home / "fragments", batch_rows)
    return write_shards(3, pieces, directory=str(home), buckets=8, domains=DOMAINS, validation_fraction=0.2)


def test_shards_hold_every_row_once_sorted_by_id_in_its_split_and_domain(tmp_path: Path) -> None:
    rows = [row(number) for number in range(300)]
    result = write(rows, tmp_path)
    seen = []
    for entry in result.shards:
        shard = Shard(**entry)
        assert shard.path == f"data/{shard.split}/{shard.domain}/part-00003-of-00008.parquet"
        table = pq.read_table(tmp_path / shard.path, partitioning=None)
        assert table.schema.equals(SCHEMA)
        found = table["id"].to_pylist()
        assert found == sorted(found)
        assert set(table["domain"].to_pylist()) == {shard.domain}
        assert all((int(name, 16) < 0.2 * 2**128) == (shard.split == "validation") for name in found)
        data = (tmp_path / shard.path).read_bytes()
        assert (shard.bytes, shard.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert (shard.rows, shard.tokens, shard.loss_tokens) == (len(found), 3 * len(found), 2 * len(found))
        seen += table.to_pylist()
    assert sorted(seen, key=lambda r: r["origin"]["row"]) == rows
    assert result.duplicates == Counter()
    assert result.written == {("one", "law"): 150, ("one", "code"): 150}


def test_of_equal_rows_the_smallest_origin_stays_and_the_others_count_for_their_source(tmp_path: Path) -> None:
    rows = [
        row(1, "b.jsonl", 0, source="two", domain="law"),
        row(1, "a.jsonl", 10, domain="code"),
        row(1, "a.jsonl", 9, source="three", domain="code"),
        row(2, "z.jsonl", 0, source="two"),
    ]
    result = write(rows, tmp_path)
    assert result.duplicates == {"one": 1, "two": 1}
    assert result.written == {("three", "code"): 1, ("two", "law"): 1}


def test_the_same_file_in_two_sources_is_settled_by_the_sources_name(tmp_path: Path) -> None:
    for order in (1, -1):
        rows = [row(1, source="x", license="A"), row(1, source="y", license="B")][::order]
        assert write(rows, tmp_path).written == {("x", "code"): 1}


def test_dropped_copies_are_never_in_memory(tmp_path: Path) -> None:
    long = [{"role": "user", "content": "x" * 100_000}, {"role": "assistant", "content": "a"}]
    rows = [row(1, at=at, messages=long) for at in range(400)]
    pieces = pieces_of([*rows, row(2)], tmp_path / "fragments", batch_rows=50)
    usual, counted = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(counted)
    try:
        written = write_shards(0, pieces, directory=str(tmp_path), buckets=1, domains=DOMAINS, validation_fraction=0.0)
    finally:
        pa.set_memory_pool(usual)
    assert (sum(written.written.values()), written.duplicates) == (2, {"one": 399})
    assert 0 < counted.max_memory() < 4 * 100_000  # of 40 MB


def test_bytes_do_not_depend_on_the_order_of_rows_or_the_size_of_batches(tmp_path: Path) -> None:
    rows = [row(number) for number in range(200)] + [row(number, "b.jsonl") for number in range(0, 200, 3)]
    first = write(rows, tmp_path / "first")
    random.Random(0).shuffle(rows)
    assert write(rows, tmp_path / "second", batch_rows=7) == first


def test_licenses_are_those_of_the_shards_rows(tmp_path: Path) -> None:
    rows = [row(number, license="MIT" if number < 10 else "CC0-1.0") for number in range(20)]
    assert {tuple(shard["licenses"]) for shard in write(rows, tmp_path).shards} >= {("CC0-1.0", "MIT")}


def test_a_split_is_a_function_of_the_id_and_holds_its_share() -> None:
    ids = pa.array([identity(number) for number in range(20_000)])
    held = in_validation(ids, 0.05)
    assert 850 < held.sum() < 1150
    assert in_validation(pa.array(["0" * 32, "0ccc" + "0" * 28, "0ccd" + "0" * 28]), 0.05).tolist() == [
        True,
        True,
        False,
    ]
    assert not in_validation(pa.array(["0" * 32]), 0.0).any()
    assert (in_validation(ids, 0.05) <= in_validation(ids, 0.2)).all()  # a larger share only adds rows


def test_kept_and_dropped_rows_cover_all() -> None:
    table = pa.Table.from_pylist([row(n % 5, at=9 - n) for n in range(10)], schema=SCHEMA)
    kept, dropped = sorted_unique(table)
    assert sorted([*kept, *dropped]) == list(range(10))
    assert sorted(kept) == [5, 6, 7, 8, 9]  # the later rows have the smaller places
    none = sorted_unique(SCHEMA.empty_table())
    assert [len(part) for part in none] == [0, 0]


def test_rejects_are_sorted_by_origin_and_counted_by_reason(tmp_path: Path) -> None:
    rows = [
        {
            "source": source,
            "origin": {"uri": uri, "row": at},
            "stage": "normalize",
            "reason": reason,
            "detail": "",
            "payload": b"{}",
        }
        for source, uri, at, reason in [
            ("s", "b", 1, "empty_answer"),
            ("s", "a", 10, "not_json"),
            ("t", "a", 9, "not_json"),
        ]
    ]
    result = write_rejects(0, pieces_of(rows, tmp_path, 2, REJECT), directory=str(tmp_path), buckets=1)
    file = RejectFile(**result.files[0])
    found = pq.read_table(tmp_path / file.path).to_pylist()
    assert [(r["origin"]["uri"], r["origin"]["row"]) for r in found] == [("a", 9), ("a", 10), ("b", 1)]
    assert result.rejected == {
        ("s", "normalize.empty_answer"): 1,
        ("s", "normalize.not_json"): 1,
        ("t", "normalize.not_json"): 1,
    }
    assert file.sha256 == hashlib.sha256((tmp_path / file.path).read_bytes()).hexdigest()
