"""Ten thousand broken records and files through the whole build: every one ends in a reject or a refusal, none is lost."""

from __future__ import annotations

import bz2
import gzip
import json
import random
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.pointer import read_pointer

ROOT = Path(__file__).resolve().parents[2]
RECORDS, FILES = 10_000, 400
MEMORY_BYTES = 1_300 * 2**20  # of one process that has Beam, Arrow and fastText in it
Row = dict[str, Any]


def good_rows(chance: random.Random) -> Iterator[Row]:
    """Give rows of many shapes, without end."""
    number = 0
    while True:
        number += 1
        said = f"Answer {number}: " + " ".join(chance.choices(["court", "fever", "bond", "cell", "list", "story"], k=9))
        yield from (
            {"instruction": f"Ask {number}.", "input": "", "output": said},
            {"messages": [{"role": "user", "content": f"Hello {number}"}, {"role": "assistant", "content": said}]},
            {"conversations": [{"from": "human", "value": f"Hi {number}"}, {"from": "gpt", "value": said}]},
            {"question": f"Which {number}?", "A": "one", "B": said, "answer": "B"},
            {"prompt": f"Say {number}", "chosen": said, "rejected": "no"},
            {"text": said},
            {
                "title": "t",
                "paragraphs": [{"context": said, "qas": [{"question": f"Why {number}?", "answers": [{"text": said}]}]}],
            },
        )


def strange(chance: random.Random) -> Any:
    """Give a value that nobody expects."""
    deep: Any = 1
    for _ in range(chance.choice([3, 600, 5000])):
        deep = [deep]
    return chance.choice([
        None, True, 0, -1, 2**70, 1e308, float("nan"), float("inf"), "", " ", "\u2028", "\x00", "a\u0085b\x1c", "\ud800",
        [], {}, [None], [[]], {"": None}, {"role": None}, [{"role": "user"}], [{"role": 1, "content": []}], deep, "x" * 100_000,
    ])  # fmt: skip


def broken_records(chance: random.Random, count: int) -> Iterator[bytes]:
    """Give lines without a line break in them, most of them wrong in one way."""
    rows = good_rows(chance)
    for _ in range(count):
        yield chance.choice(BREAKS)(chance, next(rows)).replace(b"\n", b" ").replace(b"\r", b" ")


def plain(value: Any) -> bytes:
    try:
        return json.dumps(value).encode()
    except RecursionError:
        return b"[" * 50_000


def _value(chance: random.Random, row: Row) -> bytes:
    row[chance.choice(list(row))] = strange(chance)
    return plain(row)


def _inner(chance: random.Random, row: Row) -> bytes:
    name = chance.choice(list(row))
    if isinstance(row[name], list) and isinstance(row[name][0], dict):
        row[name][0][chance.choice(list(row[name][0]))] = strange(chance)
    return plain(row)


def _cut(chance: random.Random, row: Row) -> bytes:
    data = plain(row)
    return data[: chance.randrange(1, len(data))]


