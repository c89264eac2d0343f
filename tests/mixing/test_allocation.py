from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from versatune.mixing.allocation import allocate_capped, largest_remainder, row_caps
from versatune.schemas.errors import ConfigError

weights_ = st.lists(st.floats(0.0, 1.0, allow_subnormal=False), min_size=1, max_size=8).filter(lambda w: sum(w) > 1e-6)


def nothing_ties(weights: list[float], budget: int) -> bool:
    fractions = np.array(weights) / np.sum(weights) * budget % 1.0
    return len(weights) < 2 or bool(np.diff(np.sort(fractions)).min() > 1e-6)


def test_counts_sum_to_the_budget_for_a_thousand_random_mixtures() -> None:
    rng = np.random.default_rng(0)
    for weights in rng.dirichlet(np.full(6, 0.3), size=1000):
        assert largest_remainder(weights, 60_000).sum() == 60_000


@given(weights=weights_, budget=st.integers(0, 200_000))
def test_every_count_is_within_one_row_of_its_quota(weights: list[float], budget: int) -> None:
    counts = largest_remainder(weights, budget)
    quotas = np.array(weights) / np.sum(weights) * budget
    assert counts.sum() == budget
    assert (np.abs(counts - quotas) < 1.0 + 1e-9).all()
    assert (counts >= 0).all()


@given(data=st.data(), weights=weights_, budget=st.integers(0, 5_000))
def test_caps_hold_and_the_shortfall_is_what_they_leave(data: st.DataObject, weights: list[float], budget: int) -> None:
    caps = np.array(data.draw(st.lists(st.integers(0, 2_000), min_size=len(weights), max_size=len(weights))))
    counts, shortfall = allocate_capped(weights, budget, caps)
    assert (counts <= caps).all()
    assert counts.sum() + shortfall == budget
    room = caps[np.array(weights) > 0.0].sum()
    assert shortfall == max(0, budget - room)


@given(weights=weights_, budget=st.integers(0, 5_000))
def test_caps_that_do_not_bind_change_nothing_where_nothing_ties(weights: list[float], budget: int) -> None:
    assume(nothing_ties(weights, budget))  # weights are rescaled twice under caps, which can tip a tie
    assert allocate_capped(weights, budget, [budget] * len(weights)).counts.tolist() == (
        largest_remainder(weights, budget).tolist()
    )


def test_a_domain_of_weight_zero_gets_nothing_even_when_the_others_are_used_up() -> None:
    counts, shortfall = allocate_capped([1.0, 0.0], 10, [4, 100])
    assert (counts.tolist(), shortfall) == ([4, 0], 6)


@given(budget=st.integers(1, 10_000), weights=weights_)
def test_order_of_domains_does_not_matter_where_nothing_ties(budget: int, weights: list[float]) -> None:
    assume(nothing_ties(weights, budget))
    forward = largest_remainder(weights, budget)
    assert largest_remainder(weights[::-1], budget).tolist() == forward[::-1].tolist()


def test_fractional_passes_round_down_but_not_through_binary_noise() -> None:
    assert row_caps([100, 10, 0], 0.29).tolist() == [29, 2, 0]


def test_impossible_requests_name_the_value() -> None:
    with pytest.raises(ConfigError, match="max_passes is 0"):
        row_caps([1], 0)
    with pytest.raises(ConfigError, match="budget is -1"):
        largest_remainder([1.0], -1)
    with pytest.raises(ConfigError, match="1 row caps for 2 weights"):
        allocate_capped([0.5, 0.5], 10, [1])
