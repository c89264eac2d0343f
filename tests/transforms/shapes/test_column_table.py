"""A row may be a table by column, or hold several; it is read so only where the columns have the names of a shape."""

from __future__ import annotations

from typing import Any

import pytest

from versatune.schemas.config import FieldMap
from versatune.transforms.shapes.base import Example, RowError
from versatune.transforms.shapes.registry import read_row

A, B = [("user", "Why?"), ("assistant", "Because.")], [("user", "How?"), ("assistant", "So.")]


def read(row: dict[str, Any], fields: FieldMap | None = None) -> list[Any]:
    return [item.messages if isinstance(item, Example) else item.reason for item in read_row(row, fields)]


@pytest.mark.parametrize(
    "row",
    [
        {"question": ["Why?", "How?"], "answer": ["Because.", "So."]},
        {"Question": ["Why?", "How?"], "Answer": ["Because.", "So."], "id": [1, 2]},
        {"instruction": ["Why?", "How?"], "input": ["", None], "output": ["Because.", "So."]},
        {"prompt": ["Why?", "How?"], "completion": ["Because.", "So."]},
        {"one": {"question": ["Why?"], "answer": ["Because."]}, "two": {"prompt": ["How?"], "response": ["So."]}},
        {"tasks": {"one": {"question": ["Why?", "How?"], "answer": ["Because.", "So."]}}},
    ],
)
def test_a_table_by_column_gives_an_example_for_each_of_its_rows(row: dict[str, Any]) -> None:
    assert read(row) == [A, B]


def test_a_cell_that_cannot_be_used_does_not_cost_the_others() -> None:
    row = {"one": {"question": ["Why?", "How?"], "answer": ["Because.", None]}, "two": {"x": ["a"], "y": ["b"]}}
    assert read(row) == [A, "missing_answer", "unknown_shape"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"a": ["x", "y"], "b": ["z", "w"]}, "unknown_shape"),
        ({"question": ["Why?", "How?"], "answer": ["Because."]}, "wrong_type"),
        ({"question": ["Why?", "How?"], "answer": "Because."}, "wrong_type"),
        ({"text": ["I", "run"], "tags": ["P", "V"]}, "wrong_type"),
    ],
)
def test_lists_that_are_no_table_of_a_known_shape_are_refused(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        read_row(row)
    assert caught.value.reason == reason


def test_lists_of_one_row_stay_lists() -> None:
    assert read({"question": "Why?", "answer": ["Because.", "So."]}) == [A]
    assert read({"questions": ["Why?", "How?"], "answers": ["Because.", "So."]}) == [A + B]
    assert read({"prompt": ["Why?"], "completion": ["Because."]}) == [A]


def test_a_field_map_reads_a_table_by_column_under_any_names() -> None:
    row = {"a": ["Why?", "How?"], "b": ["Because.", "So."], "c": ["x", "y"]}
    assert read(row, FieldMap(prompt="a", completion="b")) == [A, B]
