from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from versatune.schemas.taxonomy import Taxonomy
from versatune.transforms.classifier.labelled_rows import LabelledRow
from versatune.transforms.classifier.metrics import (
    determined,
    evaluation,
    expected_calibration_error,
    label_errors,
    mean_of_sources,
    risk_coverage,
    source_weights,
    threshold_for,
    weighted_macro_f1,
)

TWO = Taxonomy(domains=("law", "code"))


def row(domain: str, source: str) -> LabelledRow:
    return LabelledRow(text="", domain=domain, source=source)


def test_confusion_has_predictions_in_rows_and_figures_follow_from_it() -> None:
    rows = [row("law", "a"), row("law", "a"), row("code", "b")]
    found = evaluation(rows, np.array([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8]]), TWO, threshold=0.75)
    assert found["confusion"] == [[1, 0], [1, 1]]
    assert found["soft_confusion"] == [[0.6, 0.2], [0.4, 0.8]]
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["macro_f1"] == pytest.approx(2 / 3)
    assert found["macro_recall"] == pytest.approx(0.75)
    assert found["per_domain"]["law"] == {
        "rows": 2,
        "predicted": 1,
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
    }
    assert found["coverage"] == pytest.approx(2 / 3)
    assert found["precision_determined"] == 1.0
    assert found["per_source"]["a"]["coverage"] == 0.5
    assert found["nll"] == pytest.approx(-np.log([0.9, 0.3, 0.8]).mean())


def test_sources_count_alike_within_a_domain_and_domains_alike() -> None:
    rows = [row("law", "big")] * 8 + [row("law", "small")] * 2 + [row("code", "only")] * 5
    weights = source_weights(rows)
    assert weights.mean() == pytest.approx(1.0)
    totals = [weights[:8].sum(), weights[8:10].sum(), weights[10:].sum()]
    np.testing.assert_allclose(totals, [15 / 4, 15 / 4, 15 / 2])
    right, wrong = [0.9, 0.1], [0.1, 0.9]
    probs = np.array([right] * 8 + [wrong] * 2 + [wrong] * 5)  # the small source is always wrong
    found = evaluation(rows, probs, TWO, 0.5, weights)
    assert found["source_macro_recall"] == pytest.approx((0.5 + 1.0) / 2)
    assert found["macro_recall"] == pytest.approx((0.8 + 1.0) / 2)
    assert weighted_macro_f1(rows, probs, TWO) == pytest.approx((2 * 0.25 / 0.75 + 2 * 0.5 / 1.25) / 2)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    top = np.array([0.95] * 4 + [0.55] * 4)
    hits = np.array([True, True, True, False, True, True, True, True])
    assert expected_calibration_error(top, hits, np.ones(8)) == pytest.approx(0.5 * 0.2 + 0.5 * 0.45)
    weights = np.array([1.0] * 4 + [3.0] * 4)
    assert expected_calibration_error(top, hits, weights) == pytest.approx(0.25 * 0.2 + 0.75 * 0.45)


def test_a_probability_of_one_is_in_the_last_bin() -> None:
    assert expected_calibration_error(np.array([1.0]), np.array([True]), np.ones(1)) == 0.0


def test_the_threshold_is_the_lowest_from_which_on_the_rest_is_precise_enough() -> None:
    top = np.array([0.3, 0.5, 0.7, 0.9])
    hits = np.array([True, False, True, True])
    assert threshold_for(top, hits, np.ones(4), 0.99) == pytest.approx(0.51)
    assert determined(top, hits, np.ones(4), 0.51) == {"coverage": 0.5, "precision_determined": 1.0}
    assert threshold_for(top, hits, np.ones(4), 0.5) == 0.0


def test_no_threshold_is_precise_enough_where_the_surest_row_is_wrong() -> None:
    assert threshold_for(np.array([0.6, 0.9]), np.array([True, False]), np.ones(2), 0.9) == 1.0


def test_the_curve_ends_where_no_row_is_left() -> None:
    curve = risk_coverage(np.array([0.4, 0.6]), np.array([False, True]), np.ones(2))
    assert curve[0] == {"threshold": 0.0, "coverage": 1.0, "precision": 0.5}
    assert curve[-1] == {"threshold": 0.6, "coverage": 0.5, "precision": 1.0}


