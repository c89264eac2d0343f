"""Which rows are read for labelling, and what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from versatune.schemas.errors import DataError
from versatune.transforms.labelling.label_rows import LabelRow, read_label_rows


def _lines(file: Path, *rows: object) -> str:
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)
    return file.name


def test_text_domain_and_source_are_taken_and_a_file_s_name_is_a_source(tmp_path: Path) -> None:
    one = _lines(tmp_path / "b.jsonl.gz", {"text": "x", "domain": "law", "source": "s"}, {"text": "y", "domain": None})
    pq.write_table(pa.table({"text": ["z"], "n": [1]}), tmp_path / "a.parquet")
    found = read_label_rows([one, "a.parquet"], tmp_path)
    assert found.rows == [LabelRow("x", "s", "law"), LabelRow("y", "b", None), LabelRow("z", "a", None)]
    assert [(entry.path, entry.rows) for entry in found.inputs] == [("b.jsonl.gz", 2), ("a.parquet", 1)]
    assert all(len(entry.sha256) == 64 for entry in found.inputs)


def test_a_conversation_is_what_user_and_assistant_say(tmp_path: Path) -> None:
    said = (("system", "s"), ("user", "u"), ("reasoning", "r"), ("assistant", "a"))
    turns = [{"role": role, "content": text} for role, text in said]
    assert read_label_rows([_lines(tmp_path / "a.jsonl", {"messages": turns})], tmp_path).rows[0].text == "u\na"


def test_generations_that_the_probe_did_not_count_are_left_out(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["long", "x"], "reject": ["", "too_short"]}), tmp_path / "generations.parquet")
    found = read_label_rows(["generations.parquet"], tmp_path)
    assert ([row.text for row in found.rows], found.left_out, found.inputs[0].rows) == (["long"], 1, 2)


def test_a_key_is_the_text_s_alone() -> None:
    assert LabelRow("x", "s", None).key == LabelRow("x", "other", "law").key != LabelRow("x ", "s", None).key


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"text": "x"}, {"txt": "secret words"}], r"a.jsonl, row 2: has txt; expected 'text'"),
        ([{"text": 5}], r"a.jsonl, row 1: has text; expected"),
        ([{"messages": []}], r"row 1: has messages"),
        ([{"text": "x", "reject": "too_short"}], r"no rows to label"),
    ],
)
def test_rows_without_text_are_refused_with_their_place_and_without_their_words(
    tmp_path: Path, rows: list[object], said: str
) -> None:
    with pytest.raises(DataError, match=said) as caught:
        read_label_rows([_lines(tmp_path / "a.jsonl", *rows)], tmp_path)
    assert "secret" not in str(caught.value)


def test_a_missing_file_and_a_damaged_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^b.jsonl: no such file: .*relative to "):
        read_label_rows(["b.jsonl"], tmp_path)
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b'{"text": "x"}\n' * 1000)[:-9])
    with pytest.raises(DataError, match=r"^c.jsonl.gz: "):
        read_label_rows(["c.jsonl.gz"], tmp_path)
