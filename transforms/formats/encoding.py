"""Rows of formats that are not JSON, as JSON; bytes that are not UTF-8 survive, so that only their row is rejected."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
from typing import Any

import orjson

from versatune.transforms.shapes.base import BYTES_KEY
from versatune.transforms.shapes.exact_json import Number, fragment

UNDECODABLE = "surrogateescape"
"""Decoding and encoding with this error handler gives back the bytes that were there."""

_ACCENTED = re.compile(r"[^\x00-\x7f]+")
_NOT_WESTERN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|[^\x00-\x7f]{3}")


def dump_row(row: dict[str, Any]) -> bytes:
    """Serialise a row as JSON; text that could not be decoded comes out as the bytes it was, NaN as null."""
    try:
        return orjson.dumps(row, default=fragment, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # a surrogate that stands for an undecodable byte, or an integer of more than 64 bits
        try:
            return "".join(_written(row, [], ascii_only=False)).encode("utf-8", UNDECODABLE)
        except UnicodeEncodeError:  # a lone surrogate that was written as such: JSON can say it by an escape
            return "".join(_written(row, [], ascii_only=True)).encode()


def _written(value: Any, out: list[str], *, ascii_only: bool) -> list[str]:
    """Write JSON piece by piece, as the standard library does, but for numbers whose digits are kept."""
    if isinstance(value, dict):
        out.append("{")
        for place, (key, inner) in enumerate(value.items()):
            out.append(f"{',' if place else ''}{json.dumps(str(key), ensure_ascii=ascii_only)}:")
            _written(inner, out, ascii_only=ascii_only)
        out.append("}")
    elif isinstance(value, list):
        out.append("[")
        for place, inner in enumerate(value):
            out.append("," if place else "")
            _written(inner, out, ascii_only=ascii_only)
        out.append("]")
    elif isinstance(value, Number):
        out.append(value.text)
    elif isinstance(value, float) and not math.isfinite(value):
        out.append("null")
    elif isinstance(value, str | int | float) or value is None:
        out.append(json.dumps(value, ensure_ascii=ascii_only))
    else:
        out.append(orjson.dumps(value).decode())
    return out


def decoded(value: bytes) -> Any:
    """Return bytes of a table's cell as text: UTF-8, else Windows-1252 where that is plausible; else what names them.

    A cell is judged by itself, so the rule is strict: no control characters, and the letters that are not ASCII stand by
    ones or twos among more that are. Bytes of another kind, such as an image, are named by :data:`BYTES_KEY`, their size and
    digest; a row that needs them as text is rejected, any other is read.
    """
    with contextlib.suppress(UnicodeDecodeError):
        return value.decode()
    with contextlib.suppress(UnicodeDecodeError):
        text = value.decode("cp1252")
        if _is_western(text):
            return text
    return {BYTES_KEY: f"{len(value)} bytes, sha256 {hashlib.sha256(value).hexdigest()[:16]}"}


def _is_western(text: str) -> bool:
    accented = sum(map(len, _ACCENTED.findall(text)))
    return 2 * accented <= len(text) and not _NOT_WESTERN.search(text)
