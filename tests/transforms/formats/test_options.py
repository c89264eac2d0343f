"""What a source says of its files reaches the reader, or is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from versatune.schemas.config import load_config
from versatune.schemas.errors import ConfigError, DataError
from versatune.transforms.formats.option_proposal import propose_options
from versatune.transforms.reading.read import plan_inputs, read_rows
from versatune.transforms.shapes.base import RowError
from versatune.transforms.shapes.conversation import parse_row
from versatune.transforms.transport.batch import InputSplit, ReadOptions, RowFault

FRAME = zstandard.compress(b'{"a":1}\n' * 3)


def skippable(size: int, kind: int = 0) -> bytes:
    return bytes([0x50 + kind]) + b"\x2a\x4d\x18" + size.to_bytes(4, "little") + b"x" * size


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pq.write_table(pa.table({"a": ["x"]}), tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("question;answer\nx;y\n")
    (tmp_path / "a.jsonl").write_text('{"question":"a","answer":"b"}\n')
    (tmp_path / "a.txt").write_text("some text\nmore\n")
    (tmp_path / "t.txt").write_text("a\tb\nc\td\n")
    return tmp_path


def plan(folder: Path, **source: Any) -> list[InputSplit]:
    config = {"name": "t", "sources": [{"name": "s", **source}]}
    (folder / "c.yaml").write_text(json.dumps(config))
    return plan_inputs(load_config(folder / "c.yaml"))


def payloads(split: InputSplit) -> list[Any]:
    rows = [row for batch in read_rows(split) for row in batch.payloads]
    return [row.reason if isinstance(row, RowFault) else orjson.loads(row) for row in rows]


@pytest.mark.parametrize(
    ("file", "option", "value", "kind"),
    [
        ("a.parquet", "delimiter", ";", "Parquet"),
        ("a.parquet", "encoding", "cp1252", "Parquet"),
        ("a.jsonl", "pattern", "(?P<a>x)", "JSON Lines"),
        ("a.jsonl", "quoting", "none", "JSON Lines"),
        ("a.txt", "header", False, "plain text"),
        ("a.txt", "delimiter", "\t", "plain text"),
        ("a.csv", "pattern", "(?P<a>x)", "delimited text"),
    ],
)
def test_an_option_that_fits_no_file_is_refused_by_name(
    folder: Path, file: str, option: str, value: Any, kind: str
) -> None:
    with pytest.raises(DataError, match=f"source 's': '{option}' fits no file: {file} is {kind}"):
        plan(folder, files=[file], **{option: value})


def test_an_option_counts_for_the_files_that_it_fits(folder: Path) -> None:
    parquet, table = sorted(plan(folder, files=["a.csv", "a.parquet"], header=False), key=lambda split: split.bytes)[
        ::-1
    ]
    assert payloads(parquet) == [{"a": "x"}]
    assert payloads(table) == [
        {"column_0": "question", "column_1": "answer"},
        {"column_0": "x", "column_1": "y"},
    ]


def test_a_delimiter_makes_a_table_of_text_that_has_it(folder: Path) -> None:
    assert payloads(plan(folder, files=["t.txt"], delimiter="\t", header=True)[0]) == [{"a": "c", "b": "d"}]


def test_an_encoding_counts_for_json_too_and_bytes_it_has_not_stay_in_their_row(folder: Path) -> None:
    (folder / "e.jsonl").write_bytes('{"a":"Zażółć"}\n'.encode("cp1250") + b'{"a":"\x81"}\n{"a":"b"}\n')
    rows = [row for batch in read_rows(plan(folder, files=["e.jsonl"], encoding="cp1250")[0]) for row in batch.payloads]
    assert rows == ['{"a":"Zażółć"}'.encode(), b'{"a":"\x81"}', b'{"a":"b"}']


def test_options_are_part_of_a_splits_key_and_none_changes_no_key(folder: Path) -> None:
    keys = [plan(folder, files=["a.csv"], **options)[0].key for options in ({}, {"header": "auto"}, {"header": True})]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"pattern": "(x)"}, "no named group"),
        ({"pattern": "(?P<a>x"}, "no regular expression"),
        ({"encoding": "nope"}, "does not know"),
        ({"encoding": "base64"}, "does not know"),
        ({"delimiter": '"'}, "no quote, backslash or line end"),
    ],
)
def test_options_that_mean_nothing_are_refused_at_once(folder: Path, option: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        plan(folder, files=["a.csv"], **option)


def test_a_hub_dataset_and_parallel_files_take_no_options_of_tables(folder: Path) -> None:
    with pytest.raises(ConfigError, match="'header' does not go with 'hub'"):
        plan(folder, hub={"id": "a/b"}, header=True)
    with pytest.raises(ConfigError, match="'pattern' does not go with 'parallel'"):
        plan(folder, parallel={"a": "a.txt", "b": "t.txt"}, pattern="(?P<a>x)")


def test_parallel_files_are_one_input_with_a_row_a_line(folder: Path) -> None:
    (split,) = plan(folder, parallel={"english": "a.txt", "german": "t.txt"})
    assert split.uri == "a.txt+t.txt"
    assert payloads(split) == [{"english": "some text", "german": "a\tb"}, {"english": "more", "german": "c\td"}]


@pytest.mark.parametrize(
    "data", [skippable(5) + FRAME, FRAME + skippable(0, 15) + FRAME, skippable(1 << 18, 3) + FRAME + skippable(3)]
)
def test_skippable_frames_of_zstandard_are_skipped(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.jsonl.zst").write_bytes(data)
    split = InputSplit(source="s", uri="x", location=str(tmp_path / "x.jsonl.zst"), bytes=len(data))
    assert payloads(split) == [{"a": 1}] * 3 * data.count(FRAME)


@pytest.mark.parametrize(
    ("magic", "told"),
    [
        (b"\x04\x22\x4d\x18", "LZ4"),
        (b"\x02\x21\x4c\x18", "LZ4"),
        (b"\x27\xb5\x2f\xfd", "Zstandard-compressed data of a format before 0.8"),
        (b"LZIP\x01", "lzip"),
    ],
)
def test_other_compression_is_refused_by_name(tmp_path: Path, magic: bytes, told: str) -> None:
    (tmp_path / "x.jsonl").write_bytes(magic + bytes(range(256)))
    reading = read_rows(InputSplit(source="s", uri="x", location=str(tmp_path / "x.jsonl"), bytes=260))
    with pytest.raises(StopIteration) as end:
        next(reading)
    assert told in end.value.value.refused


@pytest.mark.parametrize(
    ("name", "data", "options"),
    [
        ("a.csv", b"dog,Hund\ncat,Katze\n", [{"header": True}]),
        ("a.csv", b"question,answer\ncat,Katze\n", []),
        ("a.txt", b"a\tb\nc\td\n", [{"delimiter": "\t"}]),
        ("a.txt", b"Prose, with commas.\n\nMore: yes.\n", []),
        ("a.txt", "Le café.".encode("cp1252"), [{"encoding": "cp1252"}]),
        (
            "a.txt",
            b"Q: x y?\nA: z\n\nQ: k\nA: l\n",
            [{"pattern": r"^Q:[ \t]+(?P<question>.+)\nA:[ \t]+(?P<answer>.+)"}],
        ),
    ],
)
def test_options_are_proposed_where_the_file_shows_the_need(
    tmp_path: Path, name: str, data: bytes, options: list[dict[str, Any]]
) -> None:
    (tmp_path / name).write_bytes(data)
    found = propose_options(InputSplit(source="s", uri=name, location=str(tmp_path / name), bytes=len(data)))
    assert [proposal.options for proposal in found] == options


@pytest.mark.parametrize(
    ("name", "data", "options", "reason"),
    [
        ("a.jsonl", b'{"a":"caf\xe9"}\n', {}, "not_utf8"),
        ("a.jsonl", b"{a}\n", {}, "not_json"),
        ("a.jsonl", b'{"a":1}\n"b"\n', {}, "not_an_object"),
        ("a.csv", b"text,label\na,b,c\nd,e\n", {}, "wrong_cell_count"),
        ("a.csv", b'text,label\n"a b" c,d\ne,f\n', {"quoting": "double"}, "bad_quotes"),
        ("a.csv", b"text,label\n" + b"x" * 5000 + b",d\ne,f\n", {}, "too_large"),
        ("a.txt", b"x=1\nnothing\n", {"pattern": r"^x=(?P<x>.+)"}, "no_match"),
    ],
)
def test_every_reason_of_reading_is_true(
    tmp_path: Path, name: str, data: bytes, options: dict[str, Any], reason: str
) -> None:
    (tmp_path / name).write_bytes(data)
    split = InputSplit(
        source="s", uri=name, location=str(tmp_path / name), bytes=len(data), options=ReadOptions(**options)
    )
    faults = []
    for payload in [row for batch in read_rows(split, max_row_bytes=1000) for row in batch.payloads]:
        if isinstance(payload, RowFault):
            faults.append(payload.reason)
            continue
        try:
            parse_row(payload)
        except RowError as error:
            faults.append(error.reason)
    assert faults == [reason]
