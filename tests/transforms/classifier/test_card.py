"""The card as a page: every number comes from the card, and what is missing is left out."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from versatune.schemas.taxonomy import Taxonomy
from versatune.transforms.classifier.card import card_markdown
from versatune.transforms.classifier.labelled_rows import LabelledRow
from versatune.transforms.classifier.metrics import evaluation, label_errors

TAXONOMY = Taxonomy(domains=("law", "code"))
PLOTS = [f"images/classifier-{name}.svg" for name in ("reliability", "risk-coverage", "confusion", "sources")]


def rows(source: str, domain: str, count: int) -> list[LabelledRow]:
    return [LabelledRow(text="x", domain=domain, source=source) for _ in range(count)]


def probabilities(*of_law: tuple[float, int]) -> np.ndarray:
    return np.array([[p, 1 - p] for p, count in of_law for _ in range(count)])


@pytest.fixture
def card() -> dict[str, Any]:
    measured = [*rows("courts", "law", 400), *rows("old-acts", "law", 100), *rows("a|b <i>", "code", 400)]
    probs = probabilities((0.9, 300), (0.4, 100), (0.95, 100), (0.1, 360), (0.6, 40))
    scores = evaluation(measured, probs, TAXONOMY, 0.8)
    return {
        "format": 2,
        "labels": ["law", "code"],
        "licence": "CC BY-SA 4.0",
        "sha256": "5ha" * 20,
        "bytes": 1_234_567,
        "temperatures": {"latin": 1.25, "other": 2.5},
        "undetermined_below": 0.8,
        "precision_asked_for": 0.92,
        "text_view": {"max_chars": 1000, "lower_case": True},
        "settings": {
            "seed": 7,
            "rows_per_domain": 6000,
            "train": [
                {
                    "name": "published",
                    "files": ["${DATA}/a.jsonl.gz"],
                    "form": "rows",
                    "share": 1.0,
                    "balance": 0.5,
                    "hold_out": 0.1,
                },
                {
                    "name": "own-terms",
                    "files": ["terms/*.txt"],
                    "form": "terms",
                    "share": 0.5,
                    "balance": 0.5,
                    "hold_out": 0.1,
                },
            ],
        },
        "fasttext": {"lr": 0.8, "buckets": 100_000},
        "search": [{"lr": 0.8, "dim": 16, "macro_f1": 0.8}, {"lr": 0.3, "dim": 8, "macro_f1": 0.81}],
        "unseen": {
            "of_sources": True,
            **scores,
            "label_errors": label_errors(measured, probs, TAXONOMY),
            "trained_without": ["a|b <i>", "courts"],
            "never_trained_on": ["old-acts"],
        },
        "unseen_by_group": {"en": scores | {"source_macro_recall": 0.9}, "zh": scores | {"source_macro_recall": 0.6}},
        "held_out": {"en": {**scores, "macro_f1": 0.96, "macro_f1_before_quantisation": 0.965}},
        "files": {"a.jsonl.gz": "d1" * 32},
        "sources": {
            "courts": {"licence": "MIT", "used": True, "rows": 400, "domains": ["law"], "reason": "permissive"},
            "a|b <i>": {"licence": "MIT", "used": True, "rows": 400, "domains": ["code"], "reason": "permissive"},
            "own-terms": {"licence": "Apache-2.0", "used": True, "rows": 9, "domains": ["law"], "reason": "written"},
            "old-acts": {"licence": "none", "used": False, "rows": 100, "domains": ["law"], "reason": "no licence"},
        },
    }


@pytest.fixture
def bare(card: dict[str, Any]) -> dict[str, Any]:
    """Somebody's own domains: one source each, nothing left out, nothing searched for."""
    card["unseen"] |= {"of_sources": False, "trained_without": [], "never_trained_on": []}
    card["unseen"] |= {"coverage": 0.0, "precision_determined": None, "threshold": 1.0}
    card |= {"held_out": {}, "search": [], "unseen_by_group": {}, "licence": None, "undetermined_below": 1.0}
    return card


