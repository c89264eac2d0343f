"""When a probe that goes on round by round has drawn enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from versatune.mixing.arrays import FloatArray, Floats, nonnegative_vector
from versatune.mixing.intervals import bonferroni_z, sample_size
from versatune.schemas.errors import ConfigError
from versatune.schemas.probe import Rounds


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What one look says.

    Attributes:
        half_widths: (k,) of sampling alone, for all domains and planned looks at once.
        change: largest change of a share since the look before; None at the first.
        stop: whether the estimate is precise and stable enough.
    """

    half_widths: FloatArray
    change: float | None
    stop: bool


def decide(
    shares: Floats,
    sampling_errors: Floats,
    *,
    previous: Floats | None,
    number: int,
    plan: Rounds,
    alpha: float,
) -> Decision:
    """Stop once every half-width is at most ``plan.half_width`` and no share moves by more than ``plan.max_change``.

    That two estimates agree says nothing of how far both are from the truth, hence the half-width; that it is narrow says nothing
    of drift, hence the change. The half-width is that of sampling: more samples cannot make the classifier's errors smaller. alpha
    is split over domains and the looks that were planned, so looking does not spoil the intervals; more looks than planned would.

    Args:
        shares: (k,) after this round.
        sampling_errors: (k,) their standard errors of sampling.
        previous: (k,) after the round before; None at the first look.
        number: of the round, from 1.
        plan: fixed before the first sample.
    """
    if not 1 <= number <= plan.max_rounds:
        raise ConfigError(f"round {number} was not planned; expected 1 to {plan.max_rounds}")
    now = nonnegative_vector(shares, "shares")
    half_widths = bonferroni_z(alpha, len(now), plan.planned_looks) * nonnegative_vector(
        sampling_errors, "sampling errors"
    )
    change = None if previous is None else float(np.abs(now - nonnegative_vector(previous, "shares")).max())
    precise = plan.half_width is not None and bool(half_widths.max() <= plan.half_width)
    stable = change is not None and change <= plan.max_change
    return Decision(half_widths=half_widths, change=change, stop=number >= plan.min_rounds and precise and stable)


def samples_that_suffice(half_width: float, *, k: int, max_rounds: int, alpha: float) -> int:
    """Samples after which no domain's half-width can exceed this, whatever the shares: that of the hard estimate, and of the soft
    one, whose labels vary less.
    """
    return sample_size(half_width, bonferroni_z(alpha, k, max_rounds))
