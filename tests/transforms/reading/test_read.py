"""Reading raw files: which files, which rows, and one clear message where a file cannot be read."""

from __future__ import annotations

import bz2
import csv
import errno
import gzip
import hashlib
import io
import json
import lzma
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import apache_beam as beam
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from versatune.schemas.config import Config, load_config
from versatune.schemas.errors import DataError, RunError
from versatune.transforms.formats.listing import _divided
from versatune.transforms.formats.state import status_state
from versatune.transforms.reading.read import ReadRecord, ReadRows, plan_inputs, read_rows
from versatune.transforms.transport.batch import InputSplit, RawBatch, RowFault

ROWS = [{"question": "Why?", "answer": "Because."}, {"question": "Où ça ?", "answer": "Naturally,\nit is."}]
LINES = b"".join(orjson.dumps(row) + b"\n" for row in ROWS)


def configure(folder: Path, **files: list[str]) -> Config:
    sources = [{"name": name, "files": patterns} for name, patterns in files.items()]
    (folder / "config.yaml").write_text(json.dumps({"name": "t", "sources": sources}), encoding="utf-8")
    return load_config(folder / "config.yaml")


def split_of(file: Path) -> InputSplit:
    return InputSplit(source="s", uri=file.name, location=str(file), bytes=file.stat().st_size)


def write(folder: Path, name: str, data: bytes) -> InputSplit:
    (folder / name).write_bytes(data)
    return split_of(folder / name)


def read(split: InputSplit, batch_rows: int = 4096, **options: int) -> tuple[list[RawBatch], ReadRecord]:
    batches = []
    reading = read_rows(split, batch_rows, **options)
    while True:
        try:
            batches.append(next(reading))
        except StopIteration as end:
            return batches, end.value


def payloads(split: InputSplit, **options: int) -> list[bytes | RowFault]:
    batches, record = read(split, **options)
    assert record.refused == ""
    return [payload for batch in batches for payload in batch.payloads]


def values(split: InputSplit) -> list[Any]:
    return [orjson.loads(payload) for payload in payloads(split)]


def refusal(split: InputSplit) -> str:
    return read(split)[1].refused


# --- which files ---


