"""A JSON object whose keys are splits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from versatune.transforms.formats import json_document
from versatune.transforms.formats.fault import FormatError

ROW, OTHER = {"question": "q", "answer": "a"}, {"question": "z", "answer": "b"}


def read(value: Any, split: str | None = None, max_row_bytes: int = 2**20) -> tuple[list[Any], list[str]]:
    notes: list[str] = []
    found = json_document.rows(iter([json.dumps(value).encode()]), max_row_bytes, split, notes.append)
    return [json.loads(row) for row in found], notes  # type: ignore[arg-type]


@pytest.mark.parametrize("max_row_bytes", [2**20, 100])  # a large object is read as it comes
@pytest.mark.parametrize("first", [["train", "test"], ["test", "train"]])
def test_the_training_split_is_read(first: list[str], max_row_bytes: int) -> None:
    rows = {"train": [ROW] * 9, "test": [OTHER] * 9}
    found, notes = read({name: rows[name] for name in first} | {"version": 1}, None, max_row_bytes)
    assert found == [ROW] * 9
    assert len(notes) == 1
    assert "read the split train; left out test" in notes[0]


def test_pairs_by_split() -> None:
    assert read({"train": [["a", "b"]], "test": [["c", "d"]]})[0] == [["a", "b"]]


@pytest.mark.parametrize(("split", "expected"), [("eval", [OTHER]), ("all", [ROW, OTHER]), ("train", [ROW])])
def test_a_split_that_is_asked_for(split: str, expected: list[Any]) -> None:
    assert read({"training": [ROW], "test": [OTHER]}, split)[0] == expected


@pytest.mark.parametrize(
    ("value", "split", "message"),
    [
        ({"train": [ROW], "test": [OTHER]}, "validation", "found the splits train, test and not 'validation'"),
        ({"data": [ROW]}, "test", "found no object of splits"),
        ([ROW], "test", "found no object of splits"),
    ],
)
def test_a_split_that_is_not_there(value: Any, split: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read(value, split)


@pytest.mark.parametrize("by", [lambda row: {"1": row}, lambda row: {name: [text] for name, text in row.items()}])
def test_a_split_may_be_rows_by_id_or_columns(by: Any) -> None:
    value = {"train": by(ROW), "test": by(OTHER)}
    assert read(value)[0] == [ROW]
    assert read(value, "test")[0] == [OTHER]
    assert read(value, "all")[0] == [ROW, OTHER]


def test_one_list_is_no_choice() -> None:
    assert read({"test": [ROW]}) == ([ROW], [])
