from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from versatune.mixing.label_errors import LabelErrors
from versatune.mixing.rate_covariances import moderated_covariances, multinomial_covariances
from versatune.schemas.errors import DataError

RATES = {"rates": [[0.9, 0.2], [0.1, 0.8]], "covariances": [[[0.01, -0.01], [-0.01, 0.01]]] * 2}
VALUE: dict[str, Any] = {"rows": [60, 70], "sources": [3, 7], "hard": RATES, "soft": RATES}


def test_what_a_card_says_is_read() -> None:
    errors = LabelErrors.from_json(VALUE, names=("law", "code"))
    assert errors.rows.tolist() == [60, 70]
    assert errors.sources.tolist() == [3, 7]
    assert errors.hard.matrix.tolist() == RATES["rates"]
    assert errors.soft.covariances[1].tolist() == [[0.01, -0.01], [-0.01, 0.01]]
    assert errors.names == ("law", "code")


def test_without_sources_rows_count_as_drawn_one_by_one() -> None:
    value = {key: part for key, part in VALUE.items() if key != "sources"}
    assert LabelErrors.from_json(value).sources.tolist() == [60, 70]


def test_rounded_columns_are_made_to_sum_to_one() -> None:
    value = copy.deepcopy(VALUE)
    value["hard"]["rates"] = [[0.9004, 0.2], [0.1, 0.8]]
    assert LabelErrors.from_json(value).hard.matrix.sum(axis=0) == pytest.approx([1.0, 1.0], abs=1e-12)


@pytest.mark.parametrize(
    ("path", "wrong", "message"),
    [
        (("rows",), None, "'rows' is missing"),
        (("rows",), [60.5, 70], "'rows' is"),
        (("rows",), ["many", 70], "no table of numbers"),
        (("sources",), [3, 71], "sources"),
        (("hard",), None, "'hard' is missing"),
        (("soft", "rates"), [[1.0]], r"shape \(1, 1\)"),
        (("hard", "rates"), [[0.9, 0.2], [0.1, 0.7]], "rates of domain 1 sum to 0.9"),
        (("hard", "rates"), [[1.1, 0.2], [-0.1, 0.8]], "rates of domain 0"),
        (("hard", "rates"), [[0.9, float("nan")], [0.1, 0.8]], "no finite number"),
        (("soft", "covariances"), [[[-0.1, 0.0], [0.0, 0.1]]] * 2, "negative variance"),
        (("soft", "covariances"), [[[0.1, 0.0], [0.0]]] * 2, "no table of numbers"),
    ],
)
def test_what_cannot_be_read_is_named(path: tuple[str, ...], wrong: Any, message: str) -> None:
    value = copy.deepcopy(VALUE)
    part = value
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = wrong
    with pytest.raises(DataError, match=message):
        LabelErrors.from_json(value)


def test_names_of_other_domains_are_refused() -> None:
    with pytest.raises(DataError, match="2 domains"):
        LabelErrors.from_json(VALUE, names=("law",))


def test_a_domain_without_rows_has_zeros_and_leaves_the_prior_uniform() -> None:
    rates = {"rates": [[0.9, 0.0], [0.1, 0.0]], "covariances": [[[0.0, 0.0], [0.0, 0.0]]] * 2}
    errors = LabelErrors.from_json({"rows": [60, 0], "sources": [3, 0], "hard": rates, "soft": rates})
    assert errors.training_prior().tolist() == [0.5, 0.5]


def test_the_training_prior_is_the_mean_probability_with_domains_alike() -> None:
    assert LabelErrors.from_json(VALUE).training_prior() == pytest.approx([0.55, 0.45])


def test_counts_are_smoothed_by_half_a_row() -> None:
    errors = LabelErrors.from_counts([[9, 0], [0, 4]])
    assert errors.hard.matrix == pytest.approx(np.array([[0.95, 0.1], [0.05, 0.9]]))
    assert errors.hard.covariances[0, 0, 0] == pytest.approx(0.95 * 0.05 / 10)
    assert errors.rows.tolist() == errors.sources.tolist() == [9, 4]
    with pytest.raises(DataError, match=r"shape \(1, 2\)"):
        LabelErrors.from_counts([[1, 2]])


def test_moderation_draws_few_sources_to_what_is_common_and_leaves_many_alone() -> None:
    matrix = np.array([[0.8, 0.2], [0.2, 0.8]])
    lucky, usual = np.zeros((2, 2)), np.array([[0.01, -0.01], [-0.01, 0.01]])
    few = moderated_covariances(matrix, np.array([lucky, usual]), np.array([5, 5]))
    assert few[0, 0, 0] == pytest.approx(0.5 * 0.005)
    assert few[1, 0, 0] == pytest.approx(0.5 * 0.01 + 0.5 * 0.005)
    many = moderated_covariances(matrix, np.array([lucky, usual]), np.array([100_000, 100_000]))
    assert many == pytest.approx(np.array([lucky, usual]), abs=1e-6)


def test_moderation_of_independent_rows_changes_nothing() -> None:
    matrix, rows = np.array([[0.9, 0.3], [0.1, 0.7]]), np.array([40, 90])
    covariances = multinomial_covariances(matrix, rows)
    assert moderated_covariances(matrix, covariances, rows) == pytest.approx(covariances)


def test_moderation_of_a_labeller_without_errors_is_no_division_by_zero() -> None:
    assert not moderated_covariances(np.eye(3), np.zeros((3, 3, 3)), np.array([2, 2, 1])).any()