def _flip(chance: random.Random, row: Row) -> bytes:
    data = bytearray(plain(row))
    for _ in range(chance.randint(1, 5)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def _twice(chance: random.Random, row: Row) -> bytes:
    name = chance.choice(list(row))
    return plain(row)[:-1] + b"," + plain({name: strange(chance)})[1:]


def _drop(chance: random.Random, row: Row) -> bytes:
    del row[chance.choice(list(row))]
    return plain(row)


def _raw(chance: random.Random, row: Row) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode(
        "utf-16" if chance.random() < 0.2 else "utf-8"
    ) + chance.randbytes(chance.randint(0, 9))


def _alone(chance: random.Random, _: Row) -> bytes:
    return plain(strange(chance))


def _good(_: random.Random, row: Row) -> bytes:
    return plain(row)


BREAKS: list[Callable[[random.Random, Row], bytes]] = [_value, _inner, _cut, _flip, _twice, _drop, _raw, _alone, _good]


def write_files(folder: Path, chance: random.Random, count: int) -> None:
    """Write files in every format, then cut them short, flip bytes in them, or give them another's name."""
    rows = good_rows(chance)
    writers = list(WRITERS.items())
    for number in range(count):
        suffix, write = chance.choice(writers)
        file = folder / f"file-{number}{suffix}"
        write(file, [next(rows) for _ in range(chance.randint(1, 20))])
        data = bytearray(file.read_bytes())
        harm = chance.randrange(4)
        if harm == 0:
            data = data[: chance.randrange(len(data))]
        elif harm == 1:
            for _ in range(chance.randint(1, 20)):
                data[chance.randrange(len(data))] = chance.randrange(256)
        elif harm == 2:
            file.unlink()
            file = folder / f"file-{number}{chance.choice(writers)[0]}"
        file.write_bytes(bytes(data))


def _lines(rows: list[Row]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _zip(file: Path, rows: list[Row]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jsonl", _lines(rows))
        archive.writestr("b/c.json", json.dumps(rows))


def _table(rows: list[Row]) -> pa.Table:
    return pa.table({"prompt": [json.dumps(row) for row in rows], "completion": ["said"] * len(rows)})


def _arrow(file: Path, rows: list[Row]) -> None:
    table = _table(rows)
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


WRITERS: dict[str, Callable[[Path, list[Row]], Any]] = {
    ".jsonl": lambda file, rows: file.write_bytes(_lines(rows)),
    ".json": lambda file, rows: file.write_text(json.dumps(rows)),
    ".jsonl.gz": lambda file, rows: file.write_bytes(gzip.compress(_lines(rows))),
    ".jsonl.bz2": lambda file, rows: file.write_bytes(bz2.compress(_lines(rows))),
    ".csv": lambda file, rows: file.write_text("question,answer\n" + "".join(f'"{row}","a"\n' for row in rows)),
    ".tsv": lambda file, rows: file.write_text("question\tanswer\n" + "q\ta\n" * len(rows)),
    ".parquet": lambda file, rows: pq.write_table(_table(rows), file),
    ".arrow": _arrow,
    ".zip": _zip,
}


def write_bombs(folder: Path) -> None:
    """Write rows of 50 MB, and small files that unpack to gigabytes."""
    large = b'{"instruction": "a", "output": "' + b"x" * 50_000_000 + b'"}'
    small = json.dumps({"instruction": "After the large one.", "output": "Still read."}).encode()
    (folder / "large.jsonl").write_bytes(small + b"\n" + large + b"\n" + small + b"\n")
    (folder / "large.json").write_bytes(b"[" + small + b"," + large + b"]")
    (folder / "large.csv").write_bytes(b"question,answer\nq," + b"x" * 50_000_000 + b"\nq,a\n")
    with (
        gzip.GzipFile(folder / "bomb.jsonl.gz", "wb", compresslevel=1) as packer,
        zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("bomb.jsonl", "w", force_zip64=True) as member,
    ):
        for block in (b'{"instruction": "a", "output": "', *[b"x" * 2**20] * 1500, b'"}\n'):
            packer.write(block)
            member.write(block)
    (folder / "deep.json").write_bytes(b'[{"a":' * 200_000)
    (folder / "deep.jsonl").write_bytes(b"[" * 1_000_000 + b"\n" + small + b"\n")
    (folder / "lonely-quote.csv").write_text('question,answer\n"q,a\n' + "q,a\n" * 50_000)


# Prints the peak memory of the build, in bytes, for its caller.
PROGRAM = """
import sys
from pathlib import Path
from versatune.pipelines.build import run
from versatune.schemas.config import load_config
from versatune.schemas.progress import Silence

run(load_config(sys.argv[1]), progress=Silence())
# Of this program alone: what getrusage tells holds the largest size of the process that started it, too.
status = Path("/proc/self/status").read_text()
print(int(status.partition("VmHWM:")[2].split()[0]) * 1024)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_thousand_broken_records_and_files_end_in_rejects(tmp_path: Path) -> None:
    chance = random.Random(20261122)
    raw = tmp_path / "raw"
    for name in ("records", "files", "bombs"):
        (raw / name).mkdir(parents=True)
    lines: dict[str, list[bytes]] = {}
    for number in range(4):
        lines[f"raw/records/{number}.jsonl"] = list(broken_records(chance, RECORDS // 4))
        data = b"\n".join(lines[f"raw/records/{number}.jsonl"]) + b"\n"
        (raw / "records" / f"{number}.jsonl").write_bytes(data)
    write_files(raw / "files", chance, FILES)
    write_bombs(raw / "bombs")
    config = {
        "name": "fuzz",
        "output": str(tmp_path / "out"),
        "sources": [{"name": name, "files": [f"raw/{name}"]} for name in ("records", "files", "bombs")],
        "build": {
            "workers": 1,
            "tokenize": False,
            "max_rejected_fraction": 1.0,
            "part_bytes": 2**20,
            "near_duplicates": {"enabled": True},
        },
    }
    (tmp_path / "fuzz.json").write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "fuzz.json")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < MEMORY_BYTES
    file = read_pointer(tmp_path / "out" / "fuzz" / "latest.json", what="dataset", command="build")
    manifest = DatasetManifest.load(file)  # which refuses books that do not balance
    assert_every_record_is_accounted_for(file.parent, manifest, lines)
    assert_bombs_are_bounded(file.parent, manifest)
    planned = {path.relative_to(tmp_path).as_posix() for path in (raw / "files").iterdir()}
    assert {entry.uri.partition("!")[0] for entry in manifest.inputs if entry.source == "files"} == planned


def assert_every_record_is_accounted_for(
    folder: Path, manifest: DatasetManifest, lines: dict[str, list[bytes]]
) -> None:
    """Find each line in the lineage or among the rejects, once for every example in it."""
    found: dict[tuple[str, int], set[int]] = {}
    tables = [
        pq.read_table(folder / entry.path, columns=["origin"]) for entry in [*manifest.lineage, *manifest.rejects]
    ]
    for origin in pa.concat_tables(tables)["origin"].to_pylist():
        items = found.setdefault((origin["uri"], origin["row"]), set())
        assert origin["item"] not in items, origin
        items.add(origin["item"])
    for uri, records in lines.items():
        expected = sum(1 for record in records if record.strip(b" \t\r\n"))
        assert {row for name, row in found if name == uri} == set(range(expected)), uri
    assert all(items == set(range(len(items))) for items in found.values())


def assert_bombs_are_bounded(folder: Path, manifest: DatasetManifest) -> None:
    """See that the large rows are rejected, their neighbours read, and the bombs refused or rejected."""
    rejects = pa.concat_tables([pq.read_table(folder / entry.path) for entry in manifest.rejects]).to_pylist()
    too_large = Counter(row["origin"]["uri"] for row in rejects if row["reason"] == "too_large")
    assert (
        too_large["raw/bombs/large.jsonl"] == too_large["raw/bombs/large.json"] == too_large["raw/bombs/large.csv"] == 1
    )
    assert max(len(row["payload"]) for row in rejects) < 9 * 2**20
    inputs = {entry.uri: entry for entry in manifest.inputs}
    assert (inputs["raw/bombs/large.jsonl"].rows, inputs["raw/bombs/large.json"].rows) == (3, 2)
    for uri in ("raw/bombs/bomb.jsonl.gz", "raw/bombs/bomb.zip!/bomb.jsonl"):
        assert "times its stored size" in inputs[uri].refused or too_large[uri] == inputs[uri].rows == 1
