"""Words and n-grams: what counts as a word, and hashes that depend on the words alone."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from versatune.schemas.arrow import MESSAGES
from versatune.transforms.overlap import shingles
from versatune.transforms.overlap.shingles import (
    BLOCK_BYTES,
    Words,
    running_sums,
    shingles_of,
    span_hashes,
    words_of_conversations,
    words_of_texts,
)


def hashes(text: str) -> list[int]:
    return words_of_texts(pa.array([text], pa.string())).hashes.tolist()


def of_texts(*texts: str) -> Words:
    return words_of_texts(pa.array(texts, pa.string()))


def rows_of(result: tuple[np.ndarray, np.ndarray]) -> list[list[int]]:
    values, offsets = result
    return [part.tolist() for part in np.split(values, offsets[1:-1])]


def test_hashes_are_the_same_in_every_version() -> None:
    """Two builds, on two machines, years apart, have to agree; if this fails, every signature changes."""
    words = of_texts("The quick brown fox. 你好", "é")
    assert [f"{value:016x}" for value in words.hashes.tolist()] == GOLDEN
    assert [f"{value:016x}" for value in shingles_of(words, 2).hashes.tolist()] == GOLDEN_PAIRS


GOLDEN = [
    "ffd7dd4c1384c670",
    "10075263c17cc2da",
    "dddceb3f79e9842c",
    "4bc401d4c4c988a0",
    "8dd6d201bc74a6ea",
    "959128194188ae23",
    "d1d9544addf596c7",
]
GOLDEN_PAIRS = [
    "064d8cd6c5c7ea96",
    "926faee05eb7ef15",
    "53840536d662b69b",
    "cd9258dc620cb42f",
    "47b968a1b1c14e05",
    "149f683462b7d950",
]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Hello, WORLD!", "hello world"),
        ("don't stop", "don t stop"),
        ("a\tb\n\nc", "a b c"),
        ("ÉCOLE Ωμέγα Привет", "école ωμέγα привет"),
        ("Ｔｅｘｔ１２", "text12"),
        ("“quoted” — text…", "quoted text"),
        ("🙂 fine 🙂", "fine"),
        ("你好，世界。", "你 好 世 界"),
        ("ひらカナ", "ひ ら カ ナ"),
        ("ｶﾅ", "カ ナ"),
        ("iPhone手机", "iphone 手 机"),
        ("สวัสดี", " ".join("สวัสดี")),
        ("𠀀𠀁x", "𠀀 𠀁 x"),
    ],
)
def test_these_are_the_same_words(text: str, same: str) -> None:
    assert hashes(text) == hashes(same)
    assert len(hashes(text)) == len(same.split())


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("ab", "ba"),
        ("ab c", "a bc"),
        ("a", "aa"),
        ("word", "wörd"),
        ("안녕", "안 녕"),
        ("你好", "好你"),
        ("𠀀", "𠀁"),
        ("0", "00"),
    ],
)
def test_these_are_other_words(text: str, other: str) -> None:
    assert hashes(text) != hashes(other)


@pytest.mark.parametrize("text", ["", " ", "?!…", "🙂", "\n\t", "。，"])
def test_there_may_be_no_words(text: str) -> None:
    assert rows_of(of_texts("a", text, "b")) == [hashes("a"), [], hashes("b")]


def test_a_text_has_its_words_whatever_stands_beside_it() -> None:
    texts = ["", "one two", "", "drei", "ab" * BLOCK_BYTES, "你" * BLOCK_BYTES, "x y " * BLOCK_BYTES, "end", ""]
    assert rows_of(of_texts(*texts)) == [hashes(text) for text in texts]
    assert rows_of(words_of_texts(pa.array(["cut off", *texts])[1:])) == [hashes(text) for text in texts]
    assert len(hashes("你" * BLOCK_BYTES)) == BLOCK_BYTES


def test_texts_do_not_run_into_each_other() -> None:
    assert rows_of(of_texts("ab", "cd")) == [hashes("ab"), hashes("cd")]


def test_a_block_ends_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(f"wörd{number}" for number in range(500))
    whole = hashes(text)
    monkeypatch.setattr(shingles, "BLOCK_BYTES", 64)
    assert hashes(text) == whole


def reference_words(text: str) -> list[str]:
    """Return the words as a plain loop finds them (for the alphabets of the test below)."""
    letters = "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in text)
    return re.sub("([\u3040-\u30ff\u4e00-\u9fff])", r" \1 ", letters.lower()).split()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("abAB01 .,-'\néÉжЖ你好のβ", max_size=40), max_size=8))
def test_words_are_those_of_a_plain_loop(texts: list[str]) -> None:
    names: dict[int, str] = {}
    for found, text in zip(rows_of(of_texts(*texts)), texts, strict=False):
        expected = reference_words(text)
        assert len(found) == len(expected)
        for value, word in zip(found, expected, strict=True):
            assert names.setdefault(value, word) == word


def test_an_n_gram_is_the_same_anywhere() -> None:
    words = of_texts("a b c d e", "x y a b c z", "c b a")
    triples = rows_of(shingles_of(words, 3))
    assert [len(row) for row in triples] == [3, 4, 1]
    assert triples[0][0] == triples[1][2]
    assert triples[2][0] not in triples[0] + triples[1]


def test_a_row_of_few_words_is_one_shingle() -> None:
    words = of_texts("a b", "", "a b c d", "a", "a b")
    rows = rows_of(shingles_of(words, 3))
    assert [len(row) for row in rows] == [1, 0, 2, 1, 1]
    assert rows[0] == rows[4] != rows[3]


def test_repeated_words_are_counted_by_place() -> None:
    assert len(set(rows_of(shingles_of(of_texts("a a a a", "a a", "a a a"), 4))[0])) == 1
    assert len({row[0] for row in rows_of(shingles_of(of_texts("a", "a a", "a a a"), 4))}) == 3


def test_no_shingles_of_no_rows() -> None:
    assert rows_of(shingles_of(of_texts(), 5)) == [[]]
    assert shingles_of(of_texts("", ""), 5).offsets.tolist() == [0, 0, 0]


def test_a_run_of_words_is_named_by_its_ends() -> None:
    words = of_texts("p q r s", "q r")
    first, second = span_hashes(running_sums(words), np.array([1, 4]), np.array([3, 6])).tolist()
    assert first == second


def messages(*rows: list[tuple[str, str]]) -> pa.Array:
    return pa.array([[{"role": role, "content": text} for role, text in row] for row in rows], MESSAGES)


def test_a_conversation_is_its_turns_joined() -> None:
    rows = messages([("user", "One two"), ("assistant", "three")], [], [("user", "four"), ("assistant", "five")])
    assert rows_of(words_of_conversations(rows)) == [hashes("one two three"), [], hashes("four five")]
    assert rows_of(words_of_conversations(rows[1:])) == [[], hashes("four five")]


def test_turns_of_one_role_can_be_left_out() -> None:
    rows = messages([("system", "be nice"), ("user", "hi")], [("user", "a"), ("system", "b"), ("user", "c")], [])
    assert rows_of(words_of_conversations(rows, without="system")) == [hashes("hi"), hashes("a c"), []]
    assert rows_of(words_of_conversations(rows[1:], without="system")) == [hashes("a c"), []]
