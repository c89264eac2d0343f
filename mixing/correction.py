"""Domain shares freed of the labeller's known confusion (adjusted classify-and-count: Forman 2008, Bella et al. 2010).

Of a domain's texts the labeller gives each domain a known mean, so the plain estimate is not ``pi`` but ``M pi``; this solves for
``pi``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from versatune.mixing.arrays import FloatArray, Floats, IntArray, nonnegative_vector
from versatune.mixing.estimators import hard_counts
from versatune.mixing.label_errors import LabelErrors, Rates
from versatune.mixing.rate_covariances import moderated_covariances
from versatune.schemas.errors import DataError

MIN_SINGULAR_VALUE = 0.2
MIN_CALIBRATION_ROWS = 50
_MIN_SOURCES = 2
_ZERO = 1e-12


@dataclass(frozen=True, kw_only=True)
class Corrected:
    """A corrected estimate; vectors are (k,).

    Attributes:
        shares: the estimate, a distribution.
        centre: the whole correction without the bounds of the simplex, where intervals are centred; it may be below zero or above one.
        sampling_errors: standard errors of sampling; more samples make these smaller.
        label_errors: standard errors that come from the confusion rates; more sources make these smaller.
        degrees: degrees of freedom of ``label_errors``.
    """

    shares: FloatArray
    centre: FloatArray
    sampling_errors: FloatArray
    label_errors: FloatArray
    degrees: FloatArray


def corrected_estimate(probabilities: npt.ArrayLike, errors: LabelErrors) -> Corrected:
    """Correct the hard estimate for the labeller's hard confusion, as far as that is known. probabilities: (n, k). Ask :func:`refusal` first.

    Why not the soft one: its confusion rates vary more between sources, and they are nearer to one another, so that its error
    comes out a tenth larger, in simulations and with the rates of the bundled classifier, unless the probe is small (some hundred
    samples).
    """
    counts = hard_counts(probabilities)
    n, k = int(counts.sum()), len(counts)
    if len(errors.rows) != k:
        raise DataError(f"the labels are of {k} domains, what is known of their errors of {len(errors.rows)}")
    observed = counts / n
    centre = np.linalg.solve(errors.hard.matrix, observed).astype(np.float64)
    solved = solve_on_simplex(errors.hard.matrix, observed)
    # Two more samples of each domain (Agresti and Coull 1998): a domain that was not drawn is not certainly absent.
    seen = (counts + 2.0) / (n + 2.0 * k)
    rates = Rates(
        matrix=errors.hard.matrix,
        covariances=moderated_covariances(errors.hard.matrix, errors.hard.covariances, errors.sources),
    )
    of_probe, of_labels = correction_covariances(solved, rates, (np.diag(seen) - np.outer(seen, seen)) / n)
    labels = np.diagonal(of_labels, axis1=1, axis2=2)
    return Corrected(
        shares=shrink(solved, towards=observed, variance=float(labels.sum())),
        centre=centre,
        sampling_errors=np.sqrt(np.diagonal(of_probe)),
        label_errors=np.sqrt(labels.sum(axis=0)),
        degrees=_degrees(labels, errors.sources - 1),
    )


def shrink(corrected: FloatArray, *, towards: FloatArray, variance: float) -> FloatArray:
    """Go from the uncorrected shares towards the corrected ones by ``d^2 / (d^2 + V)`` of the way, d their distance.

    A correction that moves the shares by no more than its own rates are uncertain is as likely to overshoot as to help; one that moves
    them by far more is made in full, and so is every correction once its rates are known (ridge shrinkage, as in Hoerl and Kennard 1970).

    Args:
        corrected: (k,) solved shares, a distribution.
        towards: (k,) observed shares, a distribution.
        variance: V, the summed variance that the solved shares have from the rates.

    Returns:
        (k,), a distribution between the two.
    """
    step = corrected - towards
    squared = float(step @ step)
    return towards + step * (squared / (squared + variance) if squared > 0.0 else 0.0)


def refusal(errors: LabelErrors) -> str | None:
    """Say why the correction cannot be relied on: what was found, what is needed, what to do; None where it can."""
    fewest = int(np.argmin(errors.rows))
    if errors.rows[fewest] < MIN_CALIBRATION_ROWS:
        return (
            f"the classifier was measured on {errors.rows[fewest]} rows of {errors.names[fewest]} that it had not learned from; "
            f"a correction needs {MIN_CALIBRATION_ROWS} of each domain, so train it with more labelled rows of {errors.names[fewest]}"
        )
    fewest = int(np.argmin(errors.sources))
    if errors.sources[fewest] < _MIN_SOURCES:
        return (
            f"the classifier's errors on {errors.names[fewest]} were measured on one source, which does not tell how sources differ; "
            f"a correction needs {_MIN_SOURCES} of each domain, so train it with labelled rows of another source"
        )
    smallest = float(np.linalg.svd(errors.hard.matrix, compute_uv=False)[-1])
    if smallest < MIN_SINGULAR_VALUE:
        return (
            f"the classifier confuses the domains too much (smallest singular value of its confusion rates {smallest:.2f}); "
            f"a correction needs {MIN_SINGULAR_VALUE}, so train a better classifier or merge the domains that it mixes up"
        )
    return None


def solve_on_simplex(matrix: npt.ArrayLike, observed: Floats) -> FloatArray:
    """Return the x of ``argmin ||M x - q||^2`` with ``x >= 0, sum(x) = 1``, exactly (up to rounding).

    matrix: (k, k), of full rank. observed: (k,) q. An active-set method (Lawson and Hanson 1974): it keeps the set of positive
    entries, drops those that would turn negative and adds the one whose growth lowers the residual fastest, until none does.
    """
    m, q = np.asarray(matrix, np.float64), nonnegative_vector(observed, "observed shares")
    k = len(q)
    x = np.zeros(k)
    x[np.argmin(((m - q[:, None]) ** 2).sum(axis=0))] = 1.0
    inside = x > 0.0
    for _ in range(10 * k):
        x, inside = _descend(m, q, x, inside)
        gradient = m.T @ (m @ x - q)
        gain = float(x @ gradient) - gradient
        gain[inside] = 0.0
        best = int(np.argmax(gain))
        if gain[best] <= _ZERO:
            break
        inside[best] = True
    shares: FloatArray = x / x.sum()
    return shares


def _descend(
    m: FloatArray, q: FloatArray, x: FloatArray, inside: npt.NDArray[np.bool_]
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Go to the best x whose positive entries are inside, or as far as it is non-negative, dropping what reaches zero."""
    inside = inside.copy()
    while True:
        goal = np.zeros_like(x)
        goal[inside] = _sum_to_one(m[:, inside], q)
        falling = inside & (goal <= _ZERO)
        if not falling.any():
            return goal, inside
        ratios = np.full_like(x, np.inf)
        ratios[falling] = x[falling] / np.maximum(x[falling] - goal[falling], _ZERO)
        leaving = int(np.argmin(ratios))
        x = np.maximum(x + min(ratios[leaving], 1.0) * (goal - x), 0.0)
        x[leaving] = 0.0
        inside[leaving] = False


