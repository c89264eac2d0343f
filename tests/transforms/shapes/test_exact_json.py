"""Numbers keep the digits that were written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from versatune.transforms.chat.number_marks import NumberMarks
from versatune.transforms.shapes.exact_json import Number, dumps, loads

LITERALS = st.from_regex(r"-?(0|[1-9][0-9]{0,24})([.][0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)


@given(numbers=st.lists(LITERALS, max_size=5), text=st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_read_is_written(numbers: list[str], text: str) -> None:
    written = f'{{"text":{json.dumps(text, ensure_ascii=False)},"numbers":[{",".join(numbers)}]}}'
    value = loads(written)
    assert value["text"] == text
    assert [str(number) for number in value["numbers"]] == numbers
    assert dumps(value["numbers"]).decode() == f"[{','.join(numbers)}]"
    assert loads(written.encode()) == value


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", "[1e400,NaN]", '"\\ud800"', '[1e400,"\\ud800"]', "[01]", "{", "1 2"]
)
def test_what_is_not_json_stays_refused(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        loads(text)


def test_ordinary_numbers_are_ordinary() -> None:
    value = loads('{"a": [1, 1.5, 0.7, 18446744073709551615], "b": "1.10", "c": -3}')
    assert [type(number) for number in [*value["a"], value["c"]]] == [int, float, float, int, int]


def test_long_numbers_are_equal_only_to_themselves() -> None:
    assert loads("1.10") == 1.1
    assert loads("12345678901234567890123") != loads("12345678901234567890124")


def test_marks_are_put_back() -> None:
    marks = NumberMarks()
    value = {"a": Number("1.10"), "b": [Number("1e400"), 2.5, "x"], "c": Number("12345678901234567890123")}
    marked = marks.put_into(value)
    assert not any(type(number) is Number for number in [marked["a"], marked["b"][0], marked["c"]])
    expected = '{"a": 1.10, "b": [1e400, 2.5, "x"], "c": 12345678901234567890123} 1.10'
    assert marks.undone(f"{json.dumps(marked)} {marked['a']}") == expected
    plain = {"a": 1.5}
    assert marks.put_into(plain) is plain
