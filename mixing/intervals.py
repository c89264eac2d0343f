"""How far an estimated domain share may be from the truth, and how many samples a wanted precision takes.

Standard normal-theory intervals, made simultaneous over the domains (and over repeated looks) by Bonferroni's bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from versatune.mixing.arrays import FloatArray, Floats, nonnegative_vector, probability_rows
from versatune.schemas.errors import ConfigError, DataError

_PRECISION = 1e-12
_MANY_DEGREES = 2000  # from here on the normal quantile is right to a thousandth


def bonferroni_z(alpha: float, k: int, looks: int = 1) -> float:
    """Two-sided normal quantile that holds for k domains and that many planned looks at once.

    ``z = Phi^-1(1 - alpha / (2 k looks))``; k = looks = 1 gives the ordinary quantile.
    """
    if not 0.0 < alpha < 1.0 or k < 1 or looks < 1:
        raise ConfigError(
            f"alpha={alpha}, k={k}, looks={looks}; expected 0 < alpha < 1 and at least one domain and look"
        )
    # The lower tail, because 1 - alpha / (2 k looks) would round off the digits that matter.
    return -NormalDist().inv_cdf(alpha / (2 * k * looks))


def bonferroni_t(alpha: float, k: int, degrees: Floats) -> FloatArray:
    """Return :func:`bonferroni_z` at one look for standard errors that are themselves estimated: Student's quantile, (k,).

    degrees: (k,) degrees of freedom, of which the whole ones are counted, and at least one.
    """
    z = bonferroni_z(alpha, k)
    whole = np.clip(np.asarray(degrees, np.float64), 1.0, _MANY_DEGREES).astype(np.int64)
    return np.array([_student_quantile(alpha / k, z, int(df)) for df in whole])


@lru_cache(maxsize=4096)
def _student_quantile(tails: float, z: float, degrees: int) -> float:
    """Return the t with ``P(|T| > t) = tails``; z is the normal one, which lies below it."""
    if degrees >= _MANY_DEGREES:
        return z
    return where_tail_is(tails, lambda t: _student_tails(t, degrees), start=z)


def where_tail_is(wanted: float, tail: Callable[[float], float], *, start: float) -> float:
    """Return the x with ``tail(x) = wanted``, by bisection.

    Args:
        wanted: a probability, not above that at ``start``.
        tail: a probability that falls to zero as x grows.
        start: zero or more, and not above x.
    """
    low, high = start, max(2.0 * start, 1.0)
    while tail(high) > wanted:
        high *= 2.0
    while high - low > _PRECISION * high:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if tail(middle) > wanted else (low, middle)
    return high


def _student_tails(t: float, degrees: int) -> float:
    """Return ``P(|T| > t)``, a finite sum for whole degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(degrees))
    cosine, odd = math.cos(angle), degrees % 2
    term, total = (cosine if odd else 1.0), 0.0
    for j in range(1 + odd, degrees, 2):
        total += term
        term *= cosine * cosine * j / (j + 1)
    inside = math.sin(angle) * total
    return 1.0 - (2.0 / math.pi * (angle + inside) if odd else inside)


def soft_standard_errors(probabilities: npt.ArrayLike) -> FloatArray:
    """Standard error of the soft estimate: ``s_j / sqrt(n)``, s_j with n - 1. (n, k) to (k,)."""
    rows = probability_rows(probabilities)
    if len(rows) < 2:
        raise DataError("one sample has no standard error; expected at least two samples")
    errors: FloatArray = rows.std(axis=0, ddof=1) / math.sqrt(len(rows))
    return errors


def hard_standard_errors(shares: Floats, n: int) -> FloatArray:
    """Binomial standard error ``sqrt(p (1 - p) / n)`` of shares (k,) estimated by counting n samples."""
    p = nonnegative_vector(shares, "shares")
    if n < 1 or (p > 1.0).any():
        raise DataError(
            f"shares up to {p.max()} of {n} samples; expected shares of at most one and at least one sample"
        )
    errors: FloatArray = np.sqrt(p * (1.0 - p) / n)
    return errors


def soft_intervals(probabilities: npt.ArrayLike, z: float) -> tuple[FloatArray, FloatArray]:
    """Lower and upper ends of ``P_j -+ z SE_j``, clipped to [0, 1]. (n, k) to two (k,) arrays."""
    rows = probability_rows(probabilities)
    centre, half = rows.mean(axis=0), z * soft_standard_errors(rows)
    return np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)


def wilson_intervals(counts: Floats, n: int, z: float) -> tuple[FloatArray, FloatArray]:
    """Wilson score interval of each count (k,) out of n samples. Returns lower and upper shares, two (k,) arrays."""
    x = nonnegative_vector(counts, "counts")
    if n < 1 or (x > n).any():
        raise DataError(
            f"a count of {x.max():.0f} out of {n} samples; expected counts of at most n, and n of at least one"
        )
    share = x / n
    scale = 1.0 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z * np.sqrt(share * (1.0 - share) / n + z * z / (4.0 * n * n)) / scale
    return np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)


def sample_size(half_width: float, z: float, share: float = 0.5) -> int:
    """Samples needed for a half-width: ``ceil(z^2 p (1 - p) / half_width^2)``; share 0.5 is the worst case."""
    if not 0.0 < half_width < 1.0 or not 0.0 <= share <= 1.0:
        raise ConfigError(f"half_width={half_width}, share={share}; expected 0 < half_width < 1 and 0 <= share <= 1")
    return math.ceil(z * z * share * (1.0 - share) / half_width**2)
