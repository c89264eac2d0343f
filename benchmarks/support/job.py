"""The work that every system of build_throughput.py does on a row, and the columns it writes.

Only what belongs to the row: no id, no origin, no checks. The classifier's file is versatune's own for all of them, called with thousands
of texts at a time, as fastText reads it; the dense ceiling has it made dense when it is loaded, as versatune does.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from versatune.schemas.taxonomy import DEFAULT_TAXONOMY
from versatune.transforms.classifier.fasttext_classifier import LABEL_PREFIX, DomainClassifier, bundled_model, text_view

BATCH_ROWS = 4096
DOMAINS = DEFAULT_TAXONOMY.domains
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SCHEMA = pa.schema(
    [
        ("messages", MESSAGES),
        ("source", pa.string()),
        ("domain", pa.string()),
        ("domain_probs", pa.list_(pa.float32(), len(DOMAINS))),
    ]
)
SOURCE = "synthetic"

Pair = tuple[str, str]
"""What the user says and what the assistant answers."""


def pair(row: Mapping[str, Any]) -> Pair:
    """Return a raw row's normalised turns; ``input`` is empty in all of these rows."""
    return normalised(row["instruction"]), normalised(row["output"])


def normalised(text: str) -> str:
    """Return text in Unicode form NFC without blanks around it."""
    return (text if text.isascii() else unicodedata.normalize("NFC", text)).strip()


@lru_cache(maxsize=1)
def classifier(*, dense: bool) -> DomainClassifier:
    """Load the bundled classifier, once for each process."""
    ours = DomainClassifier.load(None, DEFAULT_TAXONOMY)
    if dense:
        return ours
    return DomainClassifier(plain_model(), DEFAULT_TAXONOMY, sha256=ours.sha256, card=ours.card)


def probabilities(pairs: Sequence[Pair], *, dense: bool = False) -> np.ndarray:
    """Return the probabilities of the domains, (n, k) float32."""
    return classifier(dense=dense).predict([text_view(turns) for turns in pairs])


@lru_cache(maxsize=1)
def plain_model() -> Any:
    """Load the bundled classifier as fastText reads it, once for each process."""
    return fasttext.load_model(str(bundled_model()))


def one_row(turns: Pair) -> list[float]:
    """Return the probabilities of the domains for one row, as somebody gets them who asks fastText for one text at a time."""
    labels, scores = plain_model().predict(text_view(turns), k=len(DOMAINS))
    found = dict(zip(labels, scores, strict=True))
    return [float(found[LABEL_PREFIX + name]) for name in DOMAINS]


def record_batch(pairs: Sequence[Pair], *, dense: bool = False) -> pa.RecordBatch:
    """Label some rows and return them as columns."""
    count, probs = len(pairs), probabilities(pairs, dense=dense)
    contents = [content for turns in pairs for content in turns]
    turns = pa.StructArray.from_arrays(
        [pa.array(["user", "assistant"] * count), pa.array(contents)], fields=list(MESSAGES.value_type)
    )
    columns = [
        pa.ListArray.from_arrays(pa.array(range(0, 2 * count + 1, 2), pa.int32()), turns, type=MESSAGES),
        pa.repeat(SOURCE, count),
        pa.array(DOMAINS).take(pa.array(probs.argmax(axis=1))),
        pa.FixedSizeListArray.from_arrays(pa.array(probs.ravel()), len(DOMAINS)),
    ]
    return pa.record_batch(columns, schema=SCHEMA)
