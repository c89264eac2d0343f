"""The bundled classifier's recipe without some sources: what probe_recovery.py labels with, since the language models learn from those sources."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks.support.known_mixture import Floats
from versatune.schemas.classifier import ClassifierTraining, SearchSettings
from versatune.schemas.config import load_section
from versatune.schemas.progress import Progress
from versatune.schemas.taxonomy import DEFAULT_TAXONOMY
from versatune.transforms.classifier.calibration import cross_calibrated
from versatune.transforms.classifier.fasttext_classifier import text_view, train_and_predict
from versatune.transforms.classifier.labelled_rows import LabelledRow, read_rows
from versatune.transforms.classifier.leave_out import (
    covers,
    grouped,
    predict_left_out,
    sources_to_leave_out,
    write_lines,
)
from versatune.transforms.classifier.training import MODEL_FILE, train_classifier
from versatune.transforms.classifier.training_lines import read_material, training_lines

RECIPE = Path(__file__).resolve().parents[2] / "classifier" / "bundled.yaml"


def train_without(sources: Iterable[str], data: Path, folder: Path, progress: Progress) -> Path:
    """Train with the bundled settings on everything but some sources; return the model file, its card beside it.

    The rows of these sources, and rows of others with the same text, are taken out of the files first. To exclude them by the
    configuration would not do: excluded sources are still measured, and the label errors on the card would be those of the very documents
    that the language models learn.

    Args:
        data: the folder that holds ``labelled/``.
        folder: where the classifier goes.
    """
    left = folder / "labelled"
    left.mkdir(parents=True, exist_ok=True)
    rows = {
        name: read_rows([data / "labelled" / f"{name}.jsonl.gz"], DEFAULT_TAXONOMY)
        for name in ("train", "valid", "train_zh")
    }
    hidden = set(sources)
    views = {text_view([row["text"]]) for part in rows.values() for row in part if row["source"] in hidden}
    for name, part in rows.items():
        kept = [row for row in part if row["source"] not in hidden and text_view([row["text"]]) not in views]
        with gzip.open(left / f"{name}.jsonl.gz", "wt", encoding="utf-8") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in kept)
    recipe = load_section(ClassifierTraining, RECIPE)
    files = {"published-en": ["train"], "published-zh": ["train_zh"]}
    train = [
        group.model_copy(update={"files": [str(left / f"{name}.jsonl.gz") for name in files[group.name]]})
        if group.name in files
        else group
        for group in recipe.train
    ]
    update = {
        "train": train,
        "held_out": [str(left / "valid.jsonl.gz")],
        "output": str(folder.resolve()),
        "page": None,
        "search": SearchSettings(trials=0),
    }
    train_classifier(recipe.model_copy(update=update), RECIPE.parent, workers=1, progress=progress)
    return folder / MODEL_FILE


def unseen_predictions(workers: int = 1) -> tuple[list[LabelledRow], Floats, dict[str, str]]:
    """Label all rows, each source by a model that was trained with the bundled settings without it.

    One source of each domain is left out at a time, which takes fewer fits than one source of all.

    Returns:
        The rows, their calibrated (n, k) probabilities, and the group of rows that each source belongs to.
    """
    recipe = load_section(ClassifierTraining, RECIPE)
    material = read_material(recipe, RECIPE.parent)
    pools, excluded = material.pools, material.excluded
    sources = sources_to_leave_out(pools, excluded)
    folds = grouped(sources, lambda together: covers(pools, excluded, together))
    left_out = predict_left_out(folds, sources, pools, recipe, recipe.fasttext, excluded=excluded, workers=workers)
    never = [row for pool in pools for row in pool.rows if row["source"] in excluded]
    with tempfile.TemporaryDirectory() as scratch:
        lines = Path(scratch, "lines.txt")
        write_lines(training_lines(pools, recipe, excluded), lines)
        views = [text_view([row["text"]]) for row in never]
        labels = train_and_predict(lines, views, recipe.taxonomy, seed=recipe.seed, settings=recipe.fasttext)
    rows = [*left_out.rows, *never]
    probs = cross_calibrated(rows, np.concatenate([left_out.probs, labels]), recipe.taxonomy)
    return rows, probs, {row["source"]: pool.group.name for pool in pools for row in pool.rows}
