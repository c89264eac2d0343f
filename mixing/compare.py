"""How far apart two domain distributions are."""

from __future__ import annotations

import numpy as np

from mixing.arrays import Floats, nonnegative_vector
from schemas.errors import ConfigError


def total_variation(a: Floats, b: Floats) -> float:
    """``0.5 sum_j |a_j - b_j|``: the share of rows that would have to change domain. a, b: (k,) distributions."""
    left, right = (nonnegative_vector(a, "distribution"), nonnegative_vector(b, "distribution"))
    if left.shape != right.shape:
        raise ConfigError(f"distributions of {len(left)} and {len(right)} domains cannot be compared")
    return 0.5 * float(np.abs(left - right).sum())
