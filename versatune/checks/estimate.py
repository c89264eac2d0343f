"""About how many rows each domain will have, from the first rows of some files of each source."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from itertools import groupby

import numpy as np

from versatune.checks.subject import Subject
from versatune.pipelines.build_plan import split_bytes
from versatune.schemas.config import SourceConfig
from versatune.transforms.classifier.classify import classify_batch
from versatune.transforms.classifier.fasttext_classifier import DomainClassifier
from versatune.transforms.reading.normalize import normalize_batch
from versatune.transforms.reading.read import read_rows
from versatune.transforms.transport.batch import InputSplit

_ROWS = 100  # of each file
_FILES = 4  # of each source


def domain_rows(subject: Subject) -> dict[str, float]:
    """Return the estimate by domain; nothing where a source cannot be looked into cheaply, such as one of a hub."""
    splits, classifier = subject.splits.value, subject.classifier.value
    sources = {source.name: source for source in subject.config.sources}
    if splits is None or classifier is None or any(source.hub for source in sources.values()):
        return {}
    rows: Counter[str] = Counter()
    for name, of_source in groupby(splits, key=lambda split: split.source):
        _add(rows, list(of_source), sources[name], classifier, subject)
    return dict(rows)


def _add(
    rows: Counter[str], splits: list[InputSplit], source: SourceConfig, classifier: DomainClassifier, subject: Subject
) -> None:
    """Stretch what the first rows of a source are to all of its bytes."""
    chosen = [splits[i] for i in sorted({round(i) for i in np.linspace(0, len(splits) - 1, _FILES)})]
    seen: Counter[str] = Counter()
    read = stretch = 0
    for split in chosen:
        with closing(read_rows(split, _ROWS, subject.config.build.max_row_bytes)) as batches:
            batch = next(batches, None)
        if batch is None:
            continue
        examples = normalize_batch(batch, source).examples
        if examples.num_rows:
            labelled = classify_batch(examples, classifier, subject.config.taxonomy, source.domain)
            seen.update(labelled.column("domain").to_pylist())
        whole = len(batch.payloads) < _ROWS  # then the file's bytes, with what frames its rows, say nothing more
        read += split_bytes(split) if whole else batch.raw_bytes
    stretch = sum(map(split_bytes, splits)) / read if read else 0.0
    for domain, count in seen.items():
        rows[domain] += count * max(stretch, 1.0)
