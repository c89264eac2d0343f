"""What is written in a format comes out equal, whatever the texts hold."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from versatune.transforms.formats.listing import _divided
from versatune.transforms.reading.read import read_rows
from versatune.transforms.transport.batch import InputSplit

Rows = list[dict[str, Any]]
TEXT = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from('\u2028\x85\0\r\n\x1c\x0c"\\{}[],:;|\t')),
    max_size=12,
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "question": TEXT,
            "n": st.integers(-(2**80), 2**80),
            "deep": st.recursive(
                TEXT, lambda v: st.lists(v, max_size=2) | st.dictionaries(TEXT, v, max_size=2), max_leaves=4
            ),
        }
    ),
    min_size=1,
    max_size=6,
)
TEXT_ROWS = st.lists(st.fixed_dictionaries({"question": TEXT, "answer": TEXT}), min_size=2, max_size=6)
RELAXED = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def dump(value: Any, **options: Any) -> bytes:
    return json.dumps(value, **{"ensure_ascii": False, **options}).encode()


def lines(rows: Rows) -> bytes:
    return b"".join(dump(row) + b"\n" for row in rows)


def in_zip(name: str, data: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return sink.getvalue()


def comma_separated(rows: Rows, delimiter: str = ",", *, header: bool = True, quoting: Any = csv.QUOTE_ALL) -> bytes:
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, delimiter=delimiter, quoting=quoting, lineterminator="\n")
    writer.writerows(([list(rows[0])] if header else []) + [[row[name] for name in rows[0]] for row in rows])
    return sink.getvalue().encode()


def in_arrow(rows: Rows, new: Callable[..., Any]) -> bytes:
    sink = io.BytesIO()
    table = pa.Table.from_pylist(rows)
    with new(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue()


def in_parquet(rows: Rows) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=2)
    return sink.getvalue()


JSON_FORMATS: dict[str, Callable[[Rows], bytes]] = {
    "x.jsonl": lines,
    "escaped.jsonl": lambda rows: b"\n".join(dump(row, ensure_ascii=True) for row in rows),
    "array.json": dump,
    "pretty.json": lambda rows: dump(rows, indent=1),
    "keyed.json": lambda rows: dump({f"id{n}": row for n, row in enumerate(rows)}),
    "columns.json": lambda rows: dump({name: [row[name] for row in rows] for name in rows[0]}),
    "pandas.json": lambda rows: dump({name: {str(n): row[name] for n, row in enumerate(rows)} for name in rows[0]}),
    "wrapped.json": lambda rows: dump({"version": "2", "data": rows}),
    "wide.json": lambda rows: dump(rows).decode().encode("utf-16"),
    "x.jsonl.gz": lambda rows: gzip.compress(lines(rows)),
    "x.jsonl.zst": lambda rows: zstandard.compress(lines(rows)) + zstandard.compress(lines(rows)[:0]),
    "x.jsonl.bz2": lambda rows: bz2.compress(lines(rows)),
    "x.json.xz": lambda rows: lzma.compress(dump(rows)),
    "x.zip": lambda rows: in_zip("d/x.jsonl", lines(rows)),
    "gz.zip": lambda rows: in_zip("x.jsonl.gz", gzip.compress(lines(rows))),
}
TEXT_FORMATS: dict[str, Callable[[Rows], bytes]] = {
    "x.csv": comma_separated,
    "x.tsv": lambda rows: comma_separated(rows, "\t"),
    "semicolon.csv": lambda rows: comma_separated(rows, ";"),
    "wide.csv": lambda rows: b"".join([comma_separated(rows).decode().encode("utf-16")]),
    "x.csv.gz": lambda rows: gzip.compress(comma_separated(rows)),
    "x.parquet": in_parquet,
    "file.arrow": lambda rows: in_arrow(rows, pa.ipc.new_file),
    "stream.arrow": lambda rows: in_arrow(rows, pa.ipc.new_stream),
    "parquet.zip": lambda rows: in_zip("x.parquet", in_parquet(rows)),
}


def read(folder: Path, name: str, data: bytes, batch_rows: int, part_bytes: int = 10**9) -> Rows:
    (folder / name).write_bytes(data)
    whole = InputSplit(source="s", uri=name, location=str(folder / name), bytes=len(data))
    found = []
    for split in _divided(whole, part_bytes):
        reading = read_rows(split, batch_rows)
        while True:
            try:
                batch = next(reading)
            except StopIteration as end:
                record = end.value
                break
            assert len(batch.payloads) <= batch_rows
            found += [json.loads(payload, strict=False) for payload in batch.payloads]
        assert record.refused == ""
    return found


@pytest.mark.parametrize("name", JSON_FORMATS)
@RELAXED
@given(rows=ROWS, batch_rows=st.integers(1, 5), part_bytes=st.integers(1, 400))
@example(rows=[{"question": "\ufeff\u2028", "n": 10**30, "deep": ["\\"]}], batch_rows=1, part_bytes=1)
def test_json(tmp_path: Path, name: str, rows: Rows, batch_rows: int, part_bytes: int) -> None:
    assert read(tmp_path, name, JSON_FORMATS[name](rows), batch_rows, part_bytes) == rows


@pytest.mark.parametrize("name", TEXT_FORMATS)
@RELAXED
@given(rows=TEXT_ROWS, batch_rows=st.integers(1, 5), part_bytes=st.integers(1, 400))
def test_tables_of_texts(tmp_path: Path, name: str, rows: Rows, batch_rows: int, part_bytes: int) -> None:
    assert read(tmp_path, name, TEXT_FORMATS[name](rows), batch_rows, part_bytes) == rows
