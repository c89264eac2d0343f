"""Rows of formats that are not JSON, as JSON; bytes that are not UTF-8 survive, so that only their row is rejected."""

from __future__ import annotations

import json
from typing import Any

import orjson

UNDECODABLE = "surrogateescape"
"""Decoding and encoding with this error handler gives back the bytes that were there."""


def dump_row(row: dict[str, Any]) -> bytes:
    """Serialise a row as JSON; text that could not be decoded comes out as the bytes it was, NaN as null."""
    try:
        return orjson.dumps(row, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # a surrogate that stands for an undecodable byte, or an integer of more than 64 bits
        try:
            return json.dumps(row, ensure_ascii=False, default=_plain).encode("utf-8", UNDECODABLE)
        except UnicodeEncodeError:  # a lone surrogate that was written as such: JSON can say it by an escape
            return json.dumps(row, default=_plain).encode()


def _plain(value: Any) -> Any:
    """Give a JSON value for what Arrow knows and JSON does not; orjson writes dates and times itself."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)
