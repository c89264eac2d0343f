"""All estimates of a model's domain shares side by side, each with an interval that says what it allows for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from versatune.mixing.arrays import FloatArray, probability_rows
from versatune.mixing.correction import Corrected, corrected_estimate, refusal
from versatune.mixing.estimators import hard_counts, soft_estimate
from versatune.mixing.intervals import (
    bonferroni_t,
    bonferroni_z,
    hard_standard_errors,
    soft_intervals,
    soft_standard_errors,
    wilson_intervals,
)
from versatune.mixing.label_errors import LabelErrors
from versatune.mixing.prior_shift import prior_shift_estimate
from versatune.schemas.errors import DataError
from versatune.schemas.probe import EstimateName

_NOTHING_KNOWN = (
    "nothing is known of the classifier's errors; train it with `versatune classifier train`, which measures them on rows of "
    "sources that it has not learned from"
)


@dataclass(frozen=True, kw_only=True)
class ShareEstimate:
    """One estimate; vectors are (k,), shares of samples (documents, not tokens).

    Attributes:
        standard_errors: of everything that ``covers`` names. With labels, the root mean square distance from the truth: a biased
            estimate's distance from the corrected one is part of it.
        sampling_errors: of sampling alone; more samples make these smaller.
        lower: interval ends, for all domains and planned looks at once.
        upper: the other ends.
        covers: whether the interval allows for the classifier's errors.
    """

    name: EstimateName
    shares: FloatArray
    standard_errors: FloatArray
    sampling_errors: FloatArray
    lower: FloatArray
    upper: FloatArray
    covers: Literal["sampling and labels", "sampling"]


@dataclass(frozen=True, kw_only=True)
class ShareEstimates:
    """The estimates that can be given, and of the others the reason why they cannot."""

    estimates: tuple[ShareEstimate, ...]
    refused: Mapping[str, str]

    def __getitem__(self, name: str) -> ShareEstimate:
        """Return the estimate of that name; DataError with the reason if it cannot be given."""
        for estimate in self.estimates:
            if estimate.name == name:
                return estimate
        reason = self.refused.get(name, f"known: {', '.join(estimate.name for estimate in self.estimates)}")
        raise DataError(f"there is no '{name}' estimate: {reason}")


def estimate_shares(
    probabilities: npt.ArrayLike, *, alpha: float, looks: int, errors: LabelErrors | None
) -> ShareEstimates:
    """Estimate the domain shares of (n, k) label probabilities in every way there is.

    The intervals of one estimate hold together, for all k domains and planned looks, with probability ``1 - alpha``. Where the
    labeller's errors are known, they allow for those too: for errors of single labels, and for those rates having been measured on
    some sources and not on all. An estimate that does not correct for them is biased; its interval reaches from its own to the
    corrected one's, so that it holds the truth whenever that does and is as wide as the estimate is wrong.

    Args:
        probabilities: (n, k), one row per sample, at least two.
        alpha: probability that one of the intervals misses.
        looks: how often the estimates are looked at before the probe stops.
        errors: how the labeller errs; None where nothing is known. There is then no corrected estimate, and all intervals allow
            for sampling alone.
    """
    rows = probability_rows(probabilities)
    z = bonferroni_z(alpha, rows.shape[1], looks)
    reason = _NOTHING_KNOWN if errors is None else refusal(errors)
    plain = tuple(_plain(rows, z, errors))
    if errors is None or reason is not None:
        return ShareEstimates(estimates=plain, refused={"corrected": reason or _NOTHING_KNOWN})
    found = corrected_estimate(rows, errors)
    corrected = _corrected(found, alpha, looks)
    soft, hard, em = (_allowing_for_labels(estimate, corrected) for estimate in plain)
    return ShareEstimates(estimates=(soft, hard, corrected, em), refused={})


def _plain(rows: FloatArray, z: float, errors: LabelErrors | None) -> Iterator[ShareEstimate]:
    """Yield soft, hard and em, with what sampling alone does to them."""
    n, k = rows.shape
    yield _of_sampling("soft", soft_estimate(rows), soft_standard_errors(rows), *soft_intervals(rows, z))
    counts = hard_counts(rows)
    hard = counts / n
    yield _of_sampling("hard", hard, hard_standard_errors(hard, n), *wilson_intervals(counts, n, z))
    em = prior_shift_estimate(rows, np.full(k, 1.0 / k) if errors is None else errors.training_prior())
    half = z * em.sampling_errors
    yield _of_sampling("em", em.shares, em.sampling_errors, em.shares - half, em.shares + half)


def _of_sampling(
    name: EstimateName, shares: FloatArray, sampling: FloatArray, lower: FloatArray, upper: FloatArray
) -> ShareEstimate:
    return ShareEstimate(
        name=name,
        shares=shares,
        standard_errors=sampling,
        sampling_errors=sampling,
        lower=np.clip(lower, 0.0, 1.0),
        upper=np.clip(upper, 0.0, 1.0),
        covers="sampling",
    )


def _corrected(found: Corrected, alpha: float, looks: int) -> ShareEstimate:
    """Put the interval around the centre, which may lie outside of the simplex, and cut it to what a share can be.

    Each part of the error has its own quantile, and they are added in squares. That of the labels is the same at every look, so that
    looking often does not widen it.
    """
    k = len(found.shares)
    of_sampling = bonferroni_z(alpha, k, looks) * found.sampling_errors
    half = np.hypot(of_sampling, bonferroni_t(alpha, k, found.degrees) * found.label_errors)
    return ShareEstimate(
        name="corrected",
        shares=found.shares,
        standard_errors=np.hypot(found.sampling_errors, found.label_errors),
        sampling_errors=found.sampling_errors,
        lower=np.clip(np.minimum(found.centre - half, found.shares), 0.0, 1.0),
        upper=np.clip(np.maximum(found.centre + half, found.shares), 0.0, 1.0),
        covers="sampling and labels",
    )


def _allowing_for_labels(estimate: ShareEstimate, corrected: ShareEstimate) -> ShareEstimate:
    """Widen an interval of sampling to hold the corrected estimate's too."""
    from_truth = np.hypot(estimate.shares - corrected.shares, corrected.standard_errors)
    return ShareEstimate(
        name=estimate.name,
        shares=estimate.shares,
        standard_errors=np.maximum(estimate.sampling_errors, from_truth),
        sampling_errors=estimate.sampling_errors,
        lower=np.minimum(estimate.lower, corrected.lower),
        upper=np.maximum(estimate.upper, corrected.upper),
        covers="sampling and labels",
    )
