"""Plots of an evaluation: the same bytes each time, whatever of it is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from versatune.reporting.classifier_plots import (
    MOST_DOTS,
    confusion_map,
    reliability_diagram,
    source_dots,
    write_classifier_plots,
)

LABELS = ["law", "code", "sport"]
NAMES = ["reliability", "risk-coverage", "confusion", "sources"]


@pytest.fixture
def evaluation() -> dict[str, Any]:
    return {
        "ece": 0.04,
        "threshold": 0.5,
        "coverage": 0.75,
        "precision_determined": 0.9,
        "reliability": [
            {"from": 0.4, "to": 0.5, "rows": 5, "confidence": 0.45, "accuracy": 0.6},
            {"from": 0.8, "to": 0.9, "rows": 15, "confidence": 0.85, "accuracy": 0.8},
        ],
        "risk_coverage": [
            {"threshold": 0.0, "coverage": 1.0, "precision": 0.75},
            {"threshold": 0.5, "coverage": 0.75, "precision": 0.9},
            {"threshold": 0.9, "coverage": 0.1, "precision": 1.0},
        ],
        "confusion": [[6, 3, 0], [2, 9, 0], [0, 0, 0]],
        "per_source": {
            "<b>courts</b>": {"recall_by_domain": {"law": 0.75}},
            "forum": {"recall_by_domain": {"code": 0.8, "law": 0.1}},
        },
        "never_trained_on": ["forum"],
    }


def cells(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_the_same_numbers_give_the_same_four_files(evaluation: dict[str, Any], tmp_path: Path) -> None:
    once = write_classifier_plots(evaluation, LABELS, tmp_path / "one")
    again = write_classifier_plots(evaluation, LABELS, tmp_path / "two")
    assert [file.name for file in once] == [f"classifier-{name}.svg" for name in NAMES]
    assert [file.read_bytes() for file in once] == [file.read_bytes() for file in again]


def test_a_sources_name_cannot_become_markup(evaluation: dict[str, Any], tmp_path: Path) -> None:
    text = write_classifier_plots(evaluation, LABELS, tmp_path)[-1].read_text()
    assert "<b>" not in text
    assert "&lt;b&gt;courts" in text


def test_a_column_of_the_confusion_map_is_of_one_true_domain(evaluation: dict[str, Any]) -> None:
    assert cells(confusion_map(evaluation, LABELS)) == ["75%", "25%", "", "25%", "75%", "", "0", "0", ""]


def test_rates_in_which_sources_count_alike_go_before_counts(evaluation: dict[str, Any]) -> None:
    evaluation["label_errors"] = {"hard": {"rates": [[0.5, 0.004, 0], [0.5, 0.996, 0], [0, 0, 0]]}}
    assert cells(confusion_map(evaluation, LABELS))[:2] == ["50%", "<1%"]


def test_the_histogram_below_the_reliability_diagram_shows_shares_of_rows(evaluation: dict[str, Any]) -> None:
    bars = reliability_diagram(evaluation).axes[1].patches
    assert [bar.get_height() for bar in bars] == [0.25, 0.75]


def test_sources_stand_under_their_domain_the_worst_first(evaluation: dict[str, Any]) -> None:
    names = [label.get_text() for label in source_dots(evaluation, LABELS).axes[0].get_yticklabels()]
    assert names == ["law", "forum", "<b>courts</b>", "code", "forum"]


def test_of_very_many_sources_the_lowest_are_drawn_and_the_plot_says_so(evaluation: dict[str, Any]) -> None:
    recalls = np.linspace(0, 1, MOST_DOTS + 20)
    evaluation["per_source"] = {f"s{i}": {"recall_by_domain": {"law": float(r)}} for i, r in enumerate(recalls)}
    axes = source_dots(evaluation, LABELS).axes[0]
    assert len(axes.get_yticks()) == MOST_DOTS + 1
    assert axes.get_yticklabels()[1].get_text() == "s0"
    assert f"the {MOST_DOTS} lowest of {MOST_DOTS + 20}" in axes.get_xlabel()


def test_a_classifier_that_is_never_sure_is_drawn_too(evaluation: dict[str, Any], tmp_path: Path) -> None:
    evaluation |= {"threshold": 1.0, "coverage": 0.0, "precision_determined": None}
    del evaluation["never_trained_on"]
    assert len(write_classifier_plots(evaluation, LABELS, tmp_path)) == len(NAMES)
