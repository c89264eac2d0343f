"""How far two sets of labels agree: counts, accuracy, Cohen's kappa."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from versatune.mixing.arrays import IntArray


def contingency(ours: Sequence[int] | IntArray, theirs: Sequence[int] | IntArray, k: int) -> IntArray:
    """Count rows by both labels: ``table[a][b]`` rows are ``a`` for us and ``b`` for them; (k, k) int64."""
    table = np.zeros((k, k), np.int64)
    np.add.at(table, (np.asarray(ours, np.intp), np.asarray(theirs, np.intp)), 1)
    return table


def accuracy(table: IntArray) -> float | None:
    """Return the share of rows with the same label; None for a table without rows."""
    total = int(table.sum())
    return float(np.trace(table) / total) if total else None


def kappa(table: IntArray) -> float | None:
    """Return Cohen's kappa (1960), ``(p_o - p_e) / (1 - p_e)``: agreement beyond what the margins give by chance.

    None where it is not defined: no rows, or both sides give one and the same label to all of them.
    """
    total = int(table.sum())
    if not total:
        return None
    rows, columns = (table.sum(axis=axis) / total for axis in (1, 0))
    observed, expected = float(np.trace(table) / total), float(rows @ columns)
    return None if expected >= 1.0 else (observed - expected) / (1.0 - expected)