def test_inputs_are_ordered_by_source_and_uri_and_counted_once(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "sub/c.csv"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(b"{}\n")
    config = configure(tmp_path, z=["data/*.jsonl", "./data/a.jsonl"], a=["data/b.jsonl", "data/sub/c.csv"])
    planned = [(split.source, split.uri, split.bytes) for split in plan_inputs(config)]
    assert planned == [
        ("a", "data/b.jsonl", 3),
        ("a", "data/sub/c.csv", 3),
        ("z", "data/a.jsonl", 3),
        ("z", "data/b.jsonl", 3),
    ]


def test_a_uri_is_relative_to_the_configuration_wherever_that_lies(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "rows.jsonl").write_bytes(LINES)
    by_relative, by_absolute = (
        plan_inputs(configure(tmp_path / "here", s=[path])) for path in ("../rows.jsonl", str(tmp_path / "rows.jsonl"))
    )
    assert (
        by_relative
        == by_absolute
        == [
            InputSplit(
                source="s",
                uri="../rows.jsonl",
                location=str(tmp_path / "rows.jsonl"),
                bytes=len(LINES),
                modified=status_state((tmp_path / "rows.jsonl").stat()),
            )
        ]
    )
    assert pickle.loads(pickle.dumps(by_relative)) == by_relative


def test_a_directory_stands_for_every_data_file_below_it(tmp_path: Path) -> None:
    for name in ("d/x.json", "d/e/y.parquet", "d/README.md", "d/.hidden/z.json", "d/.z.json", "d/state.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [split.uri for split in plan_inputs(configure(tmp_path, s=["d"]))] == ["d/e/y.parquet", "d/x.json"]


def test_a_link_that_leads_nowhere_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x.jsonl").symlink_to(tmp_path / "gone.jsonl")
    (tmp_path / "d" / "README.md").symlink_to(tmp_path / "gone.md")
    with pytest.raises(DataError, match=r"x\.jsonl: the link leads nowhere"):
        plan_inputs(configure(tmp_path, s=["d"]))


def test_two_stars_cross_any_number_of_directories(tmp_path: Path) -> None:
    for name in ("d/a.tsv", "d/e/b.tsv", "d/e/f/c.tsv", "d/e/f/c.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    planned = plan_inputs(configure(tmp_path, s=["d/**/*.tsv"]))
    assert [split.uri for split in planned] == ["d/a.tsv", "d/e/b.tsv", "d/e/f/c.tsv"]


def test_a_glob_works_below_a_directory_whose_name_has_glob_characters(tmp_path: Path) -> None:
    folder = tmp_path / "run[1]"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "a.jsonl").write_bytes(LINES)
    assert [split.uri for split in plan_inputs(configure(folder, s=["data/*.jsonl"]))] == ["data/a.jsonl"]


def test_a_file_name_with_glob_characters_is_taken_literally(tmp_path: Path) -> None:
    (tmp_path / "rows [v1].jsonl").write_bytes(LINES)
    assert [split.uri for split in plan_inputs(configure(tmp_path, s=["rows [v1].jsonl"]))] == ["rows [v1].jsonl"]


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("none.jsonl", ["source 's': none.jsonl", "no such file", "check the spelling"]),
        ("data/*.csv", ["data/*.csv", "matches no file in", "data", "check the pattern"]),
        ("nowhere/*.csv", ["nowhere/*.csv", "there is no such directory"]),
        ("empty", ["empty", "holds no data file", ".jsonl", ".parquet"]),
        ("data/*", ["none of the 2 files there is data", ".jsonl", ".csv", ".parquet"]),
        ("zz://bucket/x.jsonl", ["zz://bucket/x.jsonl", "cannot be listed"]),
    ],
)
def test_what_stands_for_no_file_is_refused_by_name(tmp_path: Path, pattern: str, told: list[str]) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "data" / "README.md").write_bytes(b"")
    (tmp_path / "data" / "script.py").write_bytes(b"import this\n")
    with pytest.raises(DataError) as caught:
        plan_inputs(configure(tmp_path, s=[pattern]))
    assert [part for part in told if part not in str(caught.value)] == []


def test_a_configuration_without_sources_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lists no sources; add"):
        plan_inputs(configure(tmp_path))


# --- rows of every format ---


def arrow_stream(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def arrow_file(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=1)
    return sink.getvalue().to_pybytes()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=1)
    return sink.getvalue().to_pybytes()


def csv_of(rows: list[dict[str, Any]], delimiter: str = ",", header: bool = True) -> bytes:
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, delimiter=delimiter)
    writer.writerows(([list(rows[0])] if header else []) + [list(row.values()) for row in rows])
    return sink.getvalue().encode()


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


