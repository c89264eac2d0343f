"""Quotes as their writers mean them."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from versatune.transforms.formats.dialect import Dialect, find_dialect, records
from versatune.transforms.transport.batch import RowFault

SPARK = 'question,answer\n"What does ""hi"" mean?","A word"\n"Print \\"hi\\"","puts(\\"hi\\");"\n'


def read(text: str, quoting: str = "auto", named: str = ",") -> tuple[str, list[Any]]:
    dialect = find_dialect(text, named, None, quoting, whole=True)
    found = records(text.splitlines(keepends=True), 1 << 20, dialect)
    return dialect.quoting, [row.reason if isinstance(row, RowFault) else row for row in found][1:]


@pytest.mark.parametrize(
    ("row", "cells"),
    [
        (r'"a digit","\\d+"', ["a digit", r"\d+"]),
        (r'"half","\frac{1}{2}"', ["half", r"\frac{1}{2}"]),
        (r'"a \"quote\"","b"', ['a "quote"', "b"]),
        (r"plain,C:\dir", ["plain", r"C:\dir"]),
        (r"x,\N", ["x", ""]),
        ('"two\\\nlines",b', ["two\nlines", "b"]),
    ],
)
def test_a_file_that_escapes_quotes_by_backslashes(row: str, cells: list[str]) -> None:
    quoting, rows = read(f"{SPARK}{row}\n")
    assert (quoting, rows[2]) == ("backslash", cells)
    assert rows[0] == ['What does "hi" mean?', "A word"]


@pytest.mark.parametrize(
    ("row", "cells"),
    [
        (r'"Where?","C:\dir\"', ["Where?", "C:\\dir\\"]),
        (r'"regex","\\d+"', ["regex", r"\\d+"]),
        (r'"json","{""a"": ""say \""hi\"" ""}"', ["json", r'{"a": "say \"hi\" "}']),
        ('"two\nlines","a, b"', ["two\nlines", "a, b"]),
    ],
)
def test_a_file_that_doubles_quotes(row: str, cells: list[str]) -> None:
    assert read(f'question,answer\n{row}\n"x","y"\n') == ("double", [cells, ["x", "y"]])


def test_a_file_whose_quotes_are_text() -> None:
    text = 'question\tanswer\n"Hamlet" is by whom?\tShakespeare\n"Yes."\t"A" and "B"\n'
    assert read(text) == ("none", [['"Hamlet" is by whom?', "Shakespeare"], ['"Yes."', '"A" and "B"']])


def test_quoted_cells_stay_quoted_for_one_stray_quote() -> None:
    text = "question\tanswer\n" + '"a\tb"\t"c"\n' * 20 + '"Stray\tx\n' + "d\te\n" * 5
    quoting, rows = read(text, named="\t")
    assert quoting == "double"
    assert rows == [["a\tb", "c"]] * 20 + ["bad_quotes"] + [["d", "e"]] * 5


def test_what_the_source_says_counts() -> None:
    assert read('a,b\n"x",y\n', "none")[1] == [['"x"', "y"]]
    assert read(SPARK, "double")[1][1] == "bad_quotes"


def test_a_carriage_return_inside_a_row_is_not_called_a_quote() -> None:
    (fault,) = [row for row in records(["a\rb,c\n"], 100, Dialect(",", "double")) if isinstance(row, RowFault)]
    assert "carriage return" in fault.detail


CELL = st.text(st.sampled_from('ab ,\t"\\\n'), max_size=8)


@settings(deadline=None, max_examples=150)
@given(rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=5), quoting=st.sampled_from(["double", "backslash"]))
def test_what_is_written_is_read(rows: list[tuple[str, str]], quoting: str) -> None:
    sink = io.StringIO(newline="")
    escape: dict[str, Any] = {"doublequote": False, "escapechar": "\\"} if quoting == "backslash" else {}
    csv.writer(sink, quoting=csv.QUOTE_ALL, lineterminator="\n", **escape).writerows(rows)
    found = list(records(sink.getvalue().splitlines(keepends=True), 1 << 20, Dialect(",", quoting)))
    assert found == [list(row) for row in rows]
