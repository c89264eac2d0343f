"""What each idea is worth to the bundled classifier, on sources left out of training.

    VERSATUNE_SHARED_DATA=... python benchmarks/classifier_ablation.py --save

Every variant changes one thing of classifier/bundled.yaml. It is trained once with all sources, and without one source of each domain at a time until
every source has been left out (fewer fits than one per source, so the recalls are not quite the card's).
"""

from __future__ import annotations

import json
import logging
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.support.common import machine, parser, report, versions
from versatune.schemas.classifier import ClassifierTraining
from versatune.schemas.config import load_section
from versatune.transforms.classifier import leave_out, training_lines
from versatune.transforms.classifier.fasttext_classifier import text_view, train_and_predict
from versatune.transforms.classifier.labelled_rows import LabelledRow
from versatune.transforms.classifier.metrics import source_weights

CONFIG = Path(__file__).resolve().parents[1] / "classifier" / "bundled.yaml"
WORKERS = 2
_COMMON = [
    "a",
    "an",
    "the",
    "of",
    "to",
    "in",
    "on",
    "at",
    "by",
    "for",
    "with",
    "from",
    "and",
    "or",
    "but",
    "if",
    "is",
    "are",
    "was",
    "were",
    "be",
    "been",
    "do",
    "does",
    "did",
    "have",
    "has",
    "had",
    "will",
    "would",
    "can",
    "could",
    "should",
    "may",
    "i",
    "you",
    "he",
    "she",
    "it",
    "we",
    "they",
    "my",
    "your",
    "his",
    "her",
    "its",
    "our",
    "their",
    "this",
    "that",
    "these",
    "those",
    "what",
    "which",
    "who",
    "when",
    "where",
    "why",
    "how",
    "not",
    "as",
    "than",
    "so",
    "there",
]

Change = Callable[[ClassifierTraining], ClassifierTraining]


def shares(**wanted: float) -> Change:
    """Give groups other shares; 0 leaves a group out."""

    def change(config: ClassifierTraining) -> ClassifierTraining:
        groups = [
            group.model_copy(update={"share": wanted.get(group.name.replace("-", "_"), group.share)})
            for group in config.train
        ]
        return config.model_copy(update={"train": [group for group in groups if group.share > 0]})

    return change


def balance(power: float) -> Change:
    """Share a group's lines among sources by another power of their size."""
    return lambda config: config.model_copy(
        update={"train": [group.model_copy(update={"balance": power}) for group in config.train]}
    )


def settings(**changes: Any) -> Change:
    """Change fastText's settings."""
    return lambda config: config.model_copy(update={"fasttext": config.fasttext.model_copy(update=changes)})


def top(**changes: Any) -> Change:
    """Change top-level keys."""
    return lambda config: config.model_copy(update=changes)


def with_digits(contents: list[str]) -> str:
    """Make the view with digits left in: as letters of another alphabet, which no view blanks."""
    return text_view([contents[0].translate({ord(str(n)): chr(0x561 + n) for n in range(10)})])


def words_joined(contents: list[str]) -> str:
    """Make the view with Chinese characters not apart."""
    return re.sub(r"(?<=[^\x00-\x7f]) (?=[^\x00-\x7f])", "", text_view(contents))


def swapped(view: str, rng: random.Random) -> str:
    """Replace seven of ten function words by others, so that they tell nothing of a source's manner."""
    return " ".join(rng.choice(_COMMON) if word in _COMMON and rng.random() < 0.7 else word for word in view.split(" "))


def dropped(view: str, rng: random.Random) -> str:
    """Leave out three words of ten."""
    return " ".join(word for word in view.split(" ") if rng.random() >= 0.3)


def cropped(view: str, rng: random.Random) -> str:
    """Cut to a random run of 8 to 60 words."""
    words, length = view.split(), rng.randint(8, 60)
    start = rng.randrange(max(1, len(words) - length))
    return " ".join(words[start : start + length])


def unchanged(config: ClassifierTraining) -> ClassifierTraining:
    """Change nothing of the configuration."""
    return config


