"""Mixture weights that need no training signal, the guards put on any weights, and conversions between units.

A weight vector is (k,) float64 in the order of the taxonomy, non-negative, and sums to one. Unless a function says
otherwise a weight is a share of rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from versatune.mixing.arrays import BoolArray, FloatArray, Floats, nonnegative_vector
from versatune.schemas.errors import ConfigError, DataError, nearest

SUM_TOLERANCE = 1e-6
EMPTY_POLICIES = ("error", "drop", "general")


def normalize(values: Floats) -> FloatArray:
    """Scale non-negative numbers (k,) so that they sum to one."""
    array = nonnegative_vector(values, "weights")
    total = float(array.sum())
    if not 0.0 < total < float("inf"):
        raise ConfigError(
            f"the weights sum to {total}; expected a positive finite sum, so give a domain a positive weight"
        )
    return array / total


def explicit(weights: Floats) -> FloatArray:
    """Weights as a user gave them: checked, and freed of the rounding that a written sum of one leaves."""
    array = nonnegative_vector(weights, "weights")
    total = float(array.sum())
    if abs(total - 1.0) > SUM_TOLERANCE:
        raise ConfigError(
            f"the weights sum to {total:.9g}; expected 1 within {SUM_TOLERANCE:g}; "
            f"divide each by {total:.9g} or correct them"
        )
    return array / total


def versatune_constant(prior: Floats) -> FloatArray:
    """The base model's own domain distribution, ``w = P`` (arXiv 2411.11266, knowledge consistency)."""
    return explicit(prior)


def uniform(active: Sequence[bool] | BoolArray) -> FloatArray:
    """``1 / |A|`` for each active domain, zero for the others. active: (k,) bool."""
    return normalize(np.asarray(active, dtype=bool).astype(np.float64))


def proportional(rows: Floats) -> FloatArray:
    """``n_j / sum n``: the shares the rows have anyway. rows: (k,) counts."""
    return normalize(rows)


def exclude_inactive(weights: FloatArray, active: BoolArray) -> FloatArray:
    """Zero for inactive domains, the rest renormalised; returned untouched when they already are zero."""
    if not weights[~active].any():
        return weights
    kept = np.where(active, weights, 0.0)
    if not kept.any():
        raise ConfigError("every domain with a positive weight is inactive; give an active domain a positive weight")
    return normalize(kept)


def step_limit(proposed: Floats, previous: Floats, rho: float) -> FloatArray:
    """Keep each ``w_j / w_j(previous)`` within [1/rho, rho], then renormalise (the bound is then approximate).

    A domain that had weight zero has no ratio and is left alone.
    """
    if not 1.0 <= rho < float("inf"):
        raise ConfigError(f"step limit rho is {rho}; expected a number of at least 1, such as 2")
    new, old = (nonnegative_vector(proposed, "proposed weights"), nonnegative_vector(previous, "previous weights"))
    return normalize(np.where(old > 0.0, np.clip(new, old / rho, old * rho), new))


def floor(weights: Floats, minimum: float, active: Sequence[bool] | BoolArray | None = None) -> FloatArray:
    """Give each active domain at least ``minimum``: ``w <- (1 - f |A|) w + f`` with f = minimum.

    weights: (k,), zero where inactive. active: (k,) bool, all by default. Inactive domains keep exactly zero.
    """
    array = nonnegative_vector(weights, "weights")
    mask = np.ones(len(array), dtype=bool) if active is None else np.asarray(active, dtype=bool)
    mass = minimum * int(mask.sum())
    if not 0.0 <= mass < 1.0:
        raise ConfigError(
            f"a floor of {minimum} for {int(mask.sum())} active domains takes {mass:g} of the mixture; "
            "expected less than 1, so lower the floor"
        )
    return np.where(mask, (1.0 - mass) * array + minimum, 0.0)


def row_to_token_weights(row_weights: Floats, mean_tokens: Floats) -> FloatArray:
    """Shares of tokens that shares of rows turn into: proportional to ``w_j m_j``, m_j the mean tokens per row."""
    rows, lengths = (
        nonnegative_vector(row_weights, "row weights"),
        nonnegative_vector(mean_tokens, "mean tokens per row"),
    )
    return normalize(rows * lengths)


def token_to_row_weights(token_weights: Floats, mean_tokens: Floats) -> FloatArray:
    """Shares of rows that give the wanted shares of tokens: proportional to ``w_j / m_j``."""
    tokens = nonnegative_vector(token_weights, "token weights")
    lengths = nonnegative_vector(mean_tokens, "mean tokens per row")
    wanted = tokens > 0.0
    if (lengths[wanted] == 0.0).any():
        index = int(np.argmax(wanted & (lengths == 0.0)))
        raise DataError(
            f"domain {index} has token weight {tokens[index]} but its rows have no tokens; set its weight to zero"
        )
    return normalize(np.divide(tokens, lengths, out=np.zeros_like(tokens), where=wanted))


def drop_empty_domains(
    weights: Floats, rows: Floats, names: Sequence[str], policy: str = "error"
) -> tuple[FloatArray, float]:
    """Decide what happens to a positive weight on a domain without rows.

    policy: ``error`` refuses; ``drop`` renormalises the rest; ``general`` moves the mass to the domain named general.
    Returns the weights (k,) and the mass that was taken from empty domains.
    """
    if policy not in EMPTY_POLICIES:
        raise ConfigError(f"unknown policy '{policy}' for empty domains{nearest(policy, EMPTY_POLICIES)}")
    wanted = explicit(weights)
    empty = nonnegative_vector(rows, "rows") == 0.0
    lost = wanted * empty
    mass = float(lost.sum())
    if mass == 0.0:
        return wanted, 0.0
    missing = ", ".join(f"'{names[j]}'" for j in np.flatnonzero(lost))
    if policy == "error":
        raise DataError(
            f"no rows for {missing}, which should get {mass:.6g} of the mixture; "
            "add rows, set the weight to zero, or set the policy for empty domains to 'drop' or 'general'"
        )
    kept = wanted - lost
    if policy == "general":
        if "general" not in names or empty[list(names).index("general")]:
            raise DataError(f"no rows for {missing}, and no 'general' domain with rows to take their share; use 'drop'")
        kept[list(names).index("general")] += mass
        return kept, mass
    if not kept.any():
        raise DataError(f"no rows for {missing}, and no other domain has a weight; add rows or change the weights")
    return normalize(kept), mass
