"""Do what `versatune classifier` asks for, and show what people want to know of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group, RenderableType

from versatune.cli.summaries import Summary
from versatune.cli.terminal import table
from versatune.reporting.classifier_plots import write_classifier_plots
from versatune.schemas.classifier import ClassifierTraining
from versatune.schemas.config import load_section
from versatune.schemas.errors import ConfigError
from versatune.schemas.files import write_atomic
from versatune.schemas.progress import Progress
from versatune.transforms.classifier.card import card_markdown
from versatune.transforms.classifier.fasttext_classifier import DomainClassifier, model_taxonomy, text_view
from versatune.transforms.classifier.labelled_rows import read_rows
from versatune.transforms.classifier.metrics import evaluation
from versatune.transforms.classifier.training import CARD_FILE, MODEL_FILE, train_classifier

_FIGURES = {
    "rows": "rows",
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "source_macro_recall": "recall, sources alike",
    "ece": "calibration error (ECE)",
    "threshold": "undetermined below",
    "coverage": "determined",
    "precision_determined": "right if determined",
}
"""What is shown, by what the card's columns are called."""


def train_from(file: Path, overrides: Sequence[str], progress: Progress) -> Summary:
    """Train a classifier from its configuration, write its card as a page with plots, and show how good it is."""
    config = load_section(ClassifierTraining, file, overrides)
    directory = file.resolve().parent
    card = train_classifier(config, directory, progress=progress)
    output = (directory / config.output).resolve()
    page = (directory / config.page).resolve() if config.page else output / "card.md"
    plots = write_classifier_plots(card["unseen"], card["labels"], page.parent / "images")
    write_atomic(page, card_markdown(card, [f"images/{plot.name}" for plot in plots]).encode())
    judged = {"sources not seen" if card["unseen"]["of_sources"] else "rows not seen": card["unseen"]}
    shown = _figures(judged | {f"held out: {name}": found for name, found in card["held_out"].items()})
    result = {
        "model": str(output / MODEL_FILE),
        "card": str(output / CARD_FILE),
        "sha256": card["sha256"],
        "bytes": card["bytes"],
        "unseen": {key: card["unseen"][key] for key in _FIGURES},
        "held_out": {name: {key: found[key] for key in _FIGURES} for name, found in card["held_out"].items()},
        "fasttext": card["fasttext"],
        "search": card["search"],
    }
    return (
        f"classifier: {output / MODEL_FILE} ({card['bytes']:,} bytes); its card: {page}",
        shown,
        result,
    )


def evaluate_files(files: Sequence[Path], model: Path | None, plots: Path | None) -> Summary:
    """Evaluate a model on labelled rows."""
    taxonomy = model_taxonomy(model)
    classifier = DomainClassifier.load(model, taxonomy)
    rows = read_rows(files, taxonomy)
    begun = time.perf_counter()
    probs = classifier.predict([text_view([row["text"]]) for row in rows])
    seconds = time.perf_counter() - begun
    found = evaluation(rows, np.asarray(probs, np.float64), taxonomy, classifier.undetermined_below)
    result = {
        "model": "bundled" if model is None else str(model),
        "sha256": classifier.sha256,
        **found,
        "seconds": round(seconds, 3),
        "rows_per_second": round(len(rows) / seconds, 1),
    }
    if plots is not None:
        try:
            written = write_classifier_plots(found, list(taxonomy.domains), plots)
        except OSError as error:
            raise ConfigError(
                f"--plots {plots}: cannot be written ({error}); name a folder you may write to"
            ) from error
        result["plots"] = [str(path) for path in written]
    title = f"{len(rows):,} rows, {result['rows_per_second']:,.0f} rows/s, classifier {classifier.sha256[:12]}"
    shown: list[RenderableType] = [_figures({"these rows": found}), _by_domain(found), _by_source(found)]
    return title, Group(*shown), result


def _figures(found: dict[str, dict[str, Any]]) -> RenderableType:
    rows = [[name, *(one[key] for one in found.values())] for key, name in _FIGURES.items()]
    return table("classifier", ["figure", *found], rows)


def _by_domain(found: dict[str, Any]) -> RenderableType:
    keys = ("rows", "precision", "recall", "f1")
    rows = [[domain, *(entry[key] for key in keys)] for domain, entry in found["per_domain"].items()]
    return table("by domain", ["domain", "rows", "precision", "recall", "F1"], rows)


def _by_source(found: dict[str, Any]) -> RenderableType:
    keys = ("rows", "accuracy", "coverage", "precision_determined")
    rows = [[source, *(entry[key] for key in keys)] for source, entry in found["per_source"].items()]
    return table("by source", ["source", *(_FIGURES[key] for key in keys)], rows)