def _sum_to_one(m: FloatArray, q: FloatArray) -> FloatArray:
    """Solve ``min ||m x - q||^2, sum(x) = 1``, x otherwise free."""
    size = m.shape[1]
    system = np.block([[m.T @ m, np.ones((size, 1))], [np.ones((1, size)), np.zeros((1, 1))]])
    solution: FloatArray = np.linalg.solve(system, np.append(m.T @ q, 1.0))[:size]
    return solution


def correction_covariances(shares: Floats, rates: Rates, sampling: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Covariance of the corrected shares by the delta method: ``M^-1 [S + sum_b pi_b^2 Cov_b] M^-T``, term by term.

    shares: (k,) pi. sampling: (k, k), S, the covariance of the plain estimate. Returns what sampling adds, (k, k), and what each
    column of the confusion rates adds, (k, k, k); the latter do not shrink with the number of samples.
    """
    pi = np.asarray(shares, np.float64)
    inverse = np.linalg.inv(rates.matrix)
    of_probe: FloatArray = inverse @ np.asarray(sampling, np.float64) @ inverse.T
    of_labels: FloatArray = pi[:, None, None] ** 2 * (inverse @ rates.covariances @ inverse.T)
    return of_probe, of_labels


def _degrees(variances: FloatArray, degrees: IntArray) -> FloatArray:
    """Degrees of freedom of sums of estimated variances (Welch and Satterthwaite). variances: (k, k), sums over the first axis.

    What a moderated variance borrows from other domains adds no degrees of freedom, to be on the safe side.
    """
    total, spread = variances.sum(axis=0), (variances**2 / degrees[:, None]).sum(axis=0)
    found: FloatArray = np.divide(total**2, spread, out=np.full_like(total, np.inf), where=spread > 0.0)
    return found
