"""Which rows of a domain are drawn: a pure function of the seed and the row ids, whatever order the rows come in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from versatune.mixing.arrays import Floats, IntArray
from versatune.schemas.errors import ConfigError, DataError, nearest

HASH_NAME = "blake2b-64"
REDRAWS = ("fresh", "continue", "fixed")
PASSES_PER_SEGMENT = 1000


class Draws(NamedTuple):
    """Drawn rows in drawing order: positions in the given row ids, and the pass each was drawn in. Both (count,)."""

    rows: IntArray
    passes: IntArray


def row_key(seed: int, domain: str, pass_: int, row_id: str) -> int:
    """Sort key of a row: BLAKE2b (8 bytes, big-endian) of ``"{seed}|{domain}|{pass}|{row_id}"`` in UTF-8."""
    return int.from_bytes(hashlib.blake2b(f"{seed}|{domain}|{pass_}|{row_id}".encode(), digest_size=8).digest(), "big")


def pass_order(seed: int, domain: str, pass_: int, row_ids: Sequence[str]) -> IntArray:
    """Positions of the row ids sorted by their key, ties by id. Returns (n,) int64; ids must be unique."""
    return _hash_order(f"{seed}|{domain}|{pass_}|", row_ids)


def shuffle_order(seed: int, segment: int, row_ids: Sequence[str], copies: Sequence[int] | IntArray) -> IntArray:
    """Positions of a segment's drawn rows in one global shuffle. row_ids (n,); copies (n,): the pass of each draw."""
    return _hash_order(f"{seed}|order|{segment}|", [f"{i}#{c}" for i, c in zip(row_ids, copies, strict=True)])


def _hash_order(prefix: str, row_ids: Sequence[str]) -> IntArray:
    # Copying a hasher that has read the prefix is about as fast as hashing anew and keeps the string in one place.
    start = hashlib.blake2b(prefix.encode(), digest_size=8)
    digests = bytearray()
    for row_id in row_ids:
        hasher = start.copy()
        hasher.update(row_id.encode())
        digests += hasher.digest()
    keys = np.frombuffer(digests, dtype=">u8").astype(np.uint64)
    order = np.argsort(keys, kind="stable")
    ties = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    if len(ties):
        twice = [row_ids[order[t]] for t in ties if row_ids[order[t]] == row_ids[order[t + 1]]]
        if twice:
            raise DataError(f"row id '{twice[0]}' is listed twice; row ids must be unique within a domain")
        order = np.asarray(sorted(range(len(row_ids)), key=lambda i: (keys[i], row_ids[i])))
    return order.astype(np.int64)


def first_draw(redraw: str, segment: int, drawn_before: int, rows: int) -> tuple[int, int]:
    """Where a segment starts to draw from a domain: the pass, and how many rows of that pass to skip.

    redraw: ``fresh`` a new order every segment; ``continue`` where the last segment stopped, so that a domain is used
    up before any row comes again; ``fixed`` the same rows every segment. segment: counted from 0. drawn_before: rows
    drawn in earlier segments. rows: rows the domain has.
    """
    if redraw == "fresh":
        return segment * PASSES_PER_SEGMENT, 0
    if redraw == "continue":
        return divmod(drawn_before, max(rows, 1))
    if redraw == "fixed":
        return 0, 0
    raise ConfigError(f"unknown redraw policy '{redraw}'{nearest(redraw, REDRAWS)}")


def draw_rows(
    seed: int, domain: str, row_ids: Sequence[str], count: int, first_pass: int = 0, offset: int = 0
) -> Draws:
    """Draw ``count`` rows: whole passes in key order, then the start of the next one.

    So with offset 0 each of the n rows is drawn floor(count / n) or ceil(count / n) times. offset skips the rows of
    the first pass that an earlier segment has used.
    """
    n = len(row_ids)
    if count == 0:
        return Draws(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    if n == 0 or count < 0 or not 0 <= offset < n:
        raise DataError(
            f"cannot draw {count} rows from the {n} of domain '{domain}', starting at row {offset} of a pass"
        )
    number = -(-(offset + count) // n)
    passes = range(first_pass, first_pass + number)
    rows = np.concatenate([pass_order(seed, domain, p, row_ids) for p in passes])
    return Draws(rows[offset : offset + count], np.repeat(passes, n)[offset : offset + count])


def take_token_budget(row_tokens: Floats, target: float) -> tuple[int, int]:
    """How many rows, in the given order, come nearest to a token target; returns (rows, tokens).

    Rows are taken while the total stays within the target; the row that crosses it is taken only if it overshoots by no
    more than leaving it out undershoots. row_tokens: (n,) tokens of each row.
    """
    totals = np.cumsum(np.asarray(row_tokens, dtype=np.int64))
    rows = int(np.searchsorted(totals, target, side="right"))
    tokens = int(totals[rows - 1]) if rows else 0
    if rows < len(totals) and totals[rows] - target <= target - tokens:
        return rows + 1, int(totals[rows])
    return rows, tokens
