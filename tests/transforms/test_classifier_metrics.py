from __future__ import annotations

import numpy as np
import pytest

from schemas.taxonomy import Taxonomy
from transforms.classifier_metrics import (
    confusion_rates,
    determined,
    evaluation,
    expected_calibration_error,
    risk_coverage,
    source_weights,
    threshold_for,
    weighted_macro_f1,
)
from transforms.labelled_rows import LabelledRow

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


def test_rates_let_sources_count_alike_and_errors_tell_of_their_spread() -> None:
    rows = [row("law", "a")] * 100 + [row("law", "b")] * 10 + [row("code", "c")] * 50
    probs = np.array([[0.9, 0.1]] * 100 + [[0.1, 0.9]] * 10 + [[0.1, 0.9]] * 50)
    rates, errors = confusion_rates(rows, probs, TWO)
    np.testing.assert_allclose(rates, [[0.5, 0.0], [0.5, 1.0]])
    np.testing.assert_allclose(errors[:, 0], 0.5)  # sqrt(var / sources), var of (1, 0) is 1/2
    np.testing.assert_allclose(errors[:, 1], 0.0)
