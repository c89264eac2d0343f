"""MinHash signatures (Broder 1997), and the bands by which near-duplicates meet without comparing all pairs.

A signature has ``permutations`` places. At each place stands the smallest hash of any of the row's shingles, under a hash function
of that place; two rows agree at a place with the probability that is their Jaccard similarity.

One hash function for each place costs ``permutations`` hashes a shingle. So a few rounds come first in which a shingle is
hashed once and competes at one place only, chosen by its hash; only a place that no round filled gets a function of its own.
That is Fast Similarity Sketching (Dahlgaard, Knudsen, Thorup 2017) with fewer random rounds. What wins a place is decided by
(round, hash) alone, so every shingle of the union of two rows is as likely to win it, and the estimate has no bias, whatever the
sizes; its variance is at most about that of independent functions. One-permutation hashing that copies other places into the
empty ones (Shrivastava 2017) costs about the same and varies more on small sets.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from versatune.transforms.overlap.shingles import Shingles, mix

_ROUNDS = 7  # random rounds; a value's three highest bits say which round it is from
_VALUE_BITS = 29
_EMPTY = np.uint32(2**32 - 1)
_FOUND = 0.95
_CHUNK_SHINGLES = 2**17
_SEED = 0x5851F42D4C957F2D


class Bands(NamedTuple):
    """How a signature is cut: two rows meet if all ``rows`` places of any band agree."""

    bands: int
    rows: int


def signatures_of(shingles: Shingles, permutations: int) -> np.ndarray:
    """Return each row's signature, (rows, permutations) uint32; a row without shingles has 2^32 - 1 at every place."""
    rows = len(shingles.offsets) - 1
    places = np.full((rows, permutations), _EMPTY, np.uint32)
    start = 0
    while start < rows:  # pieces that stay in a core's cache
        end = int(np.searchsorted(shingles.offsets, shingles.offsets[start] + _CHUNK_SHINGLES, side="right")) - 1
        end = max(end, start + 1)
        offsets = shingles.offsets[start : end + 1]
        _fill(places[start:end], shingles.hashes[offsets[0] : offsets[-1]], np.diff(offsets))
        start = end
    return places


def _fill(places: np.ndarray, hashes: np.ndarray, sizes: np.ndarray) -> None:
    """Compute some rows' signatures in place."""
    rows, permutations = places.shape
    factors = _factors(_ROUNDS + permutations)
    row_of = np.repeat(np.arange(rows), sizes)
    flat = places.reshape(-1)
    for number in range(_ROUNDS):
        if number:  # a later round never beats an earlier one: only rows with an empty place go on
            going_on = (places == _EMPTY).any(axis=1)[row_of]
            hashes_left, row_left = hashes[going_on], row_of[going_on]
        else:
            hashes_left, row_left = hashes, row_of
        hashed = hashes_left * factors[number]
        place = ((hashed >> np.uint64(32)) * np.uint64(permutations)) >> np.uint64(32)
        np.minimum.at(flat, place.astype(np.int64) + row_left * permutations, _values(hashed, number))
    empty = np.flatnonzero((flat == _EMPTY) & np.repeat(sizes > 0, permutations))
    if len(empty):
        flat[empty] = _own_functions(hashes, sizes, empty // permutations, factors[_ROUNDS + empty % permutations])


def _own_functions(hashes: np.ndarray, sizes: np.ndarray, rows: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return the smallest hash of each named row's shingles under the function of the given factor, (n,) uint32."""
    counts = sizes[rows]
    begins = np.cumsum(counts) - counts
    numbers = np.arange(counts.sum()) + np.repeat((np.cumsum(sizes) - sizes)[rows] - begins, counts)
    hashed = hashes[numbers]
    hashed *= np.repeat(factors, counts)
    return np.minimum.reduceat(_values(hashed, _ROUNDS), begins)


def _values(hashed: np.ndarray, number: int) -> np.ndarray:
    """Return what competes for a place, (n,) uint32: the round, then bits of the hash that did not choose the place."""
    values = (hashed >> np.uint64(3)).astype(np.uint32)
    values >>= np.uint32(32 - _VALUE_BITS)
    values |= np.uint32(number << _VALUE_BITS)
    return values


@cache
def _factors(count: int) -> np.ndarray:
    """Return odd 64-bit numbers, always the same."""
    return mix(np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_SEED)) | np.uint64(1)


def choose_bands(similarity: float, permutations: int) -> Bands:
    """Return the fewest, longest bands by which a pair at exactly this similarity still meets with probability 0.95.

    A pair of similarity s meets in one of b bands of r places with probability 1 - (1 - s^r)^b (Leskovec, Rajaraman, Ullman,
    Mining of Massive Datasets, 3.4). What meets is then compared place by place, so a false meeting costs only time, while a pair
    that never meets is lost: hence a bound on the losses, and not a balance of both.
    """
    rows = permutations
    while rows > 1 and chance_to_meet(similarity, Bands(permutations // rows, rows)) < _FOUND:
        rows -= 1
    return Bands(permutations // rows, rows)


def chance_to_meet(similarity: float, bands: Bands) -> float:
    """Return the probability that two rows of some similarity agree in a whole band."""
    return float(1 - (1 - similarity**bands.rows) ** bands.bands)


def band_keys(signatures: np.ndarray, bands: Bands) -> np.ndarray:
    """Return a hash of each band of each signature, (bands, rows) uint64."""
    used = signatures[:, : bands.bands * bands.rows].astype(np.uint64).reshape(-1, bands.bands, bands.rows)
    return mix(np.ascontiguousarray((used * _factors(bands.rows)).sum(axis=2).T))