VARIANTS: dict[str, tuple[Change, Callable[..., str] | None, Callable[..., str] | None]] = {
    # name: (change of the configuration, another text view, change of each training line)
    "as bundled": (unchanged, None, None),
    "published rows only": (shares(written_en=0, written_zh=0, terms_en=0, terms_zh=0), None, None),
    "no written texts": (shares(written_en=0, written_zh=0), None, None),
    "no terms in templates": (shares(terms_en=0, terms_zh=0), None, None),
    "written texts and terms only": (shares(published_en=0.001, published_zh=0.001), None, None),
    "half the share of published rows": (shares(published_en=0.125, published_zh=0.04), None, None),
    "twice the share of published rows": (shares(published_en=0.5, published_zh=0.16), None, None),
    "no Chinese at all": (shares(published_zh=0, written_zh=0, terms_zh=0), None, None),
    "sources by size": (balance(1.0), None, None),
    "sources all alike": (balance(0.0), None, None),
    "words only, no character n-grams": (settings(min_chars=0, max_chars=0), None, None),
    "character n-grams 3 to 5": (settings(min_chars=3, max_chars=5), None, None),
    "no word bigrams": (settings(word_ngrams=1), None, None),
    "dimension 8": (settings(dim=8), None, None),
    "twice the epochs": (settings(epoch=8), None, None),
    "digits left in": (unchanged, with_digits, None),
    "Chinese characters not apart": (unchanged, words_joined, None),
    "function words swapped": (unchanged, None, swapped),
    "three of ten words dropped": (unchanged, None, dropped),
    "random crops": (unchanged, None, cropped),
    "all sources, also those whose licence rules them out": (top(licences=None), None, None),
    "all sources, published rows at 0.6 of the lines": (
        lambda config: shares(published_en=1.0, published_zh=0.2)(top(licences=None, rows_per_domain=16_000)(config)),
        None,
        None,
    ),
}


def measure(config: ClassifierTraining, changed: Callable[..., str] | None) -> dict[str, Any]:
    """Train without each source in turn and with all; return recall on left-out sources and accuracy on held-out rows."""
    started = time.perf_counter()
    material = training_lines.read_material(config, CONFIG.parent)
    pools, excluded = material.pools, material.excluded
    sources = leave_out.sources_to_leave_out(pools, excluded)
    folds = leave_out.grouped(sources, lambda together: leave_out.covers(pools, excluded, together))
    make = training_lines.training_lines

    def lines_of(*arguments: Any) -> list[str]:
        rng = random.Random(config.seed)
        lines = [line.partition(" ") for line in make(*arguments)]
        return [f"{label} {changed(view, rng) if changed else view}" for label, _, view in lines]

    with patch.object(leave_out, "training_lines", lines_of), tempfile.TemporaryDirectory() as scratch:
        left_out = leave_out.predict_left_out(
            folds, sources, pools, config, config.fasttext, excluded=excluded, workers=WORKERS
        )
        lines = Path(scratch, "lines.txt")
        leave_out.write_lines(lines_of(pools, config, excluded), lines)
        never = [row for pool in pools for row in pool.rows if row["source"] in excluded]
        rest = [*never, *(row for rows in material.held_out.values() for row in rows)]
        views = [leave_out.text_view([row["text"]]) for row in rest]
        probs = train_and_predict(lines, views, config.taxonomy, seed=config.seed, settings=config.fasttext)
    hits = dict(zip(map(id, rest), _hits(rest, probs, config), strict=True))
    hits |= dict(zip(map(id, left_out.rows), _hits(left_out.rows, left_out.probs, config), strict=True))
    found: dict[str, Any] = {}
    for pool in pools:
        if pool.group.form == "rows":
            own = {row["source"] for row in pool.rows}
            rows = [row for row in [*left_out.rows, *never] if row["source"] in own]
            found[f"unseen {pool.group.name}"] = float(
                np.average([hits[id(row)] for row in rows], weights=source_weights(rows))
            )
    found |= {
        f"held out {name.replace('held_out', 'valid')}": float(np.mean([hits[id(row)] for row in rows]))
        for name, rows in material.held_out.items()
    }
    return {name: round(value, 4) for name, value in found.items()} | {
        "seconds": round(time.perf_counter() - started, 1)
    }


def _hits(rows: list[LabelledRow], probs: np.ndarray, config: ClassifierTraining) -> np.ndarray:
    return probs.argmax(axis=1) == np.array([config.taxonomy.index(row["domain"]) for row in rows])


def main() -> None:
    """Run the variants and print the table."""
    flags = parser(__doc__ or "", repeats=1)
    flags.add_argument("--only", nargs="*", help="names of variants")
    arguments = flags.parse_args()
    if "VERSATUNE_SHARED_DATA" not in os.environ:
        print("skipped: VERSATUNE_SHARED_DATA names no folder that holds labelled/", file=sys.stderr)
        return
    logging.disable(logging.WARNING)
    base = load_section(ClassifierTraining, CONFIG)
    if arguments.quick:
        base = base.model_copy(update={"rows_per_domain": 500})
    results = {}
    for name, (change, view, changed) in VARIANTS.items():
        if arguments.only and name not in arguments.only:
            continue
        with (
            patch.object(training_lines, "text_view", view or text_view),
            patch.object(leave_out, "text_view", view or text_view),
        ):
            results[name] = measure(change(base), changed)
        print(json.dumps({name: results[name]}), file=sys.stderr, flush=True)
    about = {"machine": machine(), "versions": versions("versatune", "fasttext-numpy2", "numpy")}
    report("classifier_ablation", {**about, "variants": results}, arguments)


if __name__ == "__main__":
    main()
