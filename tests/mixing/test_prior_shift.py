from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from versatune.mixing.prior_shift import prior_shift_estimate
from versatune.schemas.errors import DataError


def posteriors(rng: np.random.Generator, truth: np.ndarray, k: int, sharpness: float = 2.0) -> np.ndarray:
    """True probabilities under a uniform prior of ``k`` bells whose means are ``sharpness`` from the origin."""
    seen = rng.standard_normal((len(truth), k)) + sharpness * np.eye(k)[truth]
    likelihood = np.exp(sharpness * seen)
    return likelihood / likelihood.sum(axis=1, keepdims=True)


def test_true_probabilities_give_the_true_shares() -> None:
    rng = np.random.default_rng(3)
    shares = np.array([0.55, 0.3, 0.1, 0.05])
    found = prior_shift_estimate(posteriors(rng, rng.choice(4, size=20_000, p=shares), 4), np.full(4, 0.25))
    assert found.shares == pytest.approx(shares, abs=0.012)
    assert (np.abs(found.shares - shares) < 4 * found.sampling_errors).all()


def test_sampling_errors_are_those_of_the_bootstrap() -> None:
    rng = np.random.default_rng(4)
    rows = posteriors(rng, rng.choice(4, size=1000, p=[0.5, 0.3, 0.15, 0.05]), 4, sharpness=1.5)
    prior = np.full(4, 0.25)
    again = [prior_shift_estimate(rows[rng.integers(0, 1000, 1000)], prior).shares for _ in range(300)]
    assert prior_shift_estimate(rows, prior).sampling_errors == pytest.approx(np.std(again, axis=0), rel=0.15)


def test_for_certain_labels_the_error_is_that_of_counting() -> None:
    rows = np.eye(3)[np.repeat([0, 1, 2], [50, 30, 20])]
    found = prior_shift_estimate(rows, np.full(3, 1 / 3))
    assert found.shares == pytest.approx([0.5, 0.3, 0.2])
    assert found.sampling_errors == pytest.approx(np.sqrt([0.25 / 100, 0.21 / 100, 0.16 / 100]))


@given(st.permutations(range(4)))
def test_the_order_of_domains_does_not_matter(order: list[int]) -> None:
    rows = np.random.default_rng(5).dirichlet(np.full(4, 0.5), size=60)
    prior = np.array([0.1, 0.2, 0.3, 0.4])
    found, again = prior_shift_estimate(rows, prior), prior_shift_estimate(rows[:, order], prior[order])
    assert again.shares == pytest.approx(found.shares[order], abs=1e-7)
    assert again.sampling_errors == pytest.approx(found.sampling_errors[order], rel=1e-4)


def test_a_domain_without_prior_is_refused() -> None:
    with pytest.raises(DataError, match="positive shares"):
        prior_shift_estimate([[0.5, 0.5]], [1.0, 0.0])
    with pytest.raises(DataError, match="expected 2 positive shares"):
        prior_shift_estimate([[0.5, 0.5]], [0.2, 0.3, 0.5])


def test_a_thousand_iterations_over_40000_samples_take_less_than_a_second_of_the_processor() -> None:
    rows = np.random.default_rng(6).dirichlet(np.full(6, 60.0), size=40_000)
    start = time.process_time()
    found = prior_shift_estimate(rows, np.full(6, 1 / 6))
    assert found.iterations == 1000
    assert time.process_time() - start < 1.0
