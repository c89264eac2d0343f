"""What an object is: a row, rows by id, a list of rows in a wrapper, a table by column; and where values end."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest

from versatune.transforms.formats import json_document
from versatune.transforms.formats.fault import FormatError
from versatune.transforms.formats.json_document import layout_of
from versatune.transforms.transport.batch import RowFault

TURNS = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
SAID = [{"from": "human", "value": "?"}, {"from": "gpt", "value": "!"}]
QA = [{"q": "?", "a": "!"}, {"q": "??", "a": "!!"}]


def rows(data: bytes, max_row_bytes: int = 1 << 20, block: int = 3) -> list[Any]:
    blocks = iter([data[at : at + block] for at in range(0, len(data), block)])
    found = json_document.rows(blocks, max_row_bytes)
    return [row if isinstance(row, RowFault) else orjson.loads(row) for row in found]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"messages": TURNS}, "row"),
        ({"conversations": SAID, "id": "7"}, "row"),
        ({"messages": TURNS, "tools": QA}, "row"),
        ({"chat": {"turn_1": {"Human": "?", "MOSS": "!"}}, "category": "code"}, "row"),
        ({"question": {"stem": "?", "choices": QA}, "answerKey": "A"}, "row"),
        ({"question": {"stem": "?"}, "answer": {"text": "!"}}, "row"),
        ({"instruction": "?", "instances": [{"input": "", "output": "!"}], "name": "x"}, "row"),
        ({"table": {"uid": "1"}, "paragraphs": QA, "questions": QA}, "row"),
        ({"question": "?", "choices": ["a", "b"], "answer": 0}, "row"),
        ({}, "row"),
        ({"21645374": QA[0], "16418930": QA[1]}, "keyed"),
        ({"first": QA[0], "second": QA[1]}, "keyed"),
        ({"data": QA, "version": "1.1"}, "wrapped"),
        ({"schema": {"fields": QA}, "data": QA}, "wrapped"),
        ({"anything": QA}, "wrapped"),
        ({"conversations": [{"id": 1, "messages": TURNS}]}, "wrapped"),
        ({"question": ["?", "??"], "answer": ["!", "!!"]}, "columns"),
        ({"question": ["?", "??"], "id": [1, 2]}, "columns"),
        ({"x": ["?", "??"], "y": ["!", "!!"], "z": ["", ""]}, "row"),
        ({"q": {"0": "?", "1": "??"}, "a": {"0": "!", "1": None}}, "indexed_columns"),
        ({"columns": ["q", "a"], "index": [0], "data": [["?", "!"]]}, "split"),
    ],
)
def test_layouts_of_an_object(value: dict[str, Any], kind: str) -> None:
    assert layout_of(value, whole=True).kind == kind


def test_two_lists_of_rows_are_refused_by_name() -> None:
    with pytest.raises(FormatError, match=r"'rows', 'items'.*a file of its own"):
        layout_of({"rows": QA, "items": QA}, whole=True)


@pytest.mark.parametrize("wrap", ["keyed", "data", "columns", "indexed"])
def test_an_object_that_is_larger_than_a_row_holds_the_same_rows(wrap: str) -> None:
    items = [{"question": f"question {n}", "answer": [n, '"}', "\\"]} for n in range(200)]
    value: Any = {
        "keyed": {f"k{n}": item for n, item in enumerate(items)},
        "data": {"version": {"of": "this"}, "data": items, "end": None},
        "columns": {name: [item[name] for item in items] for name in ("question", "answer")},
        "indexed": {name: {str(n): item[name] for n, item in enumerate(items)} for name in ("question", "answer")},
    }[wrap]
    data = orjson.dumps(value)
    assert rows(data, block=100) == rows(data, max_row_bytes=500, block=100) == items


def test_a_large_object_of_lists_under_unknown_names_is_refused_with_advice() -> None:
    data = orjson.dumps({"x": ["?"] * 200, "y": ["!"] * 200})
    with pytest.raises(FormatError, match=r"equally long lists \('x', 'y'\) .*JSON Lines"):
        rows(data, max_row_bytes=500)
    assert rows(data) == [{"x": ["?"] * 200, "y": ["!"] * 200}]


def test_a_second_list_of_rows_behind_the_first_is_not_lost_silently() -> None:
    data = orjson.dumps({"data": QA * 50, "more": QA})
    with pytest.raises(FormatError, match="'data', 'more'"):
        rows(data, max_row_bytes=100)


def test_values_end_where_their_brackets_say_however_the_file_comes() -> None:
    chance = random.Random(5)
    for _ in range(200):
        items = [
            {"".join(chance.choices('\\"{}[],: a\n', k=9)): chance.choice([1, None, "\\", '"', [["]"]], {}])}
            for _ in range(5)
        ]
        data = orjson.dumps(items, option=chance.choice([0, orjson.OPT_INDENT_2]))
        assert rows(data, block=chance.randrange(1, 40)) == items
        large = chance.randrange(5)
        items[large] = {"x": "".join(chance.choices('\\"{}[]é', k=300)), "y": [["]"], "\\"]}
        found = rows(orjson.dumps(items), max_row_bytes=150, block=chance.randrange(1, 40))
        assert found[large].reason == "too_large"
        assert found[large].detail.startswith(f"the row has {len(orjson.dumps(items[large])):,} bytes")
        assert found[:large] + found[large + 1 :] == items[:large] + items[large + 1 :]


def test_a_malformed_row_of_a_list_does_not_cost_the_others() -> None:
    found = list(json_document.rows(iter([b'[{\'a\': 1}, {"b": NaN,}, {"c": 1}, tru]']), 100))
    assert found == [b"{'a': 1}", b'{"b": NaN,}', b'{"c": 1}', b"tru"]
