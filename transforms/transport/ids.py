"""Ids as numbers: 32 hex digits each, a column at a time, without a Python object for each."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

_DIGITS = 32
_OFFSET_BYTES = 4


def id_halves(ids: pa.StringArray | pa.ChunkedArray) -> np.ndarray:
    """Return ids as (n, 2) uint64; compared left to right they are in the order of their digits."""
    chunks = ids.chunks if isinstance(ids, pa.ChunkedArray) else [ids]
    digits = b"".join(map(_digits, chunks))
    return np.frombuffer(bytes.fromhex(digits.decode("ascii")), ">u8").astype(np.uint64).reshape(-1, 2)


def id_keys(ids: pa.StringArray) -> np.ndarray:
    """Return (n,) int32: the last 4 hex digits of each id.

    The first digits are those of the prompt and decide the split, so a bucket must come from others: it holds rows of both splits, and
    the answers to a prompt that very many rows share are spread over all.
    """
    return (id_halves(ids)[:, 1] & np.uint64(0xFFFF)).astype(np.int32)


def hex_ids(halves: np.ndarray) -> pa.StringArray:
    """Return (n, 2) uint64 as ids again."""
    digits = halves.astype(">u8").tobytes().hex().encode("ascii")
    offsets = np.arange(len(halves) + 1, dtype=np.int32) * _DIGITS
    return pa.StringArray.from_buffers(len(halves), pa.py_buffer(offsets), pa.py_buffer(digits))


def all_halves(columns: Iterable[pa.StringArray]) -> np.ndarray:
    """Return the ids of several columns, one after the other, as (n, 2) uint64."""
    return np.concatenate([np.zeros((0, 2), np.uint64), *map(id_halves, columns)])


def _digits(ids: pa.StringArray) -> bytes:
    """Return the text of all ids; it stands in one piece in the column's buffer."""
    if not len(ids):
        return b""
    _, offsets, data = ids.buffers()
    ends = np.frombuffer(offsets, np.int32, len(ids) + 1, ids.offset * _OFFSET_BYTES)
    return memoryview(data)[ends[0] : ends[-1]].tobytes()
