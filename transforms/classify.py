"""Give every example a domain: the classifier's most probable one, or the one its source is pinned to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.pvalue import PCollection

from schemas.arrow import classified_fields
from schemas.taxonomy import Taxonomy
from transforms.batch import Batch
from transforms.fasttext_classifier import shared_classifier, text_view
from transforms.messages import contents_without


class Classifier(Protocol):
    """What classification needs: probabilities of the taxonomy's domains, in its order."""

    def predict(self, texts: list[str]) -> np.ndarray:
        """Return (n, k) float32, rows that sum to one."""


def classify_batch(
    examples: pa.RecordBatch, classifier: Classifier, taxonomy: Taxonomy, pinned: str | None = None
) -> pa.RecordBatch:
    """Add ``domain`` and ``domain_probs`` to normalised rows.

    The text that is classified is what the user and the assistant say: a system turn is about the speaker, not the subject.

    Args:
        examples: rows of ``schemas.arrow.NORMALIZED``.
        classifier: gives (n, k) float32 probabilities in taxonomy order.
        taxonomy: the domains.
        pinned: the domain (or alias) of all these rows; they keep the classifier's probabilities but not its choice.
    """
    texts = [text_view(contents) for contents in contents_without(examples, "system")]
    probs = classifier.predict(texts)
    chosen = np.full(len(texts), taxonomy.index(pinned)) if pinned else probs.argmax(axis=1)
    columns = [
        pa.array(taxonomy.domains).take(pa.array(chosen)),
        pa.FixedSizeListArray.from_arrays(pa.array(probs.ravel()), len(taxonomy)),
    ]
    schema = pa.schema([*examples.schema, *classified_fields(len(taxonomy))])
    return pa.RecordBatch.from_arrays([*examples.columns, *columns], schema=schema)


@dataclass(kw_only=True)
class ClassifyDomains(beam.PTransform[PCollection[Batch], PCollection[Batch]]):
    """Batches in, the same with a domain for each example out."""

    taxonomy: Taxonomy
    path: str | None = None
    """The fastText model; the bundled one when absent."""
    sha256: str | None = None
    pinned: Mapping[str, str] = field(default_factory=dict)
    """Domain by source."""

    def expand(self, batches: PCollection[Batch]) -> PCollection[Batch]:
        """Classify on every worker, with one model per process."""
        return batches | "ClassifyBatch" >> beam.ParDo(
            _ClassifyFn(self.taxonomy, self.path, self.sha256, dict(self.pinned))
        )


@beam.typehints.with_output_types(Batch)
class _ClassifyFn(beam.DoFn):
    def __init__(self, taxonomy: Taxonomy, path: str | None, sha256: str | None, pinned: dict[str, str]) -> None:
        self._taxonomy, self._path, self._sha256, self._pinned = taxonomy, path, sha256, pinned

    def setup(self) -> None:
        """Load the model where the work is done: it cannot travel."""
        self._classifier: Any = shared_classifier(self._path, self._taxonomy, self._sha256)

    def process(self, batch: Batch) -> Iterator[Batch]:
        pinned = self._pinned.get(batch.split.source)
        yield batch._replace(examples=classify_batch(batch.examples, self._classifier, self._taxonomy, pinned))
