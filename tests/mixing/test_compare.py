from __future__ import annotations

import numpy as np
import pytest

from versatune.mixing.compare import difference_intervals, g_test, rank_order_right
from versatune.mixing.intervals import bonferroni_z, wilson_intervals
from versatune.schemas.errors import ConfigError


def test_the_right_order_is_asked_of_domains_that_differ_by_more_than_the_tolerance() -> None:
    truth = [0.5, 0.3, 0.2]
    assert rank_order_right(truth, [0.4, 0.35, 0.25])
    assert not rank_order_right(truth, [0.4, 0.25, 0.35])
    assert rank_order_right(truth, [0.4, 0.25, 0.35], tolerance=0.11)
    assert not rank_order_right(truth, [0.5, 0.25, 0.25])
    assert rank_order_right([0.5, 0.5], [0.9, 0.1])


def test_differences_of_symmetric_intervals_add_in_squares() -> None:
    lower, upper = difference_intervals([0.5], [0.47], [0.53], [0.3], [0.26], [0.34])
    assert lower == pytest.approx([0.15])
    assert upper == pytest.approx([0.25])
    with pytest.raises(ConfigError, match="2 and 1 domains"):
        difference_intervals([0.5, 0.5], [0.4], [0.6], [0.5, 0.5], [0.4, 0.4], [0.6, 0.6])


def test_differences_hold_together_at_the_promised_rate_also_near_zero() -> None:
    rng = np.random.default_rng(12)
    p, q = np.array([0.005, 0.295, 0.5, 0.2]), np.array([0.0, 0.4, 0.35, 0.25])
    z, hits = bonferroni_z(0.05, 4), 0
    for _ in range(400):
        ends = []
        for shares in (p, q):
            counts = rng.multinomial(800, shares)
            ends += [counts / 800, *wilson_intervals(counts, 800, z)]
        lower, upper = difference_intervals(*ends)
        hits += bool(((lower <= p - q) & (p - q <= upper)).all())
    assert 0.93 <= hits / 400 < 1.0


@pytest.mark.parametrize(("degrees", "critical"), [(1, 3.841459), (2, 5.991465), (3, 7.814728), (6, 12.591587)])
def test_critical_values_are_those_of_the_tables(degrees: int, critical: float) -> None:
    mixture = [1.0 / (degrees + 1)] * (degrees + 1)
    found = g_test([50.0 + j for j in range(degrees + 1)], mixture)
    assert found.degrees == degrees
    assert found.critical == pytest.approx(critical, abs=1e-6)
    assert not found.reject
    assert found.p_value > 0.05


def test_the_p_value_is_even_under_the_mixture() -> None:
    rng = np.random.default_rng(13)
    mixture = [0.1, 0.2, 0.3, 0.4]
    values = np.sort([g_test(rng.multinomial(500, mixture), mixture).p_value for _ in range(500)])
    assert np.abs(values - np.linspace(0.0, 1.0, 500)).max() < 0.07


def test_a_domain_that_the_mixture_lacks_rejects_it() -> None:
    found = g_test([10, 10, 1], [0.5, 0.5, 0.0])
    assert found.reject
    assert found.p_value == 0.0
    assert not g_test([10, 10, 0], [0.5, 0.5, 0.0]).reject


def test_what_is_no_mixture_is_refused() -> None:
    for counts, mixture in (([1, 2], [0.5, 0.6]), ([0, 0], [0.5, 0.5]), ([1, 0], [1.0, 0.0])):
        with pytest.raises(ConfigError, match="shares that sum to one"):
            g_test(counts, mixture)
