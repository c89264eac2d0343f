"""Domain shares that explain the label probabilities best, by expectation and maximisation (Saerens, Latinne, Decaestecker 2002)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from versatune.mixing.arrays import FloatArray, Floats, nonnegative_vector, probability_rows
from versatune.schemas.errors import DataError

TOLERANCE = 1e-9
MAX_ITERATIONS = 1000


@dataclass(frozen=True, kw_only=True)
class PriorShift:
    """The estimate, a distribution (k,), its standard errors of sampling (k,), and how many iterations it took."""

    shares: FloatArray
    sampling_errors: FloatArray
    iterations: int


def prior_shift_estimate(probabilities: npt.ArrayLike, training_prior: Floats) -> PriorShift:
    """Return the shares under which the mean of the re-weighted probabilities is the shares themselves.

    They maximise the likelihood ``sum_i log sum_j pi_j p_ij / tau_j``, provided that the probabilities are true ones under the
    training prior tau. Iterates until no share changes by 1e-9, at most 1000 times.

    probabilities: (n, k). training_prior: (k,), positive: a domain that has none can never get any.
    """
    ratios = likelihood_ratios(probabilities, training_prior)
    shares, iterations = np.asarray(training_prior, np.float64), 0
    for iterate in iterates(ratios, shares):
        change = float(np.abs(iterate - shares).max())
        shares, iterations = iterate, iterations + 1
        if change < TOLERANCE or iterations == MAX_ITERATIONS:
            break
    return PriorShift(shares=shares, sampling_errors=_sampling_errors(ratios, shares), iterations=iterations)


def likelihood_ratios(probabilities: npt.ArrayLike, training_prior: Floats) -> FloatArray:
    """``p_ij / tau_j``: how much likelier a sample is in domain j than in all training rows. Returns (n, k)."""
    rows, prior = probability_rows(probabilities), nonnegative_vector(training_prior, "training prior")
    if len(prior) != rows.shape[1] or (prior == 0.0).any():
        raise DataError(
            f"the training prior is {prior.tolist()}; expected {rows.shape[1]} positive shares, because a domain without rows in "
            "training can be found in no sample"
        )
    return rows / prior


def iterates(ratios: FloatArray, start: Floats) -> Iterator[FloatArray]:
    """Yield the shares after each iteration: ``pi_j <- mean_i of pi_j r_ij / sum_b pi_b r_ib``. ratios: (n, k) r."""
    shares, columns = np.asarray(start, np.float64), np.ascontiguousarray(ratios.T)
    n = len(ratios)
    while True:
        shares = shares * (columns @ (1.0 / (shares @ columns))) / n
        yield shares


def _sampling_errors(ratios: FloatArray, shares: FloatArray) -> FloatArray:
    """Standard errors from the observed information of the likelihood, along the directions in which shares still sum to one.

    With ``s_i = r_i / (pi . r_i)`` the information of one sample is ``s_i s_i^T``. The mean of s is one in every domain that has a
    share, so the sandwich of a likelihood that is not quite true is the same. At a share of zero this is too wide, not too narrow.
    """
    scores = ratios / (ratios @ shares)[:, None]
    directions = np.linalg.svd(np.ones((1, len(shares))))[2][1:].T
    information = directions.T @ (scores.T @ scores) @ directions
    covariance = directions @ np.linalg.pinv(information, hermitian=True) @ directions.T
    errors: FloatArray = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    return errors
