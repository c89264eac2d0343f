"""A pattern of Python's re module, written for two other engines, so that each finds in the same texts what re would find.

``regex`` can stop after a time, and takes some time where re takes for ever, and the other way about. RE2 takes a time that grows with
the text alone, and knows neither looking around nor references back. What they call a letter, a digit or a blank differs, so every piece
that stands for one character is written as the characters that re takes for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

_SURROGATES = (0xD800, 0xE000)
_LAST = 0x110000
_MOST_TIMES = 1000  # that RE2 repeats something
_CATEGORIES = {
    op.CATEGORY_DIGIT: r"\d",
    op.CATEGORY_NOT_DIGIT: r"\D",
    op.CATEGORY_SPACE: r"\s",
    op.CATEGORY_NOT_SPACE: r"\S",
    op.CATEGORY_WORD: r"\w",
    op.CATEGORY_NOT_WORD: r"\W",
}
_ONE_CHARACTER = (op.LITERAL, op.NOT_LITERAL, op.IN, op.ANY)


class Translation(NamedTuple):
    """A pattern for another engine."""

    pattern: str
    exact: bool
    """It finds something in the same texts as the original; else in these, and maybe in more."""


def for_regex(pattern: str) -> str:
    """Write a pattern for the ``regex`` module.

    Raises:
        re.error: it is no pattern.
    """
    return _Regex().whole(pattern).pattern


def for_re2(pattern: str) -> Translation:
    """Write a pattern for RE2; what it cannot express is left out, so that more is found.

    Raises:
        re.error: it is no pattern.
    """
    return _Re2().whole(pattern)


class _Regex:
    """Writes what was parsed, piece by piece; as ``regex`` has it."""

    end = r"\Z"

    def __init__(self) -> None:
        self.exact = True

    def whole(self, pattern: str) -> Translation:
        parsed = _parser.parse(pattern)
        written = self.sequence(parsed, parsed.state.flags, last=True)
        return Translation(written, self.exact)

    def sequence(self, items: Any, flags: int, *, last: bool = False) -> str:
        pieces = list(items)
        return "".join(
            self.piece(code, value, flags, last=last and at == len(pieces))
            for at, (code, value) in enumerate(pieces, 1)
        )

    def piece(self, code: Any, value: Any, flags: int, *, last: bool) -> str:
        if code in _ONE_CHARACTER:
            return self.character(code, value, flags)
        if code is op.BRANCH:
            return f"(?:{'|'.join(self.sequence(branch, flags, last=last) for branch in value[1])})"
        if code is op.SUBPATTERN:
            group, added, taken, inner = value
            return self.group(group, self.sequence(inner, (flags | added) & ~taken, last=last))
        if code in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            least, most, inner = value
            most = None if most is op.MAXREPEAT else int(most)
            return self.repeated(f"(?:{self.sequence(inner, flags)})", int(least), most, code)
        if code is op.AT:
            return self.place(value, flags, last=last)
        return self.special(code, value, flags)

    def character(self, code: Any, value: Any, flags: int) -> str:
        if code is op.LITERAL and not flags & re.IGNORECASE:
            return self.code_point(value)
        source = _source(code, value)
        return f"[{''.join(self.run(*run) for run in _runs(source, flags))}]"

    def run(self, first: int, last: int) -> str:
        return f"{self.code_point(first)}-{self.code_point(last)}"

    def code_point(self, value: int) -> str:
        return f"\\U{value:08X}"

    def group(self, number: int | None, inner: str) -> str:
        return f"(?:{inner})" if number is None else f"({inner})"

    def repeated(self, inner: str, least: int, most: int | None, code: Any) -> str:
        suffix = {op.MIN_REPEAT: "?", op.POSSESSIVE_REPEAT: "+"}.get(code, "")
        return f"{inner}{{{least},{'' if most is None else most}}}{suffix}"

    def place(self, where: Any, flags: int, *, last: bool) -> str:
        del last
        if where in (op.AT_BOUNDARY, op.AT_NON_BOUNDARY):
            word = self.character(op.IN, [(op.CATEGORY, op.CATEGORY_WORD)], flags)
            inside, outside = f"(?<={word})", f"(?<!{word})"
            follows, ends = f"(?={word})", f"(?!{word})"
            pairs = (
                (inside + ends, outside + follows) if where is op.AT_BOUNDARY else (inside + follows, outside + ends)
            )
            return f"(?:{pairs[0]}|{pairs[1]})"
        if where is op.AT_END:
            return r"(?=\n|\Z)" if flags & re.MULTILINE else r"(?=\n?\Z)"
        if where is op.AT_BEGINNING and flags & re.MULTILINE:
            return r"(?:\A|(?<=\n))"
        return r"\A" if where in (op.AT_BEGINNING, op.AT_BEGINNING_STRING) else self.end

    def special(self, code: Any, value: Any, flags: int) -> str:
        if code in (op.ASSERT, op.ASSERT_NOT):
            direction, inner = value
            sign = "=" if code is op.ASSERT else "!"
            return f"(?{'<' if direction < 0 else ''}{sign}{self.sequence(inner, flags)})"
        if code is op.GROUPREF:
            return f"(?{'i' if flags & re.IGNORECASE else ''}:\\{value})"
        if code is op.GROUPREF_EXISTS:
            group, there, absent = value
            return f"(?({group}){self.sequence(there, flags)}|{self.sequence(absent or [], flags)})"
        if code is op.ATOMIC_GROUP:
            return f"(?>{self.sequence(value, flags)})"
        return "(?!)"  # op.FAILURE, which stands for an empty negative look-ahead


class _Re2(_Regex):
    """The same as RE2 has it."""

    end = r"\z"

    def code_point(self, value: int) -> str:
        return f"\\x{{{value:X}}}"

    def group(self, number: int | None, inner: str) -> str:
        del number
        return f"(?:{inner})"

    def repeated(self, inner: str, least: int, most: int | None, code: Any) -> str:
        if code is op.POSSESSIVE_REPEAT:
            self.exact = False
        if max(least, most or 0) > _MOST_TIMES:
            self.exact, least, most = False, min(least, _MOST_TIMES), None
        return f"{inner}{{{least},{'' if most is None else most}}}"

    def place(self, where: Any, flags: int, *, last: bool) -> str:
        if where is op.AT_END:
            if flags & re.MULTILINE:
                return "(?m:$)"
            return r"(?:\n?\z)" if last else self.left_out()
        if where is op.AT_BEGINNING and flags & re.MULTILINE:
            return "(?m:^)"
        return (
            self.left_out() if where in (op.AT_BOUNDARY, op.AT_NON_BOUNDARY) else super().place(where, flags, last=last)
        )

    def special(self, code: Any, value: Any, flags: int) -> str:
        self.exact = False
        if code is op.GROUPREF:
            return "(?s:.*)"
        if code is op.GROUPREF_EXISTS:
            return f"(?:{self.sequence(value[1], flags)}|{self.sequence(value[2] or [], flags)})"
        if code is op.ATOMIC_GROUP:
            return f"(?:{self.sequence(value, flags)})"
        return ""

    def left_out(self) -> str:
        self.exact = False
        return ""


def _source(code: Any, value: Any) -> str:
    """Write again, for re, a piece that stands for one character."""
    if code is op.ANY:
        return "."
    if code is op.LITERAL:
        return re.escape(chr(value))
    if code is op.NOT_LITERAL:
        return f"[^{_in_set(value)}]"
    return f"[{''.join(_items(value))}]"


def _items(items: Iterable[tuple[Any, Any]]) -> Iterable[str]:
    for code, value in items:
        if code is op.NEGATE:
            yield "^"
        elif code is op.LITERAL:
            yield _in_set(value)
        elif code is op.RANGE:
            yield f"{_in_set(value[0])}-{_in_set(value[1])}"
        else:
            yield _CATEGORIES[value]


def _in_set(value: int) -> str:
    return f"\\U{value:08x}"


@lru_cache(maxsize=256)
def _runs(source: str, flags: int) -> list[tuple[int, int]]:
    """Return the characters that a piece of a pattern stands for, as runs of code points."""
    every = _every_character()
    known = flags & (re.IGNORECASE | re.ASCII | re.DOTALL)
    found = (match.span() for match in re.finditer(f"(?:{source})+", every, known))
    return [(_code_point(start), _code_point(end - 1)) for start, end in found]


@lru_cache(maxsize=1)
def _every_character() -> str:
    first, end = _SURROGATES
    return "".join(map(chr, (*range(first), *range(end, _LAST))))


def _code_point(position: int) -> int:
    first, end = _SURROGATES
    return position if position < first else position + end - first