CSV = 'question,answer\r\nWhy?,Because.\r\n\r\nOù ça ?,"Naturally,\nit is."\r\n'.encode()
TSV = 'question\tanswer\nWhy?\tBecause.\nOù ça ?\t"Naturally,\nit is."'.encode()
BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.jsonl", LINES),
        ("x.ndjson", LINES.rstrip(b"\n")),
        ("crlf.jsonl", BOM + LINES.replace(b"\n", b"\r\n\r\n \n")),
        ("lines.json", LINES),
        ("array.json", orjson.dumps(ROWS)),
        ("array.jsonl", orjson.dumps(ROWS)),
        ("pretty.json", BOM + orjson.dumps(ROWS, option=orjson.OPT_INDENT_2)),
        ("pretty.jsonl", orjson.dumps(ROWS, option=orjson.OPT_INDENT_2)),
        ("keyed.json", orjson.dumps({"17": ROWS[0], "4": ROWS[1]})),
        ("keyed_pretty.json", orjson.dumps({"17": ROWS[0], "4": ROWS[1]}, option=orjson.OPT_INDENT_2)),
        ("same_key_twice.json", b'{"7": ' + orjson.dumps(ROWS[0]) + b', "7": ' + orjson.dumps(ROWS[1]) + b"}"),
        ("one_after_the_other.json", b"\n".join(orjson.dumps(row, option=orjson.OPT_INDENT_2) for row in ROWS)),
        ("x.csv", CSV),
        ("bom.CSV", BOM + CSV),
        ("x.tsv", TSV),
        ("x.parquet", parquet(ROWS)),
        ("stream.arrow", arrow_stream(ROWS)),
        ("file.feather", arrow_file(ROWS)),
        ("x.jsonl.gz", gzip.compress(LINES, mtime=0)),
        ("members.json.gz", gzip.compress(LINES[:10], mtime=0) + gzip.compress(LINES[10:], mtime=0)),
        ("x.csv.bz2", bz2.compress(CSV)),
        ("x.json.zst", zstd(orjson.dumps(ROWS))),
        ("x.jsonl.xz", lzma.compress(LINES)),
        ("zeros.jsonl.gz", gzip.compress(LINES, mtime=0) + bytes(600)),
        ("plain.jsonl.gz", LINES),
        ("packed.jsonl", gzip.compress(LINES, mtime=0)),
        ("columns.json", orjson.dumps({name: [row[name] for row in ROWS] for name in ROWS[0]})),
        ("pandas.json", orjson.dumps({name: {str(i): row[name] for i, row in enumerate(ROWS)} for name in ROWS[0]})),
        (
            "split.json",
            orjson.dumps({"columns": list(ROWS[0]), "index": [0, 1], "data": [list(row.values()) for row in ROWS]}),
        ),
        ("wrapped.json", orjson.dumps({"version": "v2.0", "data": ROWS})),
        ("alone.json", orjson.dumps({"my_rows": ROWS})),
        ("commas.jsonl", LINES.replace(b"}\n", b"},\n")),
        ("rows.txt", LINES),
        ("rows.data", orjson.dumps(ROWS)),
        ("rows.jsonl.txt", LINES),
        ("rows", LINES),
        ("lines.csv", LINES),
        ("wide.csv", CSV.decode().encode("utf-16")),
        ("wide.jsonl", LINES.decode().encode("utf-32")),
        ("semicolons.csv", csv_of(ROWS, ";")),
        ("pipes.csv", csv_of(ROWS, "|")),
        ("tabs.csv", TSV),
        ("packed.parquet.gz", gzip.compress(parquet(ROWS), mtime=0)),
    ],
)
def test_every_format_gives_the_same_rows_and_the_record_of_the_file(tmp_path: Path, name: str, data: bytes) -> None:
    split = write(tmp_path, name, data)
    batches, record = read(split)
    assert values(split) == ROWS
    assert [(batch.split, batch.number, batch.first) for batch in batches] == [(split, 0, 0)]
    assert record == ReadRecord(
        source="s",
        uri=name,
        key=split.key,
        part=0,
        parts=1,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        rows=2,
        batches=1,
        license="unknown",
        refused="",
    )


@pytest.mark.parametrize(
    "name",
    ["x.jsonl", "x.json", "x.csv", "x.txt", "x.parquet", "x.jsonl.gz", "array.json", "empty.parquet", "header.csv"],
)
def test_an_empty_file_has_no_rows(tmp_path: Path, name: str) -> None:
    data = {"x.jsonl.gz": gzip.compress(b"", mtime=0), "array.json": b" [\n] ", "header.csv": b"question,answer\n"}.get(
        name, b""
    )
    if name == "empty.parquet":
        pq.write_table(pa.table({"question": pa.array([], pa.string())}), tmp_path / name)
        data = (tmp_path / name).read_bytes()
    batches, record = read(write(tmp_path, name, data))
    assert (batches, record.rows, record.batches, record.bytes, record.refused) == ([], 0, 0, len(data), "")


