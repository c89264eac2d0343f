"""Give every example a domain: the classifier's most probable one, or the one its source is pinned to.

Where the classifier's highest probability is below its threshold the domain is undetermined: such an example is marked, and rejected if
the configuration asks for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import PCollection

from versatune.schemas.arrow import classified_fields
from versatune.schemas.taxonomy import Taxonomy
from versatune.transforms.classifier.fasttext_classifier import shared_classifier, text_view_of_bytes
from versatune.transforms.shapes.base import REASONING
from versatune.transforms.transport.batch import Batch, example_payloads, rejected_rows, with_rejects
from versatune.transforms.transport.messages import contents_without

STAGE = "classify"
UNDETERMINED_DOMAIN = "undetermined_domain"
CLASSIFY_REASONS = {
    UNDETERMINED_DOMAIN: "no domain is probable enough to be relied on (classifier.undetermined is reject)"
}


class Classifier(Protocol):
    """What classification needs: probabilities of the taxonomy's domains, in its order, and how high one must be."""

    undetermined_below: float

    def predict(self, texts: list[str]) -> np.ndarray:
        """Return (n, k) float32, rows that sum to one."""


def classify_batch(
    examples: pa.RecordBatch, classifier: Classifier, taxonomy: Taxonomy, pinned: str | None = None
) -> pa.RecordBatch:
    """Add ``domain``, ``domain_probs`` and ``undetermined`` to normalised rows.

    The text that is classified is what the user and the assistant say: a system turn is about the speaker, not the subject,
    and thoughts would take the place of the answer, for the beginning alone is read.

    Args:
        examples: rows of ``versatune.schemas.arrow.NORMALIZED``.
        classifier: gives (n, k) float32 probabilities in taxonomy order.
        taxonomy: the domains.
        pinned: the domain (or alias) of all these rows; they keep the classifier's probabilities but not its choice, and
            none of them is undetermined.
    """
    texts = [text_view_of_bytes(text) for text in contents_without(examples, "system", REASONING)]
    probs = classifier.predict(texts)
    chosen = np.full(len(texts), taxonomy.index(pinned)) if pinned else probs.argmax(axis=1)
    unsure = np.zeros(len(texts), bool) if pinned else undetermined(probs, classifier.undetermined_below)
    columns = [
        pa.array(taxonomy.domains).take(pa.array(chosen)),
        pa.FixedSizeListArray.from_arrays(pa.array(probs.ravel()), len(taxonomy)),
        pa.array(unsure),
    ]
    schema = pa.schema([*examples.schema, *classified_fields(len(taxonomy))])
    return pa.RecordBatch.from_arrays([*examples.columns, *columns], schema=schema)


def undetermined(probs: np.ndarray, below: float) -> np.ndarray:
    """Say of which rows of (n, k) probabilities the highest is below the threshold, (n,) bool."""
    return np.asarray(probs.max(axis=1) < below)


def reject_undetermined(batch: Batch, below: float) -> Batch:
    """Reject the examples of a classified batch that are undetermined.

    Args:
        batch: as :func:`classify_batch` leaves it.
        below: the classifier's threshold, for the detail.
    """
    unsure = batch.examples.column("undetermined")
    refused = batch.examples.filter(unsure)
    if not refused.num_rows:
        return batch
    highest = probabilities(refused).max(axis=1).tolist()
    details = [
        f"the most probable domain is {domain} with {probability:.4f}; expected at least {below:.4f}"
        for domain, probability in zip(refused.column("domain").to_pylist(), highest, strict=True)
    ]
    rejects = rejected_rows(
        refused.column("row"),
        refused.column("item"),
        stages=[STAGE] * len(details),
        reasons=[UNDETERMINED_DOMAIN] * len(details),
        details=details,
        payloads=example_payloads(refused),
    )
    return with_rejects(batch, batch.examples.filter(pc.invert(unsure)), rejects)


def probabilities(examples: pa.RecordBatch) -> np.ndarray:
    """Return the probabilities of classified rows, (n, k) float32."""
    column = examples.column("domain_probs")
    return np.asarray(column.flatten().to_numpy().reshape(-1, column.type.list_size))


@dataclass(kw_only=True)
class ClassifyDomains(beam.PTransform[PCollection[Batch], PCollection[Batch]]):
    """Batches in, the same with a domain for each example out."""

    taxonomy: Taxonomy
    path: str | None = None
    """The fastText model; the bundled one when absent."""
    sha256: str | None = None
    pinned: Mapping[str, str] = field(default_factory=dict)
    """Domain by source."""
    reject_undetermined: bool = False
    """Leave out the examples whose domain is undetermined."""

    def expand(self, batches: PCollection[Batch]) -> PCollection[Batch]:
        """Classify on every worker, with one model per process."""
        return batches | "ClassifyBatch" >> beam.ParDo(
            _ClassifyFn(self.taxonomy, self.path, self.sha256, dict(self.pinned), self.reject_undetermined)
        )


@beam.typehints.with_output_types(Batch)
class _ClassifyFn(beam.DoFn):
    def __init__(
        self, taxonomy: Taxonomy, path: str | None, sha256: str | None, pinned: dict[str, str], reject: bool
    ) -> None:
        self._taxonomy, self._path, self._sha256, self._pinned, self._reject = taxonomy, path, sha256, pinned, reject

    def setup(self) -> None:
        """Load the model where the work is done: it cannot travel."""
        self._classifier: Any = shared_classifier(self._path, self._taxonomy, self._sha256)

    def process(self, batch: Batch) -> Iterator[Batch]:
        pinned = self._pinned.get(batch.split.source)
        batch = batch._replace(examples=classify_batch(batch.examples, self._classifier, self._taxonomy, pinned))
        yield reject_undetermined(batch, self._classifier.undetermined_below) if self._reject else batch
