"""Addresses on object stores, such as gs://bucket/key, and the places on this machine where their content is kept."""

from __future__ import annotations

import os
import re
from pathlib import Path

from versatune.schemas.errors import DataError

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://(.+)", re.DOTALL)


def is_remote(where: object) -> bool:
    """Say whether a path is an address on another machine."""
    return "://" in str(where)


def cache_home() -> Path:
    """Return where versatune keeps what it can fetch or make again: $XDG_CACHE_HOME/versatune, or ~/.cache/versatune."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "versatune"


def mirror_of(address: str) -> Path:
    """Return the local folder of an address; a path on this machine is its own.

    Raises:
        DataError: it leads out of its bucket.
    """
    found = _ADDRESS.fullmatch(address.rstrip("/"))
    if found is None:
        return Path(address)
    if any(part in ("", ".", "..") for part in found[2].split("/")):
        raise DataError(f"{address}: expected an address such as gs://bucket/folder, without empty parts, '.' and '..'")
    return cache_home() / "mirror" / found[1] / found[2]


def with_addresses(text: str) -> str:
    """Return a message in which paths in mirrors are the addresses that they stand for; pages to be opened keep their place here."""
    root = f"{cache_home() / 'mirror'}/"
    if root not in text:
        return text
    return re.sub(re.escape(root) + r"([a-z][a-z0-9+.-]*)/(?![^\s\"']*\.html\b)", r"\1://", text)


def address_of(path: str | Path) -> str:
    """Return the address that a path in a mirror stands for, ``..`` followed; any other path as it is."""
    try:
        scheme, *parts = Path(os.path.abspath(path)).relative_to(cache_home() / "mirror").parts
    except ValueError:
        return str(path)
    return f"{scheme}://{'/'.join(parts)}" if parts else str(path)
