"""Rows that a pattern finds in plain text, and the text that it does not."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from versatune.schemas.errors import RunError
from versatune.transforms.formats import pattern
from versatune.transforms.transport.batch import RowFault

QUIZ = r"^#Q (?P<q>.+)\n\^ (?P<a>.+)(?:\nA (?P<A>.+))?(?:\nB (?P<B>.+))?"


def rows(data: bytes, expression: str = QUIZ, block: int = 5) -> list[Any]:
    blocks = iter([data[at : at + block] for at in range(0, len(data), block)])
    found = pattern.rows(blocks, 1 << 20, pattern=expression)
    return [(row.reason, row.head) if isinstance(row, RowFault) else orjson.loads(row) for row in found]


def test_each_match_is_a_row_of_the_groups_that_took_part() -> None:
    found = rows("#Q Où?\r\n^ là\r\nA ici\r\n\r\n#Q x\r\n^ y".encode())
    assert found == [{"q": "Où?", "a": "là", "A": "ici"}, {"q": "x", "a": "y"}]


def test_text_that_nothing_matches_is_rejected_once_a_stretch() -> None:
    found = rows(b"Intro\n\n#Q a\n^ b\nrest\nmore\n\n#Q c\n^ d\n \n")
    assert found == [("no_match", b"Intro"), {"q": "a", "a": "b"}, ("no_match", b"rest\nmore"), {"q": "c", "a": "d"}]


def test_matches_of_nothing_are_none() -> None:
    assert rows(b"a\n\nb", r"(?P<line>.*)") == [{"line": "a"}, {"line": "b"}]


@settings(deadline=None, max_examples=60)
@given(
    text=st.text(st.sampled_from("#Q^ ab\n\ré\u2028"), max_size=60), window=st.integers(8, 40), block=st.integers(1, 9)
)
def test_no_letter_is_lost_whatever_the_blocks(text: str, window: int, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pattern, "_WINDOW_CHARS", window)
        found = rows(text.encode(), r"^#(?P<q>[^\n]{1,6})", block)
        assert found == rows(text.encode(), r"^#(?P<q>[^\n]{1,6})", 1 << 10)
    kept = "".join(row["q"] if isinstance(row, dict) else row[1].decode() for row in found)
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    assert sum(map(kept.count, "ab^Qé")) == sum(map(plain.count, "ab^Qé"))


def test_a_match_longer_than_the_window_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pattern, "_WINDOW_CHARS", 10)
    assert rows(b"#" + b"x" * 30 + b"\n#y\n", r"^#(?P<q>.+)")[-1] == {"q": "y"}
    assert rows(b"#" + b"x" * 15 + b"\n#y\n", r"^#(?P<q>.+)")[0][0] == "too_large"


def test_a_pattern_that_takes_for_ever_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pattern, "_TIMEOUT_S", 0.2)
    with pytest.raises(RunError, match="the search from line 1 on took more than"):
        rows(b"a" * 60 + b"c", r"(?P<x>(a|aa)+)+b")
