"""Looking at a probe after each round: label the new samples, estimate, decide whether to go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from versatune.mixing.estimate_shares import ShareEstimates, estimate_shares
from versatune.mixing.label_errors import LabelErrors
from versatune.mixing.stopping import decide
from versatune.schemas.probe import EstimateName, Look, Rounds
from versatune.schemas.taxonomy import Taxonomy
from versatune.transforms.classifier.fasttext_classifier import DomainClassifier, shared_classifier, text_view
from versatune.transforms.probing.generate import reject_reason
from versatune.transforms.probing.generation_store import read_store
from versatune.transforms.transport.storage import delete_tree, match, read_bytes, replace_bytes

_LABEL_ROWS = 1024


@dataclass(frozen=True, kw_only=True)
class LookPlan:
    """What a worker needs to look at a round: plain values, the same on every worker.

    Attributes:
        store: the directory of the generations.
        classifier: the fastText model; the bundled one when absent.
        samples: to draw at most; the last round may be smaller than the others.
        errors: how the classifier errs; None where that is not known.
    """

    store: str
    taxonomy: Taxonomy
    classifier: str | None
    classifier_sha256: str | None
    rounds: Rounds
    samples: int
    alpha: float
    estimator: EstimateName
    errors: LabelErrors | None

    def indices(self, number: int) -> range:
        """Return the samples of a round; the first round is 1."""
        m = self.rounds.samples_per_round
        return range((number - 1) * m, min(number * m, self.samples))

    def estimates(self, probabilities: npt.NDArray[np.float32]) -> ShareEstimates:
        """Estimate the shares from (n, k) label probabilities, with intervals that hold for all planned looks at once.

        Where no look can end the probe only the last one counts.
        """
        return estimate_shares(probabilities, alpha=self.alpha, looks=self.rounds.planned_looks, errors=self.errors)


class Seen(NamedTuple):
    """What has been seen of a probe so far; it travels from round to round."""

    looks: tuple[Look, ...]
    probabilities: npt.NDArray[np.float32]
    """(n, k) of the samples that count."""

    @property
    def stop(self) -> bool:
        """Whether the last look says that it is enough."""
        return bool(self.looks) and self.looks[-1].stop


def nothing_seen(plan: LookPlan) -> Seen:
    """Return what has been seen before the first round."""
    return Seen((), np.empty((0, len(plan.taxonomy)), np.float32))


def look_at(seen: Seen, number: int, plan: LookPlan) -> Seen:
    """Look at a round whose samples are kept.

    The result depends on the kept samples alone. A round after which fewer than two samples count is passed over: there is no estimate.
    It is also noted beside the store, for those who watch.
    """
    indices = plan.indices(number)
    texts = read_store(plan.store, indices.start, indices.stop).table.column("text").to_pylist()
    counted = [text for text in texts if not reject_reason(text)]
    classifier = shared_classifier(plan.classifier, plan.taxonomy, plan.classifier_sha256)
    probabilities = np.concatenate([seen.probabilities, label_texts(counted, classifier)])
    if len(probabilities) < 2:
        return seen._replace(probabilities=probabilities)
    found = plan.estimates(probabilities)[plan.estimator]
    before = seen.looks[-1] if seen.looks else None
    decision = decide(
        found.shares,
        found.sampling_errors,
        previous=before.shares if before else None,
        number=number,
        plan=plan.rounds,
        alpha=plan.alpha,
    )
    look = Look(
        round=number,
        samples=indices.stop,
        counted=len(probabilities),
        shares=found.shares.tolist(),
        half_widths=decision.half_widths.tolist(),
        change=decision.change,
        stop=decision.stop,
    )
    replace_bytes(f"{plan.store}/looks/{number:04d}.json", orjson.dumps(look.model_dump(mode="json")), durable=False)
    return Seen((*seen.looks, look), probabilities)


def forget_looks(store: str) -> None:
    """Delete what an earlier probe noted beside a store: its rounds may have been others, and more."""
    delete_tree(f"{store}/looks")


def newest_look(store: str) -> Look | None:
    """Return what was noted last beside a store."""
    files = list(match(f"{store}/looks/*.json"))
    return Look.model_validate(orjson.loads(read_bytes(files[-1]))) if files else None


def label_texts(texts: Sequence[str], classifier: DomainClassifier) -> npt.NDArray[np.float32]:
    """Return (n, k) label probabilities."""
    parts = [
        classifier.predict([text_view([text]) for text in texts[start : start + _LABEL_ROWS]])
        for start in range(0, len(texts), _LABEL_ROWS)
    ]
    return np.concatenate([np.empty((0, len(classifier.labels)), np.float32), *parts])