def test_json_rows_keep_the_bytes_of_the_file(tmp_path: Path) -> None:
    rows = [b'{"b":1.0, "a" : "\\u00e9", "a":"x"}', b'{"n": NaN}']
    assert payloads(write(tmp_path, "x.jsonl", b"\n".join(rows))) == rows
    assert payloads(write(tmp_path, "x.json", b"[" + b",\n".join(rows) + b"]")) == rows
    assert payloads(write(tmp_path, "keyed.json", b'{"1": ' + rows[0] + b', "2": ' + rows[1] + b"}")) == rows


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    odd = "a\u2028b\u0085c\x0bd\x1ce\x0cf"
    assert payloads(write(tmp_path, "x.jsonl", f'{{"a": "{odd}"}}\n{{}}'.encode())) == [
        f'{{"a": "{odd}"}}'.encode(),
        b"{}",
    ]


def test_bytes_that_are_not_utf8_stay_in_their_row(tmp_path: Path) -> None:
    bad = b'{"a": "caf\xe9"}'
    assert payloads(write(tmp_path, "x.jsonl", bad + b"\n{}")) == [bad, b"{}"]
    assert payloads(write(tmp_path, "x.json", b"[" + bad + b", {}]")) == [bad, b"{}"]
    assert payloads(write(tmp_path, "x.csv", b"text\nb\xff\nb")) == [b'{"text":"b\xff"}', b'{"text":"b"}']


def test_parquet_values_that_json_lacks_come_out_as_text(tmp_path: Path) -> None:
    import datetime as dt
    import decimal

    row = {"d": decimal.Decimal("1.50"), "t": dt.date(2024, 2, 29), "b": b"caf\xc3\xa9", "l": ["x", None]}
    assert payloads(write(tmp_path, "x.parquet", parquet([row]))) == [
        '{"d":1.50,"t":"2024-02-29","b":"café","l":["x",null]}'.encode()
    ]


def test_batches_hold_at_most_batch_rows_and_row_numbers_run_on(tmp_path: Path) -> None:
    split = write(tmp_path, "x.jsonl", b"{}\n" * 10)
    batches = read(split, 4)[0]
    assert [(batch.number, batch.first, len(batch.payloads)) for batch in batches] == [(0, 0, 4), (1, 4, 4), (2, 8, 2)]
    assert len({batch.key for batch in batches}) == 3


def test_json_lines_are_streamed(tmp_path: Path) -> None:
    """A row longer than a block, between others, in a file of several blocks."""
    long = b'{"long": "' + b"x" * 3_000_000 + b'"}'
    rows = [long, b'{"broken":', long, *[b'{"n": 2}'] * 300_000]
    assert payloads(write(tmp_path, "x.jsonl.gz", gzip.compress(b"\n".join(rows), 1))) == rows


def test_a_json_lines_file_may_begin_with_a_broken_line(tmp_path: Path) -> None:
    assert payloads(write(tmp_path, "x.jsonl", b'{"a": \n{"a": 1}\n')) == [b'{"a":', b'{"a": 1}']
    assert payloads(write(tmp_path, "x.json", b'oops\n{"a": 1}\n')) == [b"oops", b'{"a": 1}']


def test_a_single_object_is_one_row(tmp_path: Path) -> None:
    row = b'{"question": {"stem": "?"}}'
    assert payloads(write(tmp_path, "x.jsonl", row)) == [row]
    assert payloads(write(tmp_path, "x.json", b'{"chat": {},\n "id": 1}')) == [b'{"chat": {},\n "id": 1}']


# --- rows that are too large ---

