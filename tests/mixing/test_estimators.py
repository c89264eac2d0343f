from __future__ import annotations

import numpy as np
import pytest

from versatune.mixing.estimators import hard_counts, soft_estimate, unlabelled_bounds
from versatune.mixing.intervals import bonferroni_z, sample_size, soft_intervals, soft_standard_errors, wilson_intervals
from versatune.schemas.errors import ConfigError, DataError


def test_ties_go_to_the_lower_domain() -> None:
    assert hard_counts([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4]]).tolist() == [1, 1, 0]


def test_float32_probabilities_are_averaged_in_float64() -> None:
    shares = soft_estimate(np.full((1_000, 3), 1 / 3, dtype=np.float32))
    assert shares.dtype == np.float64
    assert shares.sum() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("rows", [[[0.5, 0.6]], [[1.5, -0.5]], [[float("nan"), 1.0]]])
def test_rows_that_are_no_distribution_are_refused_by_number(rows: list[list[float]]) -> None:
    with pytest.raises(DataError, match="probability row 1 "):
        soft_estimate([[0.5, 0.5], *rows])


def test_no_samples_are_refused() -> None:
    with pytest.raises(DataError, match=r"shape \(0, 3\)"):
        soft_estimate(np.empty((0, 3)))
    with pytest.raises(DataError, match="one sample"):
        soft_standard_errors([[0.5, 0.5]])


def test_more_labels_than_generations_are_refused() -> None:
    with pytest.raises(DataError, match="10 samples were generated but 11 are labelled"):
        unlabelled_bounds([5, 6], 10)


def test_intervals_stay_within_zero_and_one_and_contain_the_estimate() -> None:
    rows = np.array([[0.999, 0.001], [0.99, 0.01], [0.5, 0.5]])
    lower, upper = soft_intervals(rows, 2.64)
    assert (lower >= 0).all()
    assert (upper <= 1).all()
    assert ((lower <= rows.mean(axis=0)) & (rows.mean(axis=0) <= upper)).all()
    assert wilson_intervals([0, 10], 10, 1.96)[0][0] == 0.0
    assert wilson_intervals([0, 10], 10, 1.96)[1][1] == 1.0


def test_simultaneous_intervals_cover_all_domains_at_the_promised_rate() -> None:
    rng = np.random.default_rng(11)
    alpha = (1.0, 2.0, 1.5, 1.0, 3.0, 8.0)
    truth = np.array(alpha) / sum(alpha)
    z, hits = bonferroni_z(0.05, 6), 0
    for _ in range(400):
        lower, upper = soft_intervals(rng.dirichlet(alpha, size=300), z)
        hits += bool(((lower <= truth) & (truth <= upper)).all())
    assert hits / 400 >= 0.93


def test_tiny_alphas_keep_their_digits() -> None:
    assert bonferroni_z(1e-18, 6) > bonferroni_z(1e-15, 6) > 8.0


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"alpha=1\.5"):
        bonferroni_z(1.5, 6)
    with pytest.raises(ConfigError, match="half_width=0"):
        sample_size(0.0, 1.96)
    with pytest.raises(DataError, match="count of 11 out of 10"):
        wilson_intervals([11], 10, 1.96)
