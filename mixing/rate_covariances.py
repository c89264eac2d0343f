"""How far measured confusion rates may be from the truth: covariance matrices of their columns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from versatune.mixing.arrays import FloatArray, IntArray

_PRIOR_SOURCES = 4


def multinomial_covariances(matrix: npt.ArrayLike, counts: npt.ArrayLike) -> FloatArray:
    """Covariance of rates counted over independent rows: ``(diag(M_b) - M_b M_b^T) / m_b`` of column b.

    matrix: (k, k), [predicted][true]. counts: (k,) m. Returns (k, k, k), [true] first.
    """
    columns = np.asarray(matrix, np.float64).T
    products: FloatArray = columns[:, :, None] * np.eye(len(columns)) - columns[:, :, None] * columns[:, None, :]
    return products / np.asarray(counts, np.float64)[:, None, None]


def moderated_covariances(matrix: FloatArray, covariances: FloatArray, sources: IntArray) -> FloatArray:
    """Steady the covariances of columns that few sources were measured for, by what all columns have in common.

    A handful of sources can agree by chance, and rates then look better known than they are. Each covariance is averaged with the
    one it would have if sources differed in every domain alike: the multinomial one times a common factor, the mean over domains
    (empirical Bayes, as in Smyth 2004). The common part counts as much as four sources, which simulated probes bear out.

    matrix: (k, k). covariances: (k, k, k). sources: (k,), at least one each. Returns (k, k, k).
    """
    common = multinomial_covariances(matrix, sources)
    own = (sources - 1).astype(np.float64)
    weights = own * sources
    spread = weights @ np.trace(common, axis1=1, axis2=2)
    factor = weights @ np.trace(covariances, axis1=1, axis2=2) / spread if spread > 0.0 else 0.0
    share = (own / (own + _PRIOR_SOURCES))[:, None, None]
    mixed: FloatArray = share * covariances + (1.0 - share) * factor * common
    return mixed