def test_the_page_says_what_to_expect_of_unseen_sources_groups_and_held_out_rows(card: dict[str, Any]) -> None:
    page = card_markdown(card)
    scores = card["unseen"]
    figures = f"| {scores['accuracy']:.3f} | {scores['macro_f1']:.3f} | {scores['source_macro_recall']:.3f} | {scores['ece']:.3f}"
    assert (
        f"| unseen sources | 900 {figures} | {scores['coverage']:.1%} | {scores['precision_determined']:.1%} |" in page
    )
    assert "| unseen sources: zh | 900 |" in page
    assert "| held-out rows: en | 900 | 0.844 | 0.960 |" in page
    assert "It is weakest on the rows of 'zh' (recall 0.600)" in page
    assert "| held-out rows: en | 0.9650 | 0.9600 | -0.50 points |" in page


def test_how_each_source_was_measured_stands_beside_its_recall(card: dict[str, Any]) -> None:
    page = card_markdown(card)
    assert "| courts | 400 | law | left out in turn | 0.750 | 75.0% | 100.0% |" in page
    assert "| old-acts | 100 | law | never trained on | 1.000 | 100.0% | 100.0% |" in page
    assert "Learned from, but not measured by themselves: own-terms." in page


def test_confusion_rates_have_their_standard_errors(card: dict[str, Any]) -> None:
    page = card_markdown(card)
    # Law: rates 0.75 and 1.00 of two sources, standard error 0.125. Code: one source, the error of 400 independent rows.
    assert "| **law** | 87.5 ± 12.5 | 10.0 ± 1.5 |" in page
    assert "| **code** | 12.5 ± 12.5 | 90.0 ± 1.5 |" in page


def test_known_weaknesses_come_from_the_data(card: dict[str, Any]) -> None:
    page = card_markdown(card)
    assert "fewest rows right: courts (law, 75%), a\\|b &lt;i&gt; (code, 90%), old-acts (law, 100%)." in page
    assert "mixes up most: 12% of law is taken for code; 10% of code is taken for law." in page
    assert "Measured on too little to be sure of: code (400 rows, sources: 1)." in page


def test_groups_of_rows_stand_with_their_share_and_the_names_of_their_files(card: dict[str, Any]) -> None:
    page = card_markdown(card)
    assert "| published | rows | 1 | 0.5 | 10% | a.jsonl.gz |" in page
    assert "DATA" not in page


def test_a_name_from_the_data_is_no_markup_and_no_column(card: dict[str, Any]) -> None:
    page = card_markdown(card)
    assert "<i>" not in page
    for block in page.split("\n\n"):
        if block.startswith("|"):
            assert len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1


def test_sources_are_listed_by_whether_they_were_learned_from(card: dict[str, Any]) -> None:
    used, left_out = card_markdown(card).split("Left out of training:")
    assert "| courts | law | 400 | MIT | permissive |" in used.split("Learned from:")[1]
    assert "| old-acts | law | 100 | none | no licence |" in left_out
    assert "own-terms" not in left_out


def test_the_trials_of_the_search_stand_in_order_of_their_worth(card: dict[str, Any]) -> None:
    assert "| lr | dim | macro f1 |\n| --- | --- | --- |\n| 0.3 | 8 | 0.810 |\n| 0.8 | 16 | 0.800 |" in card_markdown(
        card
    )


def test_pictures_are_shown_where_the_page_finds_them(card: dict[str, Any]) -> None:
    assert all(f"]({path})" in card_markdown(card, PLOTS) for path in PLOTS)
    assert "![" not in card_markdown(card)
    assert "Are its probabilities true" not in card_markdown(card)


def test_a_card_of_few_sources_promises_nothing_about_unseen_ones(bare: dict[str, Any]) -> None:
    page = card_markdown(bare, PLOTS)
    assert "nothing is known about sources that the classifier has not seen" in page
    assert "| held-out rows, calibrated | 900 |" in page
    assert "| unseen sources" not in page
    assert "No threshold was found at which 92% of the determined rows are right, so it is 1.00." in page
    assert "| licence of the model file | not stated |" in page
    assert "quantisation" not in page
    assert "Settings tried" not in page
    assert "None" not in page
    assert "nan" not in page


def test_a_card_that_went_through_its_file_gives_the_same_page(card: dict[str, Any]) -> None:
    assert card_markdown(json.loads(json.dumps(card)), PLOTS) == card_markdown(card, PLOTS)
