"""JSON whose numbers keep the digits that were written: 1.10 is not 1.1, and 12345678901234567890123 no power of ten."""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import Any, NoReturn, Self

import orjson

_INEXACT = re.compile(rb"[0-9](?:[eE][+-]?[0-9]|\.[0-9]+0(?![0-9])|\.0000|[0-9.]{15})|-0(?![.0-9])")
"""Finds every number that a float or a 64-bit integer does not give back as it was written, and a few others."""
_SMALL = b"0.0000"  # orjson writes 0.00001 where Python writes 1e-05
_IN_NO_NUMBER = bytes(set(range(256)) - set(b"0123456789.eE+-"))
_OBJECTS = {dict}
_NO_NUMBERS = {str, bool, type(None)}
_BEYOND_FLOATS = re.compile(rb"[eE]\+?[0-9]{3}|[0-9]{309}")


class Number(float):
    """A number that comes back from no float and no 64-bit integer as it was written; its text is what was written."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Self:
        """Take a JSON number."""
        self = super().__new__(cls, text)
        self.text = text
        return self

    def __repr__(self) -> str:
        return self.text

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return self.text == other.text if isinstance(other, Number) else float(self) == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = float.__hash__


def loads(data: bytes | str) -> Any:
    """Parse JSON; numbers that would change come out as :class:`Number`, all others as ``orjson`` has them.

    Raises:
        json.JSONDecodeError: not JSON (NaN and Infinity are not).
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        if not _BEYOND_FLOATS.search(raw):
            raise
        return _checked(raw, error)
    if type(value) is dict and _NO_NUMBERS.issuperset(map(type, value.values())):  # most rows
        return value
    raw = data.encode() if isinstance(data, str) else data
    return _parsed(raw) if _may_change(value, raw) else value


def dumps(value: Any, option: int | None = None) -> bytes:
    """Write JSON as ``orjson`` does, numbers as they were read.

    Raises:
        TypeError: a type that JSON has not, a lone surrogate, nested too deep.
    """
    return orjson.dumps(value, default=fragment, option=option)


def fragment(value: Any) -> Any:
    """Return what ``orjson`` writes for a :class:`Number`; a default function."""
    if isinstance(value, Number):
        return orjson.Fragment(value.text)
    raise TypeError(f"{type(value).__name__} is no type of JSON")


def number(text: str) -> float:
    """Return a number with a fraction or an exponent."""
    value = float(text)
    return value if repr(value) == text and "e" not in text else Number(text)


def integer(text: str) -> int | Number:
    """Return a number without them."""
    return int(text) if len(text) < 19 and text != "-0" else _long_integer(text)


def _long_integer(text: str) -> int | Number:
    is_short = len(text) <= 20 and text != "-0" and -(2**63) <= int(text) < 2**64
    return int(text) if is_short else Number(text)


def _may_change(value: Any, raw: bytes) -> bool:
    """Say whether a number of a parsed value may be another one than was written; quick where it holds none."""
    found = kinds(value)
    if float not in found:  # an integer of more than 64 bits has been made one
        return int in found and b"-0" in raw
    try:
        written = orjson.dumps(value)
    except TypeError:  # nested deeper than orjson writes
        return True
    if written.translate(None, _IN_NO_NUMBER) == raw.translate(None, _IN_NO_NUMBER):
        return _SMALL in raw
    return _INEXACT.search(raw) is not None  # else only the escapes of texts differ


def kinds(value: Any) -> set[type]:
    """Return the types of all values that are no lists and objects, and maybe those."""
    found: set[type] = set()
    nested: list[Any] = [[value]]
    for inner in nested:
        here = set(map(type, inner))
        if here == _OBJECTS:
            inner = list(chain.from_iterable(map(dict.values, inner)))  # noqa: PLW2901  # a list of turns in one go
            here = set(map(type, inner))
        found |= here
        if dict in here or list in here:
            nested += [list(v.values()) if type(v) is dict else v for v in inner if type(v) is dict or type(v) is list]
    return found


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw.decode(), parse_float=number, parse_int=integer, parse_constant=_no_number)
    except RecursionError:
        raise json.JSONDecodeError("nested too deep", "", 0) from None


def _checked(raw: bytes, error: orjson.JSONDecodeError) -> Any:
    """Parse what ``orjson`` refuses, if a number beyond the range of floats is all that is wrong with it."""
    try:
        value = _parsed(raw)
        dumps(value)  # lone surrogates, which the standard library lets pass
    except (ValueError, TypeError):
        raise error from None
    return value


def _no_number(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is not JSON", "", 0)
