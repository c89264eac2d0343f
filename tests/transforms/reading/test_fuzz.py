"""Damaged files end in a refusal or in rows, never in an exception, in bounded time; a seed names each file."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import time
import zipfile
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from versatune.transforms.formats.listing import _divided
from versatune.transforms.reading.read import read_rows
from versatune.transforms.shapes.base import READ_REASONS
from versatune.transforms.transport.batch import InputSplit, RowFault

FILES = 2400
ROWS = [
    {"id": n, "question": f"Why {n}?\u2028\x85", "answer": 'Be"cause,\n' * (n % 5), "tags": ["a", str(n)]}
    for n in range(40)
]
NAMES = "x.jsonl x.json x.csv x.tsv x.txt x.parquet x.arrow x.feather x.jsonl.gz x.csv.zst x.zip x.xlsx x.bin x".split()  # noqa: SIM905
NASTY = [
    b"\0", b"\n", b"\r", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"NaN", b"\x1f\x8b",
    b"PAR1", b"ARROW1", b"PK\x03\x04", b"1" * 5000, b"[" * 20_000, b'{"a":' * 5000, b'"' * 999, b"\\" * 999, b"\xff\xff\xff\xff",
]  # fmt: skip


def originals() -> list[bytes]:
    lines = b"\n".join(map(orjson.dumps, ROWS))
    table = pa.Table.from_pylist(ROWS)
    parquet, stream, file, archive = io.BytesIO(), io.BytesIO(), io.BytesIO(), io.BytesIO()
    pq.write_table(table, parquet, row_group_size=15)
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=10)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("a.jsonl", lines)
        zipped.writestr("b.parquet", parquet.getvalue())
    csv = b"question,answer\n" + b"".join(b'"Why, %d?","Be""cause\n"\n' % n for n in range(40))
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    return [
        lines,
        orjson.dumps(ROWS),
        orjson.dumps(ROWS, option=orjson.OPT_INDENT_2),
        orjson.dumps({str(row["id"]): row for row in ROWS}),
        orjson.dumps(columns),
        orjson.dumps({"version": 1, "data": ROWS}),
        lines.decode().encode("utf-16"),
        csv,
        parquet.getvalue(),
        stream.getvalue(),
        file.getvalue(),
        archive.getvalue(),
        gzip.compress(lines),
        bz2.compress(lines),
        lzma.compress(lines),
        zstandard.compress(lines),
        gzip.compress(gzip.compress(lines)),
        gzip.compress(parquet.getvalue()),
    ]


def damaged(data: bytes, chance: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 5, 30])):
        at = chance.randrange(len(out) + 1)
        match chance.randrange(6):
            case 0:
                del out[at:]
            case 1 if out:
                out[min(at, len(out) - 1)] ^= 1 << chance.randrange(8)
            case 2:
                out[at:at] = chance.choice(NASTY)
            case 3:
                del out[at : at + chance.randrange(1, 200)]
            case 4:
                out[at:at] = chance.randbytes(chance.randrange(1, 50))
            case _:
                out[at : at + 20] = data[:20]
    return bytes(out)


def test_damaged_files_are_refused_or_read(tmp_path: Path) -> None:
    sources = originals()
    refused = 0
    slowest = 0.0
    for seed in range(FILES):
        chance = random.Random(seed)
        path = tmp_path / chance.choice(NAMES)
        path.write_bytes(damaged(chance.choice(sources), chance))
        whole = InputSplit(source="s", uri=path.name, location=str(path), bytes=path.stat().st_size)
        began = time.process_time()
        for split in _divided(whole, chance.choice([500, 10**9])):
            refused += read_one(split, chance, seed)
        slowest = max(slowest, time.process_time() - began)
    assert FILES / 10 < refused < FILES  # both ends are met
    assert slowest < 5  # seconds of the processor


def read_one(split: InputSplit, chance: random.Random, seed: int) -> bool:
    reading = read_rows(split, chance.choice([1, 7, 4096]), chance.choice([100, 10_000, 8 << 20]))
    rows = 0
    while True:
        try:
            batch = next(reading)
        except StopIteration as end:
            record = end.value
            break
        assert batch.first == rows, seed
        assert batch.payloads, seed
        assert all(isinstance(row, bytes) or row.reason in READ_REASONS for row in batch.payloads), seed
        rows += len(batch.payloads)
    assert record.rows == rows, seed
    assert "\n" not in record.refused, seed
    assert len(record.refused) <= 600, seed
    for bug in (
        "TypeError",
        "AttributeError",
        "IndexError",
        "AssertionError",
        "NameError",
        "UnboundLocal",
        "StopIteration",
    ):
        assert bug not in record.refused, (seed, record.refused)
    return bool(record.refused)


@pytest.mark.parametrize("name", ["x.json", "x.jsonl", "x.csv", "x.txt", "x.bin"])
@pytest.mark.parametrize(
    "data", [b"[" * 10**6, b'{"a":' * 10**6, b'"' * 10**6, b'",\n' * 10**5, b"\\" * 10**6, b"\r" * 10**6, b"," * 10**6]
)
def test_one_thing_a_million_times_takes_no_time(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    split = InputSplit(source="s", uri=name, location=str(path), bytes=len(data))
    began = time.process_time()
    for batch in read_rows(split):
        assert all(isinstance(row, bytes | RowFault) for row in batch.payloads)
    # Seconds of the processor; one more power of the length would take a day.
    assert time.process_time() - began < 10
