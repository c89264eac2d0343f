from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from versatune.mixing.correction import corrected_estimate, refusal, shrink, solve_on_simplex
from versatune.mixing.label_errors import LabelErrors
from versatune.schemas.errors import DataError


def by_enumeration(matrix: Any, q: Any) -> Any:
    """Every set of positive entries in turn: slow, and without doubt."""
    k, best = len(q), (np.inf, None)
    for size in range(1, k + 1):
        for chosen in combinations(range(k), size):
            m = matrix[:, chosen]
            system = np.block([[m.T @ m, np.ones((size, 1))], [np.ones((1, size)), np.zeros((1, 1))]])
            x = np.zeros(k)
            x[list(chosen)] = np.linalg.solve(system, np.append(m.T @ q, 1.0))[:size]
            residual = ((matrix @ x - q) ** 2).sum()
            if (x >= -1e-12).all() and residual < best[0] - 1e-15:
                best = (residual, x)
    return best[1]


def problem(seed: int, k: int, own: float) -> tuple[Any, Any]:
    """A confusion matrix and shares that it often cannot have given; ``own`` pulls it towards no confusion."""
    rng = np.random.default_rng(seed)
    matrix = (1.0 - own) * rng.dirichlet(np.full(k, 0.5), size=k).T + own * np.eye(k)
    return matrix, rng.dirichlet(np.full(k, 0.3))


@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from([0.1, 0.5, 0.9, 1.0]))
def test_active_set_finds_what_enumeration_finds(seed: int, k: int, own: float) -> None:
    matrix, q = problem(seed, k, own)
    found, true = solve_on_simplex(matrix, q), by_enumeration(matrix, q)
    assert (found >= 0.0).all()
    assert found.sum() == pytest.approx(1.0, abs=1e-12)
    residual, least = (((matrix @ x - q) ** 2).sum() for x in (found, true))
    assert residual <= least + 1e-10
    if np.linalg.svd(matrix, compute_uv=False)[-1] > 0.1:
        assert found == pytest.approx(true, abs=1e-6)


@given(st.integers(0, 10**6), st.integers(9, 30))
def test_with_many_domains_no_move_within_the_simplex_is_better(seed: int, k: int) -> None:
    matrix, q = problem(seed, k, 0.6)
    x = solve_on_simplex(matrix, q)
    gradient = matrix.T @ (matrix @ x - q)
    assert gradient.min() >= x @ gradient - 1e-9


@given(st.integers(0, 10**6), st.integers(2, 10))
def test_shares_that_the_confusion_made_are_recovered(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    matrix, _ = problem(seed, k, 0.6)
    truth = rng.dirichlet(np.ones(k))
    assert solve_on_simplex(matrix, matrix @ truth) == pytest.approx(truth, abs=1e-9)


def test_with_rates_that_are_known_it_is_plain_inversion_and_the_centre_is_the_estimate() -> None:
    errors = LabelErrors.from_counts(np.array([[90, 20, 10], [5, 70, 10], [5, 10, 80]]) * 10**9)
    rows = np.eye(3)[np.repeat([0, 1, 2], [60, 50, 40])]
    found = corrected_estimate(rows, errors)
    inverted = np.linalg.solve(errors.hard.matrix, rows.mean(axis=0))
    assert (inverted > 0.0).all()
    assert found.shares == pytest.approx(inverted, abs=1e-6)
    assert found.centre == pytest.approx(inverted)


def test_with_rates_that_are_hardly_known_it_stays_nearer_to_what_was_observed() -> None:
    rows = np.eye(3)[np.repeat([0, 1, 2], [60, 50, 40])]
    table = np.array([[90, 20, 10], [5, 70, 10], [5, 10, 80]])
    observed = rows.mean(axis=0)
    steps = [
        np.abs(corrected_estimate(rows, LabelErrors.from_counts(table * n)).shares - observed).sum()
        for n in (1, 10, 1000)
    ]
    assert 0.0 < steps[0] < steps[1] < steps[2]


def test_a_correction_as_large_as_its_uncertainty_is_made_by_half() -> None:
    solved, observed = np.array([0.6, 0.4]), np.array([0.4, 0.6])
    assert shrink(solved, towards=observed, variance=0.08) == pytest.approx([0.5, 0.5])
    assert shrink(solved, towards=observed, variance=0.0) == pytest.approx(solved)
    assert shrink(observed, towards=observed, variance=0.0) == pytest.approx(observed)


def test_outside_of_the_simplex_the_centre_stays_where_inversion_puts_it() -> None:
    errors = LabelErrors.from_counts([[70, 20, 10], [20, 70, 10], [10, 10, 80]])
    found = corrected_estimate(np.eye(3)[[0] * 99 + [2]], errors)
    assert found.shares[1] == 0.0
    assert found.centre[1] < 0.0
    assert found.centre.sum() == pytest.approx(1.0)


def test_more_samples_shrink_the_error_of_sampling_only() -> None:
    errors = LabelErrors.from_counts([[90, 20], [10, 80]])
    few, many = (corrected_estimate(np.eye(2)[[0, 1] * n], errors) for n in (500, 50_000))
    assert many.sampling_errors == pytest.approx(few.sampling_errors / 10, rel=0.01)
    assert many.label_errors == pytest.approx(few.label_errors, rel=0.01)


def test_a_domain_that_was_not_drawn_is_not_certainly_absent() -> None:
    errors = LabelErrors.from_counts(np.eye(3) * 1_000_000)
    found = corrected_estimate(np.eye(3)[[0] * 100 + [1] * 100], errors)
    assert found.shares[2] == pytest.approx(0.0, abs=1e-5)
    assert found.sampling_errors[2] > 0.005


def test_errors_of_other_domains_are_refused() -> None:
    with pytest.raises(DataError, match="of 2 domains, what is known of their errors of 3"):
        corrected_estimate([[1.0, 0.0]], LabelErrors.from_counts(np.eye(3) * 100))


def test_too_few_rows_are_a_reason_that_names_the_domain() -> None:
    reason = refusal(LabelErrors.from_counts([[90, 2], [10, 47]], names=("law", "code")))
    assert reason is not None
    assert "49 rows of code" in reason
    assert "50 of each domain" in reason


def test_one_source_is_a_reason() -> None:
    rates = {"rates": [[0.9, 0.2], [0.1, 0.8]], "covariances": np.zeros((2, 2, 2)).tolist()}
    value = {"rows": [60, 70], "sources": [2, 1], "hard": rates, "soft": rates}
    reason = refusal(LabelErrors.from_json(value, names=("law", "code")))
    assert reason is not None
    assert "code were measured on one source" in reason
    assert refusal(LabelErrors.from_json({**value, "sources": [2, 2]})) is None


def test_much_confusion_is_a_reason() -> None:
    reason = refusal(LabelErrors.from_counts([[55, 45], [45, 55]]))
    assert reason is not None
    assert "smallest singular value of its confusion rates 0.10" in reason
    assert refusal(LabelErrors.from_counts([[70, 30], [30, 70]])) is None
