"""A user's pattern means what Python's re says it means, and no text makes it slow."""

from __future__ import annotations

import random
import re
import time
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import regex

from versatune.schemas.config import CleanConfig, PiiConfig, SourceConfig
from versatune.schemas.errors import ConfigError, RunError
from versatune.transforms.cleaning import search
from versatune.transforms.cleaning.chain import make_cleaner
from versatune.transforms.cleaning.drop_patterns import pattern_filter
from versatune.transforms.cleaning.search import Search, UndecidedError
from versatune.transforms.cleaning.translation import for_re2, for_regex
from versatune.transforms.reading.normalize import normalize_batch
from versatune.transforms.shapes.base import Example
from versatune.transforms.transport.batch import InputSplit, RawBatch

PATTERNS = (
    r"foo", r"\bfoo\b", r"(?i)straße", r"^\w+$", r"(?m)^a$", r"a$", r"a$\n", r"a\Z", r"(a)\1", r"(?<=a)b", r"(?<!a)b", r"(?=a)a", r"(?!a)b",
    r"[^a-c]\d", r"[\W_]x", r"(?s)a.b", r"a.b", r"(?i)k", r"(?i)[a-k]s", r"(?a)\w+x", r"a{2,3}b", r"(?:a|b)*?c", r"a++b", r"(?>a|ab)c",
    r"(a)?(?(1)b|c)", r"(?i)(a)b\1", r"(?x) a  b # c", r"(?P<n>a)(?P=n)", r"a(?i:B)c", r"\Aab", r"\B.", r"\s\S", r"", r"a|", r"(?!)",
    r"(?i:a(?-i:b))", r"x{0}", r"[]a]", r"[a\-z]", r"\.", r"(?i)İ", r"(?i)ſ", "[\\d\u0660]", r"a{1200}", r"$", r"^", r"(?m)$a", r"(?m)b\n^a",
    r"(?i)[^s]t", r"(?i)Ⓐ", r"\D\W", r"[[:alpha:]]", r"(?:foo){e}", r"(?a)\bé", r"\w\b\w",
)  # fmt: skip
ALPHABET = "aabbccxk sS\n.-K\u212aßẞSTRAEstraeıiİſé_1٣िक\x1cⒶⓐ{e}\u0301t"
CATASTROPHES = {
    r"(a+)+$": "a" * 5000 + "!",
    r"(a|aa)+$": "a" * 5000 + "!",
    r"(\w+\s?)+$": "word " * 5000 + "!",
    r"\s+$": " " * 500_000 + "x",
    r"foo.*bar.*baz.*qux": "foo bar baz " * 20_000,
    r"(a+)+\b$": "a" * 5000 + "!",  # which RE2 cannot express, and need not
    r"(?=a)(x+x+)+y": "x" * 5000,
}


def some_texts() -> list[str]:
    rng = random.Random(1)
    drawn = ["".join(rng.choice(ALPHABET) for _ in range(rng.randrange(1, 9))) for _ in range(2000)]
    return [
        "",
        "a",
        "a\n",
        "a\n\n",
        "straße",
        "STRASSE",
        "STRAẞE",
        "foo",
        "a foo.",
        "ab",
        "Ab",
        "AB",
        "a" * 1300,
        *drawn,
    ]


@pytest.mark.filterwarnings("ignore:Possible nested set")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_both_engines_find_what_re_finds(pattern: str) -> None:
    texts = some_texts()
    wanted = [bool(re.search(pattern, text)) for text in texts]
    translated = regex.compile(for_regex(pattern))
    assert [bool(translated.search(text)) for text in texts] == wanted
    other, exact = for_re2(pattern)
    found = pc.match_substring_regex(pa.array(texts), other).to_pylist()
    assert [a and (b or exact) for a, b in zip(found, wanted, strict=True)] == wanted
    assert all(a or not b for a, b in zip(found, wanted, strict=True))


def test_re2_is_exact_but_where_it_must_leave_something_out() -> None:
    assert {pattern for pattern in (r"a.*b$", r"(?i)\w+\d{2,}", r"^a|[^\s]c") if for_re2(pattern).exact} == {
        r"a.*b$",
        r"(?i)\w+\d{2,}",
        r"^a|[^\s]c",
    }
    assert not any(for_re2(pattern).exact for pattern in (r"\ba", r"(?=a)", r"(a)\1", r"a$b", r"(?>a)", r"a{2000}"))


@pytest.mark.parametrize("pattern", CATASTROPHES)
def test_a_pattern_that_would_take_for_ever_gives_its_answer(pattern: str) -> None:
    start = time.process_time()
    assert not Search(pattern).is_in(CATASTROPHES[pattern])
    assert Search(pattern).is_in(CATASTROPHES[pattern]) is False  # the second time nothing has to be translated
    assert time.process_time() - start < 20


def test_the_time_that_is_given_changes_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "x" * 300 + "foo " * 50_000 + "bar\n" + "!" * 50_000
    answers = []
    for seconds in (10.0, 1e-9):
        monkeypatch.setattr(search, "_SOON_S", seconds)
        answers.append(
            [Search(pattern).is_in(text) for pattern in (r"foo.*bar$", r"(?m)foo.*bar$", r"bar.!", r"(?s)bar.!$")]
        )
    assert answers == [[False, True, False, False]] * 2 or answers[0] == answers[1]


UNDECIDABLE = r"(x+x+)+(?=y)y\b"


def test_a_row_that_no_engine_can_decide_is_named_with_the_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_AT_LAST_S", 0.1)
    with pytest.raises(UndecidedError):
        Search(UNDECIDABLE).is_in("x" * 4000 + "yz")
    split = InputSplit(source="s", uri="rows.jsonl", location="/rows.jsonl", bytes=1)
    rows: list[bytes] = [
        b'{"prompt": "why?", "completion": "because"}',
        b'{"prompt": "why?", "completion": "%s"}' % (b"x" * 4000 + b"yz"),
    ]
    cleaner = make_cleaner(CleanConfig(drop_patterns=["never", UNDECIDABLE]), PiiConfig())
    with pytest.raises(RunError) as error:
        normalize_batch(RawBatch(split, 0, 10, list(rows)), SourceConfig(name="s", files=["rows.jsonl"]), cleaner)
    said = str(error.value)
    assert said.startswith(f"source 's': rows.jsonl, row 11: build.clean.drop_patterns[1]: {UNDECIDABLE!r}")
    assert "4,002 characters" in said
    assert "max_chars" in said
    assert "xxxx" not in said


@pytest.mark.parametrize("pattern", ["(", "a{2", r"(?<=a+)b", r"\1", "[z-a]", "(?P<1>a)"])
def test_what_re_refuses_is_refused_before_any_work(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error:
        with pytest.raises(ConfigError, match="is no regular expression"):
            pattern_filter([pattern])
    else:
        pattern_filter([pattern])


def test_a_pattern_with_thousands_of_letters_is_fast_enough() -> None:
    step = pattern_filter([r"\b\w+@\w+\.(?i:com|org)\b", r"(?m)^\s*### Response:\s*$"])
    example = Example([("user", "Why so? " * 500), ("assistant", "Because it is. " * 500)])
    start = time.process_time()
    for _ in range(50):
        step(example, Counter())
    assert time.process_time() - start < 5
