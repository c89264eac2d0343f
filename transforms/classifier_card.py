"""A classifier's card as a page for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def card_markdown(card: Mapping[str, Any]) -> str:
    """Write a classifier's card as a page."""
    checked, seen, unseen = (
        card["validation"],
        card["seen_sources"],
        card["unseen_sources"],
    )
    labels = card["labels"]
    worst = sorted(
        card["unseen_training_rows"].get("recall_by_source", {}).items(),
        key=lambda item: item[1],
    )[:6]
    parts = [
        "# The bundled domain classifier",
        "Written by `python -m transforms.classifier_training`; do not edit by hand.",
        (
            f"A fastText softmax model, quantised, {card['bytes'] / 1e6:.2f} MB, labels {', '.join(labels)}. "
            f"sha256 `{card['sha256']}`. Licence of the model file: {card['licence']}, because some of its sources are "
            "share-alike; the attributions are the sources below. versatune's code is Apache-2.0."
        ),
        "## What it is good and bad at",
        (
            f"On {checked['rows']:,} held-out rows: accuracy {checked['accuracy']:.3f}, macro-F1 {checked['macro_f1']:.3f}, "
            f"temperature {card['temperature']:.3f} (negative log-likelihood "
            f"{checked['nll_before_temperature']:.3f} before, {checked['nll']:.3f} after)."
        ),
        _table(
            ["held-out rows", "rows", "accuracy", "macro recall"],
            [
                ["of sources it was trained on", seen["rows"], *_scores(seen)],
                ["of sources it never saw", unseen["rows"], *_scores(unseen)],
            ],
        ),
        "**The second line is what to expect on your data.** It is worst on: "
        + ", ".join(f"{name} ({recall:.2f})" for name, recall in worst)
        + ". It is bad at short text without a technical word, at finance other than company reports, at legal text "
        "that reads like everyday prose, and at Chinese, of which there are few permissively licensed rows; it knows "
        "no other language. Mathematics, tool calls and small talk fall into whatever domain shares their words. "
        'A probability is an answer to "which of these domains", never "is it one of them".',
        (
            "Temperature and settings were chosen with these held-out rows and the rows of unseen sources, so their "
            "figures are slightly favourable."
        ),
        "## Confusion matrix (rows predicted, columns true, held-out rows)",
        _table(
            ["predicted", *labels],
            [[name, *counts] for name, counts in zip(labels, checked["confusion"], strict=True)],
        ),
        "## Recall by source on held-out rows",
        _table(
            ["source", "recall", "trained on"],
            [
                [
                    name,
                    f"{recall:.3f}",
                    "no" if name in card["excluded_sources"] else "yes",
                ]
                for name, recall in checked["recall_by_source"].items()
            ],
        ),
        "## Recall on all labelled rows of sources left out of training",
        _table(
            ["source", "recall"],
            [[n, f"{r:.3f}"] for n, r in card["unseen_training_rows"].get("recall_by_source", {}).items()],
        ),
        "## Sources used",
        _source_lines(card["sources"]),
        "## Sources left out",
        _source_lines(card["excluded_sources"]),
        "## How it was made",
        (
            f"Every domain is sampled or repeated to {card['sampling']['rows_per_domain']:,} rows from these published rows "
            f"({', '.join(f'{n} {c:,}' for n, c in card['rows_by_domain'].items())}) and versatune's own term rows, because "
            "law and finance have few rows whose licence allows a redistributed model."
        ),
        (
            f"Text view: {json.dumps(card['text_view'])}. Settings: {json.dumps(card['training'])}. "
            f"Sampling: {json.dumps(card['sampling'])}. Seed {card['seed']}."
        ),
        _table(["file", "sha256"], [[n, f"`{d}`"] for n, d in card["files"].items()]),
    ]
    return "\n\n".join(parts) + "\n"


def _scores(summary: Mapping[str, Any]) -> list[str]:
    return [f"{summary[key]:.3f}" if key in summary else "-" for key in ("accuracy", "macro_recall")]


def _source_lines(table: Mapping[str, Any]) -> str:
    return _table(
        ["source", "domains", "rows", "licence", "reason"],
        [[n, ", ".join(e["domains"]), e["rows"], e["licence"], e["reason"]] for n, e in table.items()],
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])
