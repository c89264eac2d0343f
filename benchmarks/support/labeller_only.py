"""Does the estimate of known shares hold if only the labels can be wrong? No language model: documents are drawn, and labelled, for probe_recovery.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from benchmarks.support.known_mixture import DOMAINS, Floats, covered, order_right, total_variation
from versatune.mixing.correction import solve_on_simplex
from versatune.mixing.estimate_shares import estimate_shares
from versatune.mixing.label_errors import LabelErrors
from versatune.schemas.taxonomy import Taxonomy
from versatune.transforms.classifier.labelled_rows import LabelledRow
from versatune.transforms.classifier.metrics import label_errors

ALPHA = 0.05
_LEFT_TO_CALIBRATE = 2


class Estimated(Protocol):
    """Shares and intervals, of a probe's report or fresh from the estimator."""

    @property
    def shares(self) -> Sequence[float] | Floats:
        """The estimate."""

    @property
    def lower(self) -> Sequence[float] | Floats:
        """Lower ends."""

    @property
    def upper(self) -> Sequence[float] | Floats:
        """Upper ends."""


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Labelled documents of one source: its domain's position, and (n, k) what the classifier says of them."""

    domain: int
    labels: Floats


def draw_labels(sources: Sequence[Labelled], shares: Sequence[float], count: int, rng: np.random.Generator) -> Floats:
    """Draw documents as a probe does, independently: a domain by its share, one of its sources, a document of it.

    Returns:
        (count, k) their labels.
    """
    by_domain = [[source for source in sources if source.domain == i] for i in range(len(shares))]
    drawn = []
    for domain, number in enumerate(rng.multinomial(count, shares)):
        own = by_domain[domain]
        for source, part in zip(own, rng.multinomial(number, [1 / len(own)] * len(own)), strict=True):
            drawn.append(source.labels[rng.integers(len(source.labels), size=part)])
    return np.concatenate(drawn)


def check(
    draws: Callable[[np.random.Generator], tuple[Sequence[Labelled], LabelErrors]],
    mixtures: Mapping[str, Sequence[float]],
    *,
    count: int,
    repetitions: int,
    seed: int = 0,
) -> dict[str, Any]:
    """Estimate known shares again and again.

    Args:
        draws: gives, for each repetition, the sources to draw from and what is known of the classifier's errors.

    Returns:
        By mixture and estimator: mean and largest total variation distance, how often the order was right, how often all true shares
        lay in the interval, and the share of single intervals that held theirs.
    """
    found: dict[str, Any] = {}
    for name, shares in mixtures.items():
        rng = np.random.default_rng([seed, *map(ord, name)])
        tries: dict[str, list[dict[str, Any]]] = {}
        whole = []
        for _ in range(repetitions):
            sources, errors = draws(rng)
            labels = draw_labels(sources, shares, count, rng)
            results = judged(labels, shares, errors)
            whole.append(whole_correction(results["hard"], shares, errors))
            for estimate, one in results.items():
                tries.setdefault(estimate, []).append(one)
        found[name] = {estimate: summary(each) for estimate, each in tries.items()}
        found[name]["whole_correction"] = mean_and_largest(whole)
    return found


def judged(labels: Floats, shares: Sequence[float], errors: LabelErrors | None) -> dict[str, dict[str, Any]]:
    """Compare every estimate from (n, k) labels with the truth."""
    estimates = estimate_shares(labels, alpha=ALPHA, looks=1, errors=errors).estimates
    return {str(estimate.name): figures(estimate, shares) for estimate in estimates}


def figures(estimate: Estimated, shares: Sequence[float]) -> dict[str, Any]:
    """Compare an estimate with the truth."""
    return {
        "shares": rounded(estimate.shares),
        "lower": rounded(estimate.lower),
        "upper": rounded(estimate.upper),
        "tv": round(total_variation(shares, estimate.shares), 4),
        "rank_order_right": order_right(shares, estimate.shares),
        "covered": covered(shares, estimate.lower, estimate.upper),
    }


def whole_correction(hard: Mapping[str, Any], shares: Sequence[float], errors: LabelErrors) -> float:
    """Return the total variation distance of hard shares corrected in full, however well the error rates are known."""
    return total_variation(shares, solve_on_simplex(errors.hard.matrix, np.array(hard["shares"])))


def mean_and_largest(distances: Sequence[float]) -> dict[str, float]:
    """Sum up distances as :func:`summary` does."""
    return {"tv_mean": round(float(np.mean(distances)), 4), "tv_max": round(float(np.max(distances)), 4)}


def rounded(vector: Sequence[float] | Floats) -> list[float]:
    """Return shares with four decimals."""
    return [round(float(value), 4) for value in vector]


def summary(tries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sum up what :func:`judged` says of one estimator."""
    distances = [one["tv"] for one in tries]
    orders = [one["rank_order_right"] for one in tries if one["rank_order_right"] is not None]
    widths = [(high - low) / 2 for one in tries for low, high in zip(one["lower"], one["upper"], strict=True)]
    return {
        "runs": len(tries),
        "tv_mean": round(float(np.mean(distances)), 4),
        "tv_max": round(float(np.max(distances)), 4),
        "rank_order_right": round(float(np.mean(orders)), 4) if orders else None,
        "all_covered": round(float(np.mean([all(one["covered"]) for one in tries])), 4),
        "coverage": round(float(np.mean([one["covered"] for one in tries])), 4),
        "half_width_mean": round(float(np.mean(widths)), 4),
    }


def split_sources(
    rows: Sequence[LabelledRow], probs: Floats, taxonomy: Taxonomy, only: Callable[[str], bool]
) -> Callable[[np.random.Generator], tuple[list[Labelled], LabelErrors]]:
    """Return what draws, of each domain, about half of its sources to estimate on; the errors are measured on the others.

    Which sources a real model writes like, nobody knows. So a correction must hold for sources that it was not measured on.

    Args:
        rows: of sources that the classifier did not learn from.
        probs: (n, k), its probabilities for them.
        only: whether documents of a source may be drawn; the others (of another language, say) only measure errors.
    """
    members: dict[tuple[str, str], list[int]] = {}
    for i, row in enumerate(rows):
        members.setdefault((row["domain"], row["source"]), []).append(i)

    def drawn(rng: np.random.Generator) -> tuple[list[Labelled], LabelErrors]:
        tested: list[tuple[str, str]] = []
        for domain in DOMAINS:
            own = [pair for pair in members if pair[0] == domain]
            usable = [pair for pair in own if only(pair[1])]
            most = min(len(own) - _LEFT_TO_CALIBRATE, (len(usable) + 1) // 2)
            tested += [usable[i] for i in rng.permutation(len(usable))[:most]]
        left = [i for pair, own in members.items() if pair not in tested for i in own]
        errors = LabelErrors.from_json(label_errors([rows[i] for i in left], probs[left], taxonomy))
        return [Labelled(domain=DOMAINS.index(pair[0]), labels=probs[members[pair]]) for pair in tested], errors

    return drawn
