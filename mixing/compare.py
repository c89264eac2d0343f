"""How far apart two domain distributions are, and whether chance explains it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from versatune.mixing.arrays import FloatArray, Floats, nonnegative_vector
from versatune.mixing.intervals import where_tail_is
from versatune.schemas.errors import ConfigError


def total_variation(a: Floats, b: Floats) -> float:
    """``0.5 sum_j |a_j - b_j|``: the share of rows that would have to change domain. a, b: (k,) distributions."""
    left, right = _pair(a, b)
    return 0.5 * float(np.abs(left - right).sum())


def rank_order_right(truth: Floats, estimate: Floats, tolerance: float = 0.0) -> bool:
    """Whether any two domains whose true shares differ by more than the tolerance are estimated in that order. (k,) each."""
    true, found = _pair(truth, estimate)
    larger = true[:, None] - true[None, :] > tolerance
    return bool((found[:, None] > found[None, :])[larger].all())


def difference_intervals(
    a: Floats, lower_a: Floats, upper_a: Floats, b: Floats, lower_b: Floats, upper_b: Floats
) -> tuple[FloatArray, FloatArray]:
    """Lower and upper ends of ``a_j - b_j`` from the intervals of two estimates (Newcombe 1998; Zou and Donner 2008).

    Each end squares and adds the distances that matter to it: ``L = a - b - sqrt((a - l_a)^2 + (u_b - b)^2)``. Intervals that hold
    for all domains at once give differences that do. The two must err independently, as two models' samples do; that one
    classifier labelled both makes the result wider than need be, not too narrow.

    All six are (k,). Returns two (k,) arrays within [-1, 1].
    """
    left, right = _pair(a, b)
    down = np.hypot(left - _pair(left, lower_a)[1], _pair(left, upper_b)[1] - right)
    up = np.hypot(_pair(left, upper_a)[1] - left, right - _pair(left, lower_b)[1])
    return np.clip(left - right - down, -1.0, 1.0), np.clip(left - right + up, -1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class GTest:
    """Likelihood-ratio test of counts against a known mixture.

    Attributes:
        statistic: ``G = 2 sum_j O_j ln(O_j / (n pi_j))``; infinite where a domain of share zero was counted.
        degrees: domains of a positive share, less one.
        critical: G that samples of the mixture exceed with probability alpha.
        p_value: probability that samples of the mixture give this G or more.
    """

    statistic: float
    degrees: int
    critical: float
    p_value: float

    @property
    def reject(self) -> bool:
        """Whether the counts are too far from the mixture for chance."""
        return self.statistic > self.critical


def g_test(counts: Floats, mixture: Floats, alpha: float = 0.05) -> GTest:
    """Test whether samples whose domains are known come from a known mixture; chi-square with k - 1 degrees of freedom.

    Labels that err reject every mixture in the end: use it where domains are certain. counts, mixture: (k,).
    """
    observed, expected = _pair(counts, mixture)
    degrees = int((expected > 0.0).sum()) - 1
    if degrees < 1 or not observed.any() or abs(float(expected.sum()) - 1.0) > 1e-6 or not 0.0 < alpha < 1.0:
        raise ConfigError(
            f"counts {observed.tolist()}, mixture {expected.tolist()}, alpha {alpha}; expected a sample at least, shares that sum to one "
            "of two domains at least, and 0 < alpha < 1"
        )
    seen = observed > 0.0
    with np.errstate(divide="ignore"):
        terms = observed[seen] * np.log(observed[seen] / (observed.sum() * expected[seen]))
    statistic = max(2.0 * float(terms.sum()), 0.0)
    return GTest(
        statistic=statistic,
        degrees=degrees,
        critical=where_tail_is(alpha, lambda x: _chi_square_tail(x, degrees), start=0.0),
        p_value=_chi_square_tail(statistic, degrees),
    )


def _chi_square_tail(x: float, degrees: int) -> float:
    """``P(chi^2 > x)``, a finite sum for whole degrees of freedom (Abramowitz and Stegun 26.4.4 and 26.4.5)."""
    if math.isinf(x):
        return 0.0
    half, odd = x / 2.0, degrees % 2
    total = math.erfc(math.sqrt(half)) if odd else 0.0
    term = 2.0 * math.sqrt(half / math.pi) * math.exp(-half) if odd else math.exp(-half)
    for j in range(1 + odd, degrees, 2):
        total += term
        term *= x / (j + 1)
    return total


def _pair(a: Floats, b: Floats) -> tuple[FloatArray, FloatArray]:
    left, right = (nonnegative_vector(a, "distribution"), nonnegative_vector(b, "distribution"))
    if left.shape != right.shape:
        raise ConfigError(f"distributions of {len(left)} and {len(right)} domains cannot be compared")
    return left, right
