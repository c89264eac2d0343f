"""Two files whose lines belong together."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from versatune.transforms.formats import parallel
from versatune.transforms.formats.fault import FormatError
from versatune.transforms.transport.batch import RowFault


def rows(english: bytes, german: bytes, max_row_bytes: int = 100) -> list[Any]:
    sides = [parallel.Side("en", "c.en", iter([english])), parallel.Side("de", "c.de", iter([german]))]
    found = parallel.rows(sides, max_row_bytes)
    return [row.reason if isinstance(row, RowFault) else tuple(orjson.loads(row).values()) for row in found]


def test_only_line_feeds_end_lines_and_blank_lines_shift_none() -> None:
    found = rows("a\r\nb\u2028c\x0bd\x85\n\ne".encode(), b"1\n2\n3\n4\n")
    assert found == [("a", "1"), ("b\u2028c\x0bd\x85", "2"), ("", "3"), ("e", "4")]


def test_a_line_that_is_too_long_costs_its_row() -> None:
    assert rows(b"a\n" + b"x" * 200 + b"\nc", b"1\n2\n3") == [("a", "1"), "too_large", ("c", "3")]


def test_files_of_different_lengths_are_refused_with_both_counts() -> None:
    with pytest.raises(FormatError, match=r"2 lines in c\.en and 3 lines in c\.de"):
        rows(b"a\nb\n", b"1\n2\n3\n")
