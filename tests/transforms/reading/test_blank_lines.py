"""Any number of blank lines is no row, hides none, and takes neither memory nor an evening."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest

from versatune.schemas.config import load_config
from versatune.transforms.reading.read import plan_inputs, read_rows

ROW = b'{"prompt":"a","completion":"b"}\n'
BLANK = b"\n" * (20 * 2**20)
FILES = {
    "nothing.jsonl": ([BLANK], 0),
    "nothing.txt": ([BLANK], 0),
    "nothing.csv": ([BLANK], 0),
    "before.jsonl": ([BLANK, ROW], 1),
    "before.json": ([BLANK, b"[", ROW, b"]"], 1),
    "before.csv": ([b"\r\n" * 2**20, b"prompt,completion\n", b"a,b\n" * 3], 3),
    "between.jsonl": ([ROW, BLANK, ROW], 2),
    "blanks.jsonl": ([ROW, b" \t\n" * 2**20, ROW], 2),
    "between.json": ([b"[", ROW, BLANK, b"]"], 1),
    "between.csv": ([b"prompt,completion\na,b\n", BLANK[: 4 * 2**20], b"c,d\n"], 2),
    "dos.csv": ([b"prompt,completion\r\na,b\r\n", b"\r\n" * (2 * 2**20), b"c,d\r\n"], 2),
}


@pytest.mark.parametrize("name", FILES)
def test_blank_lines_are_no_rows(name: str, tmp_path: Path) -> None:
    parts, wanted = FILES[name]
    with gzip.open(tmp_path / f"{name}.gz", "wb", 1) as stream:
        for part in parts:
            stream.write(part)
    (tmp_path / "c.json").write_text(json.dumps({"name": "t", "sources": [{"name": "s", "files": [f"{name}.gz"]}]}))
    [split] = plan_inputs(load_config(tmp_path / "c.json"))
    tracemalloc.start()
    batches = read_rows(split)
    payloads = []
    while True:
        try:
            payloads += next(batches).payloads
        except StopIteration as end:
            record = end.value
            break
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (record.refused, record.rows, len(payloads)) == ("", wanted, wanted)
    assert all(isinstance(payload, bytes) for payload in payloads)
    assert json.loads(payloads[0])["prompt"] == "a" if wanted else not payloads
    assert peak < 200 * 2**20


def test_blank_lines_inside_a_quoted_cell_are_its_text(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b'prompt,completion\n\n\na,"b' + b"\n" * 300 + b'c"\n\nd,e\n')
    (tmp_path / "c.json").write_text(json.dumps({"name": "t", "sources": [{"name": "s", "files": ["rows.csv"]}]}))
    [batch] = read_rows(plan_inputs(load_config(tmp_path / "c.json"))[0])
    first, second = (json.loads(payload) for payload in batch.payloads if isinstance(payload, bytes))
    assert first == {"prompt": "a", "completion": "b" + "\n" * 300 + "c"}
    assert second == {"prompt": "d", "completion": "e"}
