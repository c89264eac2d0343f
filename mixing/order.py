"""The order in which a segment's domains take turns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from versatune.mixing.arrays import IntArray
from versatune.schemas.errors import ConfigError


def interleave(counts: Sequence[int] | IntArray) -> IntArray:
    """Domain of each position, so that the start of a segment already has the shares of the whole.

    Position s = 1..N takes the domain with the largest deficit ``c_j s / N - emitted_j``, ties to the lower index; kept
    as the integers ``c_j s - emitted_j N``, so it is exact. In every prefix a domain is less than one row ahead of its
    share, and about one row behind it at most (a little more is possible from four domains on).
    counts: (k,) rows of each domain. Returns (N,) int64.
    """
    rows = [int(c) for c in counts]
    if any(c < 0 for c in rows):
        raise ConfigError(f"row counts {rows}; expected zero or more rows of each domain")
    total = sum(rows)
    deficit = [0] * len(rows)
    out = np.empty(total, dtype=np.int64)
    for position in range(total):
        deficit = [d + c for d, c in zip(deficit, rows, strict=True)]
        chosen = deficit.index(max(deficit))
        deficit[chosen] -= total
        out[position] = chosen
    return out