LARGE = {"question": "q" * 5000, "answer": "a" * 70_000}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.jsonl", lambda rows: b"\n".join(map(orjson.dumps, rows))),
        ("x.jsonl.gz", lambda rows: gzip.compress(b"\n".join(map(orjson.dumps, rows)))),
        ("array.json", orjson.dumps),
        ("pretty.json", lambda rows: orjson.dumps(rows, option=orjson.OPT_INDENT_2)),
        ("after.json", lambda rows: b"\n".join(orjson.dumps(row, option=orjson.OPT_INDENT_2) for row in rows)),
        ("keyed.json", lambda rows: orjson.dumps({str(number): row for number, row in enumerate(rows)})),
        ("wrapped.json", lambda rows: orjson.dumps({"version": 1, "data": rows})),
        ("columns.json", lambda rows: orjson.dumps({name: [row[name] for row in rows] for name in rows[0]})),
        ("x.csv", csv_of),
        ("x.parquet", parquet),
        ("x.arrow", arrow_stream),
    ],
)
def test_a_row_that_is_too_large_is_a_fault_between_its_neighbours(
    tmp_path: Path, name: str, data: Callable[[list[dict[str, str]]], bytes]
) -> None:
    rows = [ROWS[0], LARGE, ROWS[1], LARGE, ROWS[0]]
    found = payloads(write(tmp_path, name, data(rows)), max_row_bytes=10_000)
    assert [orjson.loads(row) if isinstance(row, bytes) else row.reason for row in found] == [
        ROWS[0],
        "too_large",
        ROWS[1],
        "too_large",
        ROWS[0],
    ]
    faults = [row for row in found if isinstance(row, RowFault)]
    assert {len(fault.head) for fault in faults} == {4096}
    assert {fault.detail.endswith("at most 10,000 are read (build.max_row_bytes)") for fault in faults} == {True}


@pytest.mark.parametrize("where", ["line", "string", "nested", "csv", "text", "keyed"])
def test_a_bomb_of_one_row_stays_small_in_memory(tmp_path: Path, where: str) -> None:
    """150 MB that come out of a small file; at 8 MiB a row no more than a few rows are alive."""
    begin, end, name = {
        "line": (b'{"a": "', b'"}\n{}\n', "x.jsonl.gz"),
        "string": (b'[{}, {"a": "', b'"}, {}]', "x.json.gz"),
        "nested": (b'[{}, [["', b'"]], {}]', "x.json.gz"),
        "keyed": (b'{"1": {"a": 1}, "2": {"a": "', b'"}, "3": {}}', "x.json.gz"),
        "csv": (b'a,b\n1,"', b'"\n1,2\n', "x.csv.gz"),
        "text": (b"once", b"end", "x.txt.gz"),
    }[where]
    fill = {"nested": b'"],["' + b"x" * 1020, "csv": b"x" * 1023 + b"\n"}.get(where, b"x" * 1024) * 1024
    with gzip.open(tmp_path / name, "wb", 1) as file:
        file.write(begin)
        for _ in range(150 * 2**20 // len(fill)):
            file.write(fill)
        file.write(end)
    tracemalloc.start()
    faults, refused = _faults(split_of(tmp_path / name))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A quote that is never closed makes rows of the lines behind it, of which a batch is alive.
    assert faults == ({"bad_quotes", "wrong_cell_count"} if where == "csv" else {"too_large"})
    assert not refused
    assert peak < (200 if where == "csv" else 60) * 2**20


def _faults(split: InputSplit) -> tuple[set[str], str]:
    """Read a file without keeping its rows; return the reasons of its faults, and why it was refused."""
    reasons: set[str] = set()
    batches = read_rows(split)
    while True:
        try:
            batch = next(batches)
        except StopIteration as done:
            return reasons, done.value.refused
        reasons |= {row.reason for row in batch.payloads if isinstance(row, RowFault)}


# --- parts of large files ---


def parts_of(folder: Path, name: str, data: bytes, part_bytes: int) -> list[InputSplit]:
    return _divided(write(folder, name, data), part_bytes)


@given(
    rows=st.lists(st.binary(max_size=30).map(lambda row: row.replace(b"\n", b"")), min_size=1, max_size=12),
    ends=st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
    final=st.booleans(),
    mark=st.booleans(),
    part_bytes=st.integers(1, 200),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_parts_of_any_size_give_the_rows_of_the_whole(
    tmp_path: Path, rows: list[bytes], ends: bytes, final: bool, mark: bool, part_bytes: int
) -> None:
    data = (BOM if mark else b"") + ends.join([b'{"a": 1}', *rows]) + (ends if final else b"")
    whole = payloads(write(tmp_path, "x.jsonl", data))
    parts = parts_of(tmp_path, "x.jsonl", data, part_bytes)
    assert [part.parts for part in parts] == [len(parts)] * len(parts)
    assert [row for part in parts for row in payloads(part)] == whole
    assert whole == [row for line in data.removeprefix(BOM).split(b"\n") if (row := line.strip(b" \t\r\n"))]


def test_parts_share_a_record_that_only_the_first_signs(tmp_path: Path) -> None:
    data = LINES * 50
    parts = parts_of(tmp_path, "x.jsonl", data, 1000)
    records = [read(part)[1] for part in parts]
    assert len(parts) == -(-len(data) // 1000) > 1
    assert [record.sha256 for record in records] == [hashlib.sha256(data).hexdigest()] + [""] * (len(parts) - 1)
    assert {record.bytes for record in records} == {len(data)}
    assert sum(record.rows for record in records) == 100
    assert len({part.key for part in parts}) == len(parts)


@pytest.mark.parametrize("part_bytes", [1, 300, 1500, 10**9])
def test_parquet_is_divided_between_row_groups(tmp_path: Path, part_bytes: int) -> None:
    rows = [{"n": number, "text": "x" * 50} for number in range(40)]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=4)
    parts = parts_of(tmp_path, "x.parquet", sink.getvalue().to_pybytes(), part_bytes)
    assert [orjson.loads(row) for part in parts for row in payloads(part)] == rows
    assert (len(parts) == 10) == (part_bytes == 1)
    assert (len(parts) == 1) == (part_bytes == 10**9)
    assert [bool(read(part)[1].sha256) for part in parts] == [True] + [False] * (len(parts) - 1)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("array.json", orjson.dumps(ROWS * 100)),
        ("x.jsonl.gz", gzip.compress(LINES * 100, 0, mtime=0)),
        ("x.csv", b"a,b\n" * 1000),
        ("wide.jsonl", (LINES * 100).decode().encode("utf-16")),
        ("damaged.parquet", b"PAR1" * 1000),
        ("x.bin", bytes(10_000)),
    ],
)
def test_what_cannot_be_divided_is_one_part(tmp_path: Path, name: str, data: bytes) -> None:
    assert [part.parts for part in parts_of(tmp_path, name, data, 100)] == [1]