def test_rates_let_sources_count_alike_and_covariances_tell_of_their_spread() -> None:
    rows = [row("law", "a")] * 100 + [row("law", "b")] * 10 + [row("code", "c")] * 50
    probs = np.array([[0.9, 0.1]] * 100 + [[0.2, 0.8]] * 10 + [[0.3, 0.7]] * 50)
    found = label_errors(rows, probs, TWO)
    assert found["rows"] == [110, 50]
    assert found["sources"] == [2, 1]
    assert found["hard"]["rates"] == [[0.5, 0.0], [0.5, 1.0]]
    # Every row of a source is alike, so all there is is the spread of the sources: (1 - 0.5)^2 + (0 - 0.5)^2, by 2 * 1.
    assert found["hard"]["covariances"] == [[[0.25, -0.25], [-0.25, 0.25]], [[0.0, 0.0], [0.0, 0.0]]]
    np.testing.assert_allclose(found["soft"]["rates"], [[0.55, 0.3], [0.45, 0.7]], atol=1e-12)
    np.testing.assert_allclose(found["soft"]["covariances"][0], np.array([[1, -1], [-1, 1]]) * 0.35**2, atol=1e-12)


def test_one_source_has_the_error_of_independent_rows() -> None:
    rows = [row("law", "a")] * 4
    found = label_errors(rows, np.array([[0.9, 0.1], [0.7, 0.3], [0.6, 0.4], [0.4, 0.6]]), TWO)
    assert [column[0] for column in found["hard"]["rates"]] == [0.75, 0.25]
    # Three of four: sample variance 0.25, by 4 rows. Of the probabilities: (0.25^2 + 0.05^2 + 0.05^2 + 0.25^2) / 3, by 4.
    np.testing.assert_allclose(found["hard"]["covariances"][0], np.array([[1, -1], [-1, 1]]) * 0.0625, atol=1e-9)
    np.testing.assert_allclose(found["soft"]["covariances"][0], np.array([[1, -1], [-1, 1]]) * 0.13 / 12, atol=1e-9)


def test_sources_that_agree_by_chance_leave_the_error_of_independent_rows() -> None:
    half = np.array([[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 5)
    rates, covariance = mean_of_sources([half, half])
    np.testing.assert_allclose(rates, [0.5, 0.5])
    np.testing.assert_allclose(covariance, np.array([[1, -1], [-1, 1]]) * (2 * 2.5 / 90) / 4)


def test_a_domain_without_rows_has_zeros() -> None:
    found = label_errors([row("law", "a")] * 3, np.array([[0.9, 0.1]] * 3), TWO)
    assert found["rows"] == [3, 0]
    assert found["sources"] == [1, 0]
    assert not np.any(np.array(found["soft"]["rates"])[:, 1])
    assert not np.any(found["hard"]["covariances"][1])


@given(st.integers(0, 2**32 - 1))
def test_no_contrast_is_known_better_than_by_independent_rows_or_by_the_spread_of_sources(seed: int) -> None:
    draw = np.random.default_rng(seed)
    sources = [draw.dirichlet(draw.uniform(0.1, 3.0, 5), draw.integers(1, 30)) for _ in range(draw.integers(1, 8))]
    _, covariance = mean_of_sources(sources)
    means = np.array([own.mean(axis=0) for own in sources])
    between = np.cov(means.T) / len(means) if len(means) > 1 else np.zeros((5, 5))
    of_rows = sum(np.cov(own.T) / len(own) for own in sources if len(own) > 1) / len(sources) ** 2
    np.testing.assert_allclose(covariance, covariance.T, atol=1e-15)
    np.testing.assert_allclose(covariance.sum(axis=0), 0.0, atol=1e-12)  # rates of a domain sum to one
    for least in (between, of_rows):
        assert np.linalg.eigvalsh(covariance - least).min() > -1e-12
    assert np.trace(covariance) <= np.trace(between + of_rows) + 1e-12
