from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from versatune.mixing.compare import total_variation
from versatune.mixing.weights import (
    drop_empty_domains,
    explicit,
    floor,
    normalize,
    proportional,
    row_to_token_weights,
    step_limit,
    token_to_row_weights,
    uniform,
)
from versatune.schemas.errors import ConfigError, DataError

NAMES = ("law", "code", "general")
simplex = st.lists(st.floats(0.01, 1.0), min_size=2, max_size=8).map(normalize)


def test_rounded_weights_are_accepted_and_made_exact() -> None:
    assert explicit([0.3333333, 0.3333333, 0.3333334]).sum() == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([0.5, 0.4], r"sum to 0.9; expected 1 within 1e-06; divide each by 0.9"),
        ([1.5, -0.5], r"weights\[1\] is -0.5"),
        ([float("nan"), 1.0], r"weights\[0\] is nan"),
        ([float("inf"), 1.0], r"weights\[0\] is inf"),
        ([], "expected one number per domain"),
    ],
)
def test_unusable_weights_are_refused_by_value(weights: list[float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        explicit(weights)


def test_weights_that_are_all_zero_are_refused() -> None:
    for make in (normalize, proportional):
        with pytest.raises(ConfigError, match="sum to 0"):
            make([0.0, 0.0])
    with pytest.raises(ConfigError, match="sum to 0"):
        uniform([False, False])


@given(weights=simplex, minimum=st.floats(0.0, 0.12))
def test_floor_keeps_the_simplex_and_holds(weights: np.ndarray, minimum: float) -> None:
    out = floor(weights, minimum)
    assert abs(out.sum() - 1.0) < 1e-12
    assert (out >= minimum).all()


def test_floor_leaves_inactive_domains_at_exactly_zero_and_refuses_too_much() -> None:
    assert floor([0.5, 0.0, 0.5], 0.1, [True, False, True]).tolist() == [0.5, 0.0, 0.5]
    with pytest.raises(ConfigError, match=r"a floor of 0.5 for 2 active domains takes 1"):
        floor([0.5, 0.5], 0.5)


def test_step_limit_leaves_small_steps_alone_and_lets_a_domain_start_from_zero() -> None:
    assert step_limit([0.5, 0.5], [0.4, 0.6], 2.0).tolist() == [0.5, 0.5]
    assert step_limit([0.2, 0.8], [0.0, 1.0], 2.0).tolist() == [0.2, 0.8]
    with pytest.raises(ConfigError, match=r"rho is 0\.5"):
        step_limit([1.0], [1.0], 0.5)


@given(weights=simplex, data=st.data())
def test_row_and_token_weights_are_inverse(weights: np.ndarray, data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.floats(1.0, 5000.0), min_size=len(weights), max_size=len(weights)))
    back = token_to_row_weights(row_to_token_weights(weights, lengths), lengths)
    assert np.allclose(back, weights, atol=1e-12)


def test_token_weight_on_rows_without_tokens_is_refused() -> None:
    assert token_to_row_weights([1.0, 0.0], [10.0, 0.0]).tolist() == [1.0, 0.0]
    with pytest.raises(DataError, match=r"domain 1 has token weight 0\.5"):
        token_to_row_weights([0.5, 0.5], [10.0, 0.0])


def test_empty_domains_are_refused_dropped_or_moved_to_general() -> None:
    weights, rows = [0.5, 0.25, 0.25], [0, 10, 10]
    with pytest.raises(DataError, match=r"no rows for 'law', which should get 0.5"):
        drop_empty_domains(weights, rows, NAMES)
    dropped, mass = drop_empty_domains(weights, rows, NAMES, "drop")
    assert (dropped.tolist(), mass) == ([0.0, 0.5, 0.5], 0.5)
    moved, mass = drop_empty_domains(weights, rows, NAMES, "general")
    assert (moved.tolist(), mass) == ([0.0, 0.25, 0.75], 0.5)
    assert drop_empty_domains([0.0, 0.5, 0.5], rows, NAMES)[1] == 0.0


def test_empty_domains_that_cannot_be_helped_are_refused() -> None:
    with pytest.raises(DataError, match="no 'general' domain with rows"):
        drop_empty_domains([0.5, 0.5, 0.0], [0, 10, 0], NAMES, "general")
    with pytest.raises(DataError, match="no other domain has a weight"):
        drop_empty_domains([1.0, 0.0, 0.0], [0, 10, 10], NAMES, "drop")
    with pytest.raises(ConfigError, match="did you mean 'drop'"):
        drop_empty_domains([1.0, 0.0, 0.0], [1, 1, 1], NAMES, "dropp")


@given(a=simplex)
def test_total_variation_is_zero_for_equals_and_at_most_one(a: np.ndarray) -> None:
    assert total_variation(a, a) == 0.0
    assert total_variation(a, a[::-1]) <= 1.0
    with pytest.raises(ConfigError, match="cannot be compared"):
        total_variation(a, [*a, 0.0])
