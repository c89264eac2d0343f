"""About how many rows each domain will have, from the first rows of some files of each source."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from itertools import groupby

import numpy as np

from versatune.pipelines.build_plan import split_bytes
from versatune.schemas.config import Config, SourceConfig
from versatune.transforms.classifier.classify import classify_batch
from versatune.transforms.classifier.fasttext_classifier import DomainClassifier
from versatune.transforms.reading.normalize import normalize_batch
from versatune.transforms.reading.read import read_rows
from versatune.transforms.transport.batch import InputSplit

_ROWS = 100  # of each file
_FILES = 4  # of each source


def domain_rows(config: Config, splits: Sequence[InputSplit], classifier: DomainClassifier) -> dict[str, float]:
    """Return the estimate by domain; nothing where a source cannot be looked into cheaply, such as one of a hub.

    Args:
        config: sources, and the taxonomy.
        splits: what is to be read, by source.
        classifier: labels rows of sources without a domain of their own.
    """
    sources = {source.name: source for source in config.sources}
    if any(source.hub for source in sources.values()):
        return {}
    rows: defaultdict[str, float] = defaultdict(float)
    for name, of_source in groupby(splits, key=lambda split: split.source):
        for domain, count in _of_source(config, sources[name], list(of_source), classifier).items():
            rows[domain] += count
    return dict(rows)


def _of_source(
    config: Config, source: SourceConfig, splits: Sequence[InputSplit], classifier: DomainClassifier
) -> dict[str, float]:
    """Stretch what the first rows of a source are to all of its bytes."""
    seen: Counter[str] = Counter()
    read = 0
    for split in (splits[i] for i in sorted({round(i) for i in np.linspace(0, len(splits) - 1, _FILES)})):
        with closing(read_rows(split, _ROWS, config.build.max_row_bytes)) as batches:
            batch = next(batches, None)
        if batch is None:
            continue
        examples = normalize_batch(batch, source).examples
        if examples.num_rows:
            labelled = classify_batch(examples, classifier, config.taxonomy, source.domain)
            seen.update(labelled.column("domain").to_pylist())
        # A file that was read whole counts with its bytes: what frames its rows is not in them.
        read += batch.raw_bytes if len(batch.payloads) == _ROWS else split_bytes(split)
    stretch = max(sum(map(split_bytes, splits)) / read, 1.0) if read else 0.0
    return {domain: count * stretch for domain, count in seen.items()}