def test_batches_depend_on_the_rows_alone(tmp_path: Path) -> None:
    rows = [b'{"n": "' + b"x" * (number % 7 * 400_000) + b'"}' for number in range(300)]
    plain = [batch.payloads for batch in read(write(tmp_path, "x.jsonl", b"\n".join(rows)), 50)[0]]
    squeezed = [
        batch.payloads for batch in read(write(tmp_path, "x.jsonl.gz", gzip.compress(b"\n".join(rows), 1)), 50)[0]
    ]
    assert plain == squeezed
    assert max(sum(map(len, batch)) for batch in plain) < 32 * 2**20 + 3_000_000
    assert {len(batch) for batch in plain} != {50}


# --- archives ---


def zipped(members: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return sink.getvalue()


def test_members_of_an_archive_are_inputs(tmp_path: Path) -> None:
    members = {
        "d/b.jsonl": LINES,
        "d/a.csv": CSV,
        "c.json.gz": gzip.compress(LINES, mtime=0),
        "p.parquet": parquet(ROWS),
        "README.md": b"# hello",
        "script.py": b"import this",
        "__MACOSX/d/b.jsonl": b"x",
        "d/.hidden.jsonl": b"x",
        "part-00000": LINES,
    }
    (tmp_path / "x.zip").write_bytes(zipped(members))
    splits = plan_inputs(configure(tmp_path, s=["x.zip"]))
    assert [split.uri for split in splits] == [
        "x.zip!/c.json.gz",
        "x.zip!/d/a.csv",
        "x.zip!/d/b.jsonl",
        "x.zip!/p.parquet",
        "x.zip!/part-00000",
    ]
    for split in splits:
        assert values(split) == ROWS
        record = read(split)[1]
        data = members[split.member]
        assert (record.bytes, record.sha256) == (len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (zipped({"inner.zip": zipped({"a.jsonl": LINES})}), "lies in an archive itself"),
        (zipped({"notes.rst": b"hello"}), "holds no data file"),
        (zipped({"a.jsonl": LINES})[:-30], "unpack it"),
        (zipped({"a.jsonl": LINES * 9}).replace(b"\x50\x4b\x03\x04", b"PK\x03\x05", 1), "BadZipFile"),
    ],
)
def test_an_archive_that_cannot_be_read_is_refused(tmp_path: Path, data: bytes, told: str) -> None:
    (tmp_path / "x.zip").write_bytes(data)
    (split,) = plan_inputs(configure(tmp_path, s=["x.zip"]))
    assert told in refusal(split)


