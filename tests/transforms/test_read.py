"""Reading raw files: which files, which rows, and one clear message where a file cannot be read."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.util import assert_that, equal_to

from schemas.arrow import RAW_ROW
from schemas.config import Config, load_config
from schemas.dataset import InputFile
from schemas.errors import DataError
from transforms.read import InputSplit, ReadRows, plan_inputs, read_rows

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


def read(split: InputSplit, batch_rows: int = 4096) -> tuple[list[pa.RecordBatch], InputFile]:
    batches = []
    reading = read_rows(split, batch_rows)
    while True:
        try:
            batches.append(next(reading))
        except StopIteration as end:
            return batches, end.value


def payloads(split: InputSplit) -> list[bytes]:
    return [payload for batch in read(split)[0] for payload in batch.column("payload").to_pylist()]


def values(split: InputSplit) -> list[Any]:
    return [orjson.loads(payload) for payload in payloads(split)]


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
        == [InputSplit(source="s", uri="../rows.jsonl", location=str(tmp_path / "rows.jsonl"), bytes=len(LINES))]
    )
    assert pickle.loads(pickle.dumps(by_relative)) == by_relative


def test_a_directory_stands_for_every_data_file_below_it(tmp_path: Path) -> None:
    for name in ("d/x.json", "d/e/y.parquet", "d/README.md", "d/.hidden/z.json", "d/.z.json", "d/state.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [split.uri for split in plan_inputs(configure(tmp_path, s=["d"]))] == ["d/e/y.parquet", "d/x.json"]


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
        ("data/notes.txt", ["notes.txt is of unknown format", ".jsonl", ".csv", ".parquet"]),
        ("data/*", ["notes.txt is of unknown format"]),
        ("rows.parquet.gz", ["rows.parquet.gz is of unknown format"]),
        ("zz://bucket/x.jsonl", ["zz://bucket/x.jsonl", "cannot be listed"]),
    ],
)
def test_what_stands_for_no_file_is_refused_by_name(tmp_path: Path, pattern: str, told: list[str]) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "data" / "notes.txt").write_bytes(b"")
    (tmp_path / "rows.parquet.gz").write_bytes(b"")
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
        ("x.jsonl.gz", gzip.compress(LINES)),
        ("members.json.gz", gzip.compress(LINES[:10]) + gzip.compress(LINES[10:])),
        ("x.csv.bz2", bz2.compress(CSV)),
        ("x.json.zst", zstd(orjson.dumps(ROWS))),
    ],
)
def test_every_format_gives_the_same_rows_and_the_record_of_the_file(tmp_path: Path, name: str, data: bytes) -> None:
    split = write(tmp_path, name, data)
    batches, record = read(split)
    assert [batch.schema for batch in batches] == [RAW_ROW]
    assert batches[0].column("row").to_pylist() == [0, 1]
    assert set(batches[0].column("source").to_pylist()) == {"s"}
    assert set(batches[0].column("uri").to_pylist()) == {name}
    assert values(split) == ROWS
    digest = hashlib.sha256(data).hexdigest()
    assert record == InputFile(source="s", uri=name, bytes=len(data), sha256=digest, rows=2)


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv", "x.jsonl.gz", "array.json", "empty.parquet"])
def test_an_empty_file_has_no_rows(tmp_path: Path, name: str) -> None:
    data = {"x.jsonl.gz": gzip.compress(b""), "array.json": b" [\n] ", "empty.parquet": parquet(ROWS)}.get(name, b"")
    if name == "empty.parquet":
        pq.write_table(pa.table({"question": pa.array([], pa.string())}), tmp_path / name)
        data = (tmp_path / name).read_bytes()
    batches, record = read(write(tmp_path, name, data))
    assert (batches, record.rows, record.bytes) == ([], 0, len(data))


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
    assert payloads(write(tmp_path, "x.csv", b"a\ncaf\xe9\nb")) == [bad, b'{"a":"b"}']


def test_a_csv_row_with_other_cells_than_the_header_is_still_a_row(tmp_path: Path) -> None:
    assert values(write(tmp_path, "x.csv", b"a,b\n1,2\n3\n4,5,6\n")) == [
        {"a": "1", "b": "2"},
        {"__cells__": ["3"], "__header__": ["a", "b"]},
        {"__cells__": ["4", "5", "6"], "__header__": ["a", "b"]},
    ]


def test_parquet_values_that_json_lacks_come_out_as_text(tmp_path: Path) -> None:
    import datetime as dt
    import decimal

    row = {"d": decimal.Decimal("1.50"), "t": dt.date(2024, 2, 29), "b": b"caf\xc3\xa9", "l": ["x", None]}
    assert values(write(tmp_path, "x.parquet", parquet([row]))) == [
        {"d": "1.50", "t": "2024-02-29", "b": "café", "l": ["x", None]}
    ]


def test_batches_hold_at_most_batch_rows_and_row_numbers_run_on(tmp_path: Path) -> None:
    split = write(tmp_path, "x.jsonl", b"{}\n" * 10)
    assert [batch.column("row").to_pylist() for batch in read(split, 4)[0]] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_json_lines_are_streamed(tmp_path: Path) -> None:
    """A row longer than a block, between others, in a file of several blocks."""
    long = b'{"long": "' + b"x" * 3_000_000 + b'"}'
    rows = [long, b'{"broken": ', long, *[b'{"n": 2}'] * 300_000]
    assert payloads(write(tmp_path, "x.jsonl.gz", gzip.compress(b"\n".join(rows), 1))) == rows


def test_a_json_lines_file_may_begin_with_a_broken_line(tmp_path: Path) -> None:
    assert payloads(write(tmp_path, "x.jsonl", b'{"a": \n{"a": 1}\n')) == [b'{"a": ', b'{"a": 1}']
    assert payloads(write(tmp_path, "x.json", b'oops\n{"a": 1}\n')) == [b"oops", b'{"a": 1}']


def test_a_single_object_is_one_row(tmp_path: Path) -> None:
    row = b'{"question": {"stem": "?"}}'
    assert payloads(write(tmp_path, "x.jsonl", row)) == [row]
    assert payloads(write(tmp_path, "x.json", b'{"chat": {},\n "id": 1}')) == [b'{"chat": {},\n "id": 1}']


# --- whole files that cannot be read ---


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("cut.jsonl.gz", gzip.compress(LINES * 50)[:-20], ["gzip-compressed JSONL", "Truncated", "fetch it again"]),
        ("damaged.jsonl.gz", gzip.compress(LINES)[:-8] + b"\0" * 8, ["gzip-compressed JSONL", "data check"]),
        ("plain.jsonl.gz", LINES, ["gzip-compressed JSONL", "header check", "not what its name says"]),
        ("cut.csv.zst", zstd(CSV)[:-5], ["zstd-compressed CSV", "Truncated"]),
        ("page.jsonl", b"<!DOCTYPE html>\n<p>404</p>\n", ["found neither", "Expected JSON: one object per line"]),
        ("cut.json", orjson.dumps(ROWS, option=orjson.OPT_INDENT_2)[:-30], ["at line", "column", "cut short"]),
        ("more.json", b'[{"a": 1}] {"b": 2}', ["extra data", "line 1"]),
        ("deep.json", b"[" * 100_000, ["nested too deep"]),
        ("utf16.json", '[{"a": 1}]'.encode("utf-16"), ["UTF-16", "iconv"]),
        ("zipped.jsonl", gzip.compress(LINES), ["gzip data", ".gz"]),
        ("pointer.csv", b"version https://git-lfs.github.com/spec/v1\n", ["Git LFS pointer", "git lfs pull"]),
        ("twice.csv", b"a,b,a\n1,2,3\n", ["two columns named 'a'"]),
        ("old.csv", "Frage,Antwort für\n".encode("latin-1"), ["header row that is not UTF-8", "iconv"]),
        ("open.csv", b'a,b\n"x,y\n' + b"z" * (17 * 2**20), ["field larger", "quotes that are closed"]),
        ("cut.parquet", parquet(ROWS)[:-3], ["cannot be read as PARQUET"]),
        ("page.arrow", b"<!DOCTYPE html>" * 9, ["cannot be read as ARROW"]),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_what_was_found(
    tmp_path: Path, name: str, data: bytes, told: list[str]
) -> None:
    with pytest.raises(DataError) as caught:
        read(write(tmp_path, name, data))
    message = str(caught.value)
    assert message.startswith(f"source 's': {name}: ")
    assert [part for part in told if part not in message] == []
    assert "\n" not in message


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"source 's': gone.jsonl: cannot be read"):
        read(InputSplit(source="s", uri="gone.jsonl", location=str(tmp_path / "gone.jsonl"), bytes=1))


def test_rows_before_the_damage_are_given_first(tmp_path: Path) -> None:
    reading = read_rows(write(tmp_path, "x.json", b'[{"a": 1}, {"a": 2}, {"a"'), batch_rows=1)
    assert [next(reading).num_rows, next(reading).num_rows] == [1, 1]
    with pytest.raises(DataError):
        next(reading)


# --- in a pipeline ---


def test_read_rows_in_a_pipeline_gives_rows_files_and_failures(tmp_path: Path) -> None:
    good = write(tmp_path, "a.jsonl", LINES)
    cut = write(tmp_path, "b.jsonl.gz", gzip.compress(LINES * 50)[:-20])
    plain: Callable[[pa.RecordBatch], list[Any]] = lambda batch: batch.to_pylist()  # noqa: E731
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        outputs = pipeline | beam.Create([good, cut]) | beam.Reshuffle() | ReadRows(batch_rows=1)
        assert_that(
            outputs.rows | "OfTheGood" >> beam.FlatMap(plain) | beam.Filter(lambda row: row["uri"] == "a.jsonl"),
            equal_to(
                [
                    {"source": "s", "uri": "a.jsonl", "row": number, "payload": orjson.dumps(row)}
                    for number, row in enumerate(ROWS)
                ]
            ),
            label="Rows",
        )
        record = {"source": "s", "uri": "a.jsonl", "bytes": len(LINES), "rows": 2}
        record["sha256"] = hashlib.sha256(LINES).hexdigest()
        assert_that(outputs.files, equal_to([record]), label="Files")
        with pytest.raises(DataError) as caught:
            read(cut)
        assert_that(outputs.failures, equal_to([{"uri": "b.jsonl.gz", "message": str(caught.value)}]), label="Failures")
