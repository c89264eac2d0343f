"""The two signals of arXiv 2411.11266, phase 2, and the noise they must be read against.

Losses are held-out means in one shared unit (nats per token, or nats per byte across tokenizers); both signals are
ratios and do not depend on the unit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from versatune.mixing.arrays import BoolArray, FloatArray, Floats
from versatune.schemas.errors import DataError

UNINFORMATIVE_SPREAD = 0.02


class PairedChange(NamedTuple):
    """Token-weighted mean change of a loss over the same rows (nats per token), its standard error, and mean / se."""

    mean: float
    se: float
    z: float


def learnable_potential(loss: Floats, reference: Floats) -> FloatArray:
    """How much of its loss a domain can still lose: ``gamma_j = max((l_j - r_j) / l_j, 0)``, in [0, 1].

    loss, reference: (k,). A loss that is zero, or not a number because the domain is not evaluated, gives zero.
    """
    loss_, reference_ = (np.asarray(loss, dtype=np.float64), np.asarray(reference, dtype=np.float64))
    return _relative_excess(loss_ - reference_, loss_)


def forgetting_degree(
    loss: Floats, previous: Floats, *, change_z: Floats | None = None, min_z: float = 0.0
) -> FloatArray:
    """How much worse a domain got since the last checkpoint: ``phi_j = max((l_j(t) - l_j(t-1)) / l_j(t-1), 0)``.

    loss, previous: (k,). With min_z > 0 a rise counts only where change_z (k,), the mean / standard error of the paired
    change, exceeds it; zero is the paper's rule. A previous loss of zero gives zero.
    """
    loss_, previous_ = (np.asarray(loss, dtype=np.float64), np.asarray(previous, dtype=np.float64))
    phi = _relative_excess(loss_ - previous_, previous_)
    if min_z > 0.0:
        if change_z is None:
            raise DataError(f"min_z is {min_z} but no change_z was given; pass the paired change of every domain")
        phi = np.where(np.asarray(change_z, dtype=np.float64) > min_z, phi, 0.0)
    return phi


def _relative_excess(excess: FloatArray, base: FloatArray) -> FloatArray:
    ratio = np.divide(excess, base, out=np.zeros_like(base), where=base > 0.0)
    return np.where(ratio > 0.0, ratio, 0.0)


def uninformative_reference(gamma: Floats, active: BoolArray | None = None) -> bool:
    """Whether the potentials are so alike (spread below 0.02) that the weights cannot move.

    References near zero (memorised data) or above the loss (a weaker model) cause it. gamma: (k,); active: (k,) bool.
    """
    values = np.asarray(gamma, dtype=np.float64)
    values = values if active is None else values[active]
    return len(values) > 1 and bool(values.max() - values.min() < UNINFORMATIVE_SPREAD)


def paired_loss_change(change: Floats, tokens: Floats) -> PairedChange:
    """Mean change of the loss over the same held-out rows, and its standard error (the ratio estimator).

    change: (n,) new minus old mean loss of each row, nats per token. tokens: (n,) loss tokens of each row.
    ``mean = sum(tok d) / sum(tok)``; ``SE^2 = n/(n-1) sum((tok (d - mean))^2) / sum(tok)^2``.
    """
    d, tok = np.asarray(change, dtype=np.float64), np.asarray(tokens, dtype=np.float64)
    if d.shape != tok.shape or d.ndim != 1 or len(d) < 2 or not tok.sum() > 0.0:
        raise DataError(
            f"{d.shape} changes and {tok.shape} token counts; expected two or more rows of each, with tokens"
        )
    n, total = len(d), tok.sum()
    mean = float((tok * d).sum() / total)
    se = float(np.sqrt(n / (n - 1) * ((tok * (d - mean)) ** 2).sum()) / total)
    if se == 0.0:
        return PairedChange(mean, se, float(np.sign(mean) * np.inf) if mean else 0.0)
    return PairedChange(mean, se, mean / se)
