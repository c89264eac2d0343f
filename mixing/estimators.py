"""Domain shares of a model's own generations, from label probabilities (arXiv 2411.11266, phase 1)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from versatune.mixing.arrays import FloatArray, Floats, IntArray, nonnegative_vector, probability_rows
from versatune.schemas.errors import DataError


def soft_estimate(probabilities: npt.ArrayLike) -> FloatArray:
    """Mean label probability of each domain: ``P_j = (1/n) sum_i p_ij``, the paper's estimate.

    probabilities: (n, k), one row per sample. Returns (k,), a share of samples (documents, not tokens).
    """
    shares: FloatArray = probability_rows(probabilities).mean(axis=0)
    return shares


def hard_counts(probabilities: npt.ArrayLike) -> IntArray:
    """How many samples have each domain as their most probable one; a tie goes to the lower index.

    probabilities: (n, k). Returns (k,) int64 that sums to n.
    """
    rows = probability_rows(probabilities)
    return np.bincount(rows.argmax(axis=1), minlength=rows.shape[1]).astype(np.int64)


def hard_estimate(probabilities: npt.ArrayLike) -> FloatArray:
    """Share of samples whose most probable domain is j, as the method's released code counts. (n, k) to (k,)."""
    counts = hard_counts(probabilities)
    shares: FloatArray = counts / counts.sum()
    return shares


def unlabelled_bounds(counts: Floats, generated: int) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest share of each domain when ``generated - sum(counts)`` samples carry no label.

    Lower: no unlabelled sample belongs to the domain. Upper: all of them do. counts: (k,). Returns two (k,) arrays.
    """
    labelled = nonnegative_vector(counts, "counts")
    missing = generated - float(labelled.sum())
    if generated < 1 or missing < 0:
        raise DataError(
            f"{generated} samples were generated but {labelled.sum():.0f} are labelled; the counts disagree"
        )
    return labelled / generated, (labelled + missing) / generated
