"""Array types of this package, and the checks every public function starts with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from versatune.schemas.errors import ConfigError, DataError

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = Sequence[float] | npt.NDArray[Any]


def nonnegative_vector(values: Floats, what: str) -> FloatArray:
    """``values`` as a (k,) float64 array; ConfigError unless it is one-dimensional, finite and non-negative."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ConfigError(f"{what} has shape {array.shape}; expected one number per domain")
    for index, value in enumerate(array.tolist()):
        if not (0.0 <= value < float("inf")):
            raise ConfigError(f"{what}[{index}] is {value}; expected a finite number that is zero or more")
    return array


def probability_rows(values: npt.ArrayLike) -> FloatArray:
    """``values`` as an (n, k) float64 array of probability rows; DataError names the first bad row.

    Rows may miss one by 1e-3, which float32 storage and rounded labels need; they are not rescaled.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise DataError(
            f"probabilities have shape {array.shape}; expected (samples, domains) with at least one of each"
        )
    bad = ~(np.isfinite(array).all(axis=1) & (array >= 0).all(axis=1) & (np.abs(array.sum(axis=1) - 1.0) <= 1e-3))
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(
            f"probability row {row} sums to {array[row].sum()}; expected non-negative numbers that sum to one"
        )
    return array