# --- the hub ---


@pytest.mark.parametrize("name", ["default", None])
def test_a_folder_laid_out_like_a_hub_dataset_is_streamed(tmp_path: Path, name: str | None) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.jsonl").write_bytes(LINES)
    (tmp_path / "mine" / "test.jsonl").write_bytes(LINES * 2)
    (tmp_path / "mine" / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    hub = {"id": "mine", "split": "test", "config": name}
    (tmp_path / "config.yaml").write_text(json.dumps({"name": "t", "sources": [{"name": "s", "hub": hub}]}))
    (split,) = plan_inputs(load_config(tmp_path / "config.yaml"))
    assert (split.uri, split.license) == ("hf://datasets/mine@main/default/test", "mit")
    assert values(split) == ROWS * 2
    record = read(split)[1]
    rows = b"".join(row + b"\n" for row in payloads(split))
    assert (record.rows, record.bytes, record.sha256) == (4, len(rows), hashlib.sha256(rows).hexdigest())


def test_a_hub_dataset_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.jsonl").write_bytes(LINES)
    uri = f"hf://datasets/{tmp_path}/mine@main/default/nothing"
    split = InputSplit(source="s", uri="hf://datasets/mine@main/default/nothing", location=uri, bytes=0)
    message = refusal(split)
    assert "hf://datasets/mine@main/default/nothing" in message and "nothing" in message and "HF_TOKEN" in message
    assert "\n" not in message


# --- whole files that cannot be read ---


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.ETIMEDOUT, errno.ECONNRESET])
def test_a_file_is_not_refused_for_what_its_machine_lacks(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(location: str) -> Any:
        raise OSError(number, "out of it")

    split = write(tmp_path, "a.jsonl", LINES)
    with monkeypatch.context() as patch, pytest.raises(RunError, match=r"a\.jsonl: cannot be read now .*out of it"):
        patch.setattr("versatune.transforms.reading.read.open_stored", fail)
        read(split)
    assert len(read(split)[0][0].payloads) == 2


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("cut.jsonl.gz", gzip.compress(LINES * 50, mtime=0)[:-20], ["gzip-compressed data", "cut short", "Fetch"]),
        ("damaged.jsonl.gz", gzip.compress(LINES, mtime=0)[:-8] + b"\0" * 8, ["gzip-compressed data", "data check"]),
        ("tail.jsonl.gz", gzip.compress(LINES, mtime=0) + b"tail", ["gzip-compressed data", "damaged"]),
        ("cut.csv.zst", zstd(CSV)[:-5], ["Zstandard-compressed data", "Truncated"]),
        ("cut.csv.bz2", bz2.compress(CSV)[:-5], ["bzip2-compressed data", "cut short"]),
        ("cut.csv.xz", lzma.compress(CSV)[:-5], ["xz-compressed data", "cut short"]),
        ("twice.gz", gzip.compress(gzip.compress(LINES, mtime=0), mtime=0), ["compressed once more"]),
        ("page.jsonl", b"<!DOCTYPE html>\n<p>404</p>\n", ["not JSON", "Expected an object a line"]),
        ("page.dat", b"<!DOCTYPE html>\n<p>404</p>\n", ["not JSON", "known are .jsonl"]),
        ("cut.json", orjson.dumps(ROWS, option=orjson.OPT_INDENT_2)[:-30], ["at line 8", "cut short"]),
        ("more.json", b'[{"a": 1}] {"b": 2}', ["found '{' at line 1", "its first value, a list, ends here"]),
        ("comma.json", b'[{"a": 1}\n{"b": 2}]', ["found '{' at line 2", "']' was expected"]),
        ("deep.json", b"[" * 100_000, ["cut short"]),
        ("utf16.json", '[{"a": 1}]'.encode("utf-16")[:-1], ["UTF-16", "damaged or cut short"]),
        ("zeros.jsonl", bytes(5000), ["binary data"]),
        ("book.xlsx", zipped({"xl/workbook.xml": b"<x/>"}), ["an Excel workbook", "save it as CSV"]),
        ("x.tar", b"a.jsonl".ljust(257, b"\0") + b"ustar\0" + bytes(300), ["a tar archive", "unpack it"]),
        ("rows.pkl", b"\x80\x04\x95" + bytes(50), ["a pickle", "can run code"]),
        ("pointer.csv", b"version https://git-lfs.github.com/spec/v1\n", ["Git LFS pointer", "git lfs pull"]),
        ("old.csv", b"Frage,Antwort f\xff\n", ["header row that is not UTF-8", "iconv"]),
        ("cut.parquet", parquet(ROWS)[:-3], ["cannot be read", "fetch it again"]),
        ("cut.arrow", arrow_stream(ROWS)[:-40], ["cannot be read", "fetch it again"]),
        ("page.arrow", b"<!DOCTYPE html>" * 9, ["not JSON"]),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_what_was_found(
    tmp_path: Path, name: str, data: bytes, told: list[str]
) -> None:
    message = refusal(write(tmp_path, name, data))
    assert message.startswith(f"source 's': {name}: ")
    assert [part for part in told if part not in message] == []
    assert "\n" not in message


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    message = refusal(InputSplit(source="s", uri="gone.jsonl", location=str(tmp_path / "gone.jsonl"), bytes=1))
    assert "source 's': gone.jsonl: cannot be read" in message


def test_rows_before_the_damage_are_given_and_counted(tmp_path: Path) -> None:
    batches, record = read(write(tmp_path, "x.json", b'[{"a": 1}, {"a": 2}, {"a"' + b" " * 3_000_000), batch_rows=1)
    assert record.refused and record.rows == len(batches) == record.batches <= 2


def test_a_saved_dataset_is_its_rows_and_not_its_caches(tmp_path: Path) -> None:
    import datasets

    datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}).save_to_disk(str(tmp_path / "d"))
    (tmp_path / "d" / "train" / "cache-12.arrow").write_bytes(arrow_stream(ROWS))
    splits = plan_inputs(configure(tmp_path, s=["d"]))
    assert [split.uri for split in splits] == ["d/train/data-00000-of-00001.arrow"]
    assert values(splits[0]) == ROWS
    state = json.loads((tmp_path / "d" / "train" / "state.json").read_text())
    state["_indices_data_files"] = [{"filename": "indices.arrow"}]
    (tmp_path / "d" / "train" / "state.json").write_text(json.dumps(state))
    assert "flatten_indices" in refusal(splits[0])


# --- in a pipeline ---


def test_read_rows_in_a_pipeline_gives_rows_and_records(tmp_path: Path) -> None:
    good = write(tmp_path, "a.jsonl", LINES)
    cut = write(tmp_path, "b.jsonl.gz", gzip.compress(LINES * 50, mtime=0)[:-20])
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        outputs = pipeline | beam.Create([good, cut]) | beam.Reshuffle() | ReadRows(batch_rows=1)
        rows = outputs.rows | "Travel" >> beam.Reshuffle() | beam.Filter(lambda batch: batch.split == good)
        assert_that(rows, equal_to(read(good, 1)[0]), label="Rows")
        records = [asdict(read(split, 1)[1]) for split in (good, cut)]
        assert_that(outputs.records, equal_to(records), label="Records")
    assert [bool(record["refused"]) for record in records] == [False, True]


def test_a_note_about_bytes_that_are_not_utf8_can_be_written_down(tmp_path: Path) -> None:
    """Whether the first row names the columns is doubtful, and its cells are of no known encoding."""
    split = write(tmp_path, "x.csv", b"one\x81,two\nred,blue\ngreen,pink\n")
    _, record = read(split)
    assert record.note
    assert orjson.dumps(record.note)
