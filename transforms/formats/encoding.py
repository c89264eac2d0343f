"""Rows of formats that are not JSON, as JSON; bytes that are not UTF-8 survive, so that only their row is rejected."""

from __future__ import annotations

import json
from typing import Any

import orjson

from transforms.formats.fault import FormatError

UNDECODABLE = "surrogateescape"
"""Decoding and encoding with this error handler gives back the bytes that were there."""

_SIGNATURES = {
    b"\xff\xfe": "UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": "UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8",
    b"\x1f\x8b": "gzip data; give the file a name that ends in .gz",
    b"\x28\xb5\x2f\xfd": "Zstandard data; give the file a name that ends in .zst",
    b"BZh": "bzip2 data; give the file a name that ends in .bz2",
    b"PK\x03\x04": "a zip archive; unpack it",
    b"PAR1": "a Parquet file; give it a name that ends in .parquet",
    b"version https://git-lfs": "a Git LFS pointer, not the data; run `git lfs pull`",
}


def refuse_other_formats(head: bytes, expected: str) -> None:
    """Raise FormatError if a file that should be text begins like something else."""
    for signature, what in _SIGNATURES.items():
        if head.startswith(signature):
            raise FormatError(f"found {what}. Expected {expected}")


def dump_row(row: dict[str, Any]) -> bytes:
    """Serialise a row as JSON; text that could not be decoded comes out as the bytes it was."""
    try:
        return orjson.dumps(row, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # a surrogate that stands for an undecodable byte, or an integer of more than 64 bits
        return json.dumps(row, ensure_ascii=False, default=_plain).encode("utf-8", UNDECODABLE)


def _plain(value: Any) -> Any:
    """Give a JSON value for what Arrow knows and JSON does not; orjson writes dates and times itself."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)
