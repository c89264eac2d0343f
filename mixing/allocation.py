"""From weights to whole rows: exact totals, and no domain repeated more often than allowed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from versatune.mixing.arrays import FloatArray, Floats, IntArray, nonnegative_vector
from versatune.mixing.weights import normalize
from versatune.schemas.errors import ConfigError


class Allocation(NamedTuple):
    """Rows of each domain (k,), and the part of the budget that the caps left unspent."""

    counts: IntArray
    shortfall: int


def largest_remainder(weights: Floats, budget: int) -> IntArray:
    """Whole rows that sum to the budget, each within one of ``w_j B`` (Hamilton's method).

    Every domain gets the floor of its quota; the rows left over go to the largest remainders, ties to the lower index.
    weights: (k,), rescaled to sum to one. Returns (k,) int64.
    """
    if budget < 0:
        raise ConfigError(f"the row budget is {budget}; expected zero or more rows")
    quotas: FloatArray = normalize(weights) * budget
    # A quota that misses its integer by rounding only is that integer.
    counts: IntArray = np.floor(quotas + 1e-12).astype(np.int64)
    left = budget - int(counts.sum())
    counts[np.argsort(counts - quotas, kind="stable")[:left]] += 1
    return counts


def row_caps(rows: Floats, max_passes: float) -> IntArray:
    """Most rows each domain may give: ``floor(max_passes n_j)``. rows: (k,) available rows. Returns (k,) int64."""
    if not 0.0 < max_passes < float("inf"):
        raise ConfigError(f"max_passes is {max_passes}; expected a positive number, such as 2")
    caps: IntArray = np.floor(nonnegative_vector(rows, "rows") * max_passes + 1e-9).astype(np.int64)
    return caps


def allocate_capped(weights: Floats, budget: int, caps: Floats) -> Allocation:
    """Largest-remainder rows under per-domain caps; what a cap cuts off goes to the others in proportion.

    A domain over its cap is fixed there and the rest of the budget is shared anew, at most k times. Domains of weight
    zero get nothing, so the shortfall is zero exactly when the caps of the weighted domains hold the budget.
    """
    shares, limit = (normalize(weights), nonnegative_vector(caps, "row caps").astype(np.int64))
    if limit.shape != shares.shape:
        raise ConfigError(f"{len(limit)} row caps for {len(shares)} weights; expected one for each domain")
    counts = np.zeros(len(shares), dtype=np.int64)
    open_ = shares > 0.0
    while open_.any():
        left = budget - int(counts[~open_].sum())
        counts[open_] = largest_remainder(shares[open_], left)
        over = open_ & (counts > limit)
        if not over.any():
            break
        counts[over] = limit[over]
        open_ &= ~over
    return Allocation(counts, budget - int(counts.sum()))
