"""Repaired rows: what takes the place of raw rows that a build would reject.

A repair is found by the digest of the rejected payload, so it does not matter in which file, or where in it, the row stands.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from versatune.schemas.errors import DataError
from versatune.schemas.files import sha256_bytes
from versatune.transforms.shapes import exact_json
from versatune.transforms.transport.batch import RowFault
from versatune.transforms.transport.storage import read_bytes, replace_bytes

_EXPECTED = (
    'one JSON object per line, such as {"payload_digest": "...", "payload": {...}}, as `versatune rejects` writes them'
)


def payload_digest(payload: bytes) -> str:
    """Return what names a rejected payload: 32 hex digits."""
    return blake2b(payload, digest_size=16).hexdigest()


def value_digest(payload: Any) -> str:
    """Return what tells whether a payload was edited: 32 hex digits of a JSON value, however it is spaced and ordered, or of a text."""
    return payload_digest(
        payload.encode() if isinstance(payload, str) else exact_json.dumps(payload, orjson.OPT_SORT_KEYS)
    )


@dataclass(frozen=True)
class Repairs:
    """Repaired rows by the digest of the payload that each replaces."""

    rows: Mapping[str, bytes]
    sha256: str = ""
    """Of the digests and the rows that replace them, in the order of the digests."""

    def of(self, payload: bytes | RowFault) -> bytes | None:
        """Return what takes a rejected payload's place, or None."""
        content = payload.head if isinstance(payload, RowFault) else payload
        if not self.rows or not content:  # nothing of the row was kept, so it cannot be told from others
            return None
        return self.rows.get(payload_digest(content))

    def save(self, path: str) -> None:
        """Write them where the workers find them."""
        lines = (orjson.dumps({"payload_digest": digest, "payload": row.decode()}) for digest, row in self.rows.items())
        replace_bytes(path, b"\n".join(lines))

    @classmethod
    def load(cls, path: str) -> Repairs:
        """Read a file of repaired rows; see :func:`parse_repairs`."""
        return _loaded(path)


def read_repairs(path: Path) -> Repairs:
    """Read a user's file of repaired rows.

    Raises:
        DataError: no such file; see :func:`parse_repairs`; nothing in it was changed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected {_EXPECTED}") from None
    repairs = parse_repairs(data, str(path))
    if not repairs.rows:
        raise DataError(f"{path}: every payload is as it was rejected; change 'payload' in the rows that you repair")
    return repairs


def no_repairs() -> Repairs:
    """Return none."""
    return Repairs({})


def parse_repairs(data: bytes, where: str) -> Repairs:
    """Read repaired rows from JSON Lines; rows whose payload was not changed are left out.

    ``payload`` is the repaired row: an object, or text that holds one. A line as ``versatune rejects`` writes it also says in
    ``unchanged`` what the :func:`value_digest` of its payload was.

    Raises:
        DataError: not such lines; two different repairs of one payload.
    """
    rows: dict[str, bytes] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        entry = _entry(line, f"{where} line {number}")
        digest, payload = entry["payload_digest"], entry["payload"]
        repaired = payload.encode() if isinstance(payload, str) else exact_json.dumps(payload)
        if payload_digest(repaired) == digest or value_digest(payload) == entry.get("unchanged"):
            continue
        if rows.setdefault(digest, repaired) != repaired:
            raise DataError(
                f"{where} line {number}: repairs a row ({digest[:12]}...) that an earlier line repairs otherwise; keep one"
            )
    rows = dict(sorted(rows.items()))
    return Repairs(rows, sha256_bytes(b"\n".join(digest.encode() + b" " + row for digest, row in rows.items())))


def _entry(line: bytes, where: str) -> dict[str, Any]:
    try:
        entry = exact_json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON ({error}); expected {_EXPECTED}") from None
    if not isinstance(entry, dict) or not isinstance(entry.get("payload_digest"), str) or "payload" not in entry:
        raise DataError(f"{where}: has no 'payload_digest' and 'payload'; expected {_EXPECTED}")
    return entry


@lru_cache(maxsize=2)
def _loaded(path: str) -> Repairs:
    return parse_repairs(read_bytes(path), Path(path).name)
