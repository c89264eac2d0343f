"""A second opinion on what a tiny language model wrote, by a classifier that knows its sources: for probe_recovery.py.

It cannot be had for a real model, whose sources nobody knows. Here it tells apart the two things that can be wrong with a probe: that the
language model draws other shares than it was trained on, and that the labels of what it drew are wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.support.known_mixture import DOMAINS, SOURCES, Document, Floats
from versatune.mixing.correction import solve_on_simplex
from versatune.schemas.classifier import FastTextSettings
from versatune.schemas.taxonomy import Taxonomy
from versatune.transforms.classifier.fasttext_classifier import text_view, train_and_predict

_TAXONOMY = Taxonomy(domains=DOMAINS)
_SETTINGS = FastTextSettings(lr=0.5, epoch=8, word_ngrams=2, min_chars=0, max_chars=0, buckets=200_000)


def train_and_label(
    documents: Sequence[Document], texts: Sequence[Sequence[str]], folder: Path, seed: int = 0
) -> tuple[list[Floats], dict[str, Any]]:
    """Label texts with a classifier trained on every other document, and count its mistakes on the rest.

    Args:
        documents: of all sources of the language models, cut as the models saw them.
        texts: several lists.

    Returns:
        For each list the domain shares, corrected for the classifier's confusion; and how good it is.
    """
    order = np.random.default_rng(seed).permutation(len(documents))
    learned, asked = ([documents[i] for i in part] for part in (order[::2], order[1::2]))
    lines = folder / "insider.txt"
    lines.write_text("".join(f"__label__{d.domain} {text_view([d.text])}\n" for d in learned), encoding="utf-8")
    views = [[text_view([d.text]) for d in asked], *([text_view([text]) for text in part] for part in texts)]
    labels = train_and_predict(
        lines, [view for part in views for view in part], _TAXONOMY, seed=seed, settings=_SETTINGS
    )
    own, *others = np.split(labels, np.cumsum([len(part) for part in views])[:-1])
    confusion = confusion_of(asked, own)
    truth = np.array([DOMAINS.index(d.domain) for d in asked])
    about = {"accuracy": round(float((own.argmax(axis=1) == truth).mean()), 4), "documents": len(asked)}
    return [solve_on_simplex(confusion, part.mean(axis=0)) for part in others], about


def confusion_of(documents: Sequence[Document], labels: Floats) -> Floats:
    """Return (k, k): mean probabilities of a domain's documents, [given][true], the sources of a domain counting alike."""
    sources = np.array([d.source for d in documents])
    columns = [
        np.mean(
            [labels[sources == source].mean(axis=0) for source in SOURCES[domain] if (sources == source).any()], axis=0
        )
        for domain in DOMAINS
    ]
    return np.array(columns).T
