"""How good a classifier's probabilities are: the figures of `versatune classifier evaluate` and of every card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from versatune.schemas.taxonomy import Taxonomy
from versatune.transforms.classifier.labelled_rows import LabelledRow

Floats = NDArray[np.float64]
_RELIABILITY_BINS = 15
_CURVE_POINTS = 101


def evaluation(
    rows: Sequence[LabelledRow],
    probs: NDArray[Any],
    taxonomy: Taxonomy,
    threshold: float,
    weights: Floats | None = None,
) -> dict[str, Any]:
    """Compare probabilities with the domains that the rows state.

    Args:
        probs: (n, k), columns in taxonomy order.
        threshold: a row whose highest probability is below it is undetermined.
        weights: (n,) what a row counts in ``ece``, ``coverage``, ``precision_determined`` and the curves (``source_weights``
            lets every source count alike); all rows alike when absent.

    Returns:
        ``rows``, ``accuracy``, ``macro_f1``, ``macro_recall`` (domains equally), ``source_macro_recall`` (sources equally
        within a domain, domains equally), ``per_domain``, ``per_source``, ``confusion`` (counts, [predicted][true]),
        ``soft_confusion`` (mean probability, [predicted][true]), ``ece``, ``nll``, ``reliability``, ``risk_coverage``,
        ``threshold``, ``coverage`` and ``precision_determined`` (None where no row is determined).
    """
    probs = np.asarray(probs, np.float64)
    truth = np.array([taxonomy.index(row["domain"]) for row in rows])
    weights = np.ones(len(rows)) if weights is None else weights
    top, hits = probs.max(axis=1), probs.argmax(axis=1) == truth
    counts = confusion_counts(probs, truth)
    per_domain = _per_domain(counts, taxonomy)
    per_source = _per_source(rows, hits, top >= threshold)
    return {
        "rows": len(rows),
        "accuracy": float(hits.mean()),
        "macro_f1": _mean(entry["f1"] for entry in per_domain.values() if entry["rows"] or entry["predicted"]),
        "macro_recall": _mean(entry["recall"] for entry in per_domain.values() if entry["rows"]),
        "source_macro_recall": source_macro_recall(per_source),
        "per_domain": per_domain,
        "per_source": per_source,
        "confusion": counts.tolist(),
        "soft_confusion": _soft_confusion(probs, truth).round(6).tolist(),
        "ece": expected_calibration_error(top, hits, weights),
        "nll": negative_log_likelihood(probs, truth, weights),
        "reliability": reliability(top, hits, weights),
        "risk_coverage": risk_coverage(top, hits, weights),
        "threshold": threshold,
        **determined(top, hits, weights, threshold),
    }


def source_weights(rows: Sequence[LabelledRow]) -> Floats:
    """Return (n,) weights of mean 1 with which domains count alike, and within a domain its sources."""
    groups = [(row["domain"], row["source"]) for row in rows]
    sizes: dict[tuple[str, str], int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    sources: dict[str, int] = {}
    for domain, _ in sizes:
        sources[domain] = sources.get(domain, 0) + 1
    return np.array([len(rows) / (len(sources) * sources[group[0]] * sizes[group]) for group in groups])


def source_macro_recall(per_source: dict[str, dict[str, Any]]) -> float:
    """Mean recall with sources counting alike within a domain, and domains alike."""
    by_domain: dict[str, list[float]] = {}
    for entry in per_source.values():
        for domain, recall in entry["recall_by_domain"].items():
            by_domain.setdefault(domain, []).append(recall)
    return _mean(_mean(recalls) for recalls in by_domain.values())


def confusion_counts(probs: Floats, truth: NDArray[np.intp]) -> NDArray[np.int64]:
    """Return (k, k) counts, [predicted][true]."""
    counts = np.zeros((probs.shape[1], probs.shape[1]), np.int64)
    np.add.at(counts, (probs.argmax(axis=1), truth), 1)
    return counts


def expected_calibration_error(top: Floats, hits: NDArray[np.bool_], weights: Floats) -> float:
    """Naeini et al. 2015: the mean distance of confidence and accuracy over 15 bins of equal width, bins weighted by their rows."""
    total = weights.sum()
    return float(sum(b["weight"] / total * abs(b["accuracy"] - b["confidence"]) for b in _bins(top, hits, weights)))


def reliability(top: Floats, hits: NDArray[np.bool_], weights: Floats) -> list[dict[str, float]]:
    """Return the bins of the reliability diagram that hold rows: ``from``, ``to``, ``rows``, ``confidence``, ``accuracy``."""
    names = ("from", "to", "rows", "confidence", "accuracy")
    return [{name: round(b[name], 6) for name in names} for b in _bins(top, hits, weights)]


def _bins(top: Floats, hits: NDArray[np.bool_], weights: Floats) -> list[dict[str, float]]:
    which = np.minimum((top * _RELIABILITY_BINS).astype(int), _RELIABILITY_BINS - 1)
    return [
        {
            "from": b / _RELIABILITY_BINS,
            "to": (b + 1) / _RELIABILITY_BINS,
            "rows": int(inside.sum()),
            "weight": float(weights[inside].sum()),
            "confidence": float(np.average(top[inside], weights=weights[inside])),
            "accuracy": float(np.average(hits[inside], weights=weights[inside])),
        }
        for b in range(_RELIABILITY_BINS)
        if (inside := which == b).any()
    ]


def risk_coverage(top: Floats, hits: NDArray[np.bool_], weights: Floats) -> list[dict[str, float]]:
    """Return ``threshold``, ``coverage`` and ``precision`` for 101 thresholds from 0 to 1, as far as rows are left."""
    points = []
    for threshold in np.linspace(0.0, 1.0, _CURVE_POINTS):
        point = determined(top, hits, weights, float(threshold))
        if point["precision_determined"] is not None:
            points.append(
                {
                    "threshold": round(float(threshold), 4),
                    "coverage": round(float(point["coverage"] or 0.0), 6),
                    "precision": round(point["precision_determined"], 6),
                }
            )
    return points


def determined(top: Floats, hits: NDArray[np.bool_], weights: Floats, threshold: float) -> dict[str, float | None]:
    """Return the share of rows at or above a threshold (``coverage``) and how many of those are right (``precision_determined``)."""
    inside = top >= threshold
    share = float(weights[inside].sum() / weights.sum())
    return {
        "coverage": share,
        "precision_determined": float(np.average(hits[inside], weights=weights[inside])) if share else None,
    }


def threshold_for(top: Floats, hits: NDArray[np.bool_], weights: Floats, precision: float) -> float:
    """Return the lowest threshold, in steps of 0.01, from which on the determined rows are at least this precise.

    From which on: a higher threshold must not be less precise than asked for either, as far as 1 % of the rows are left. 1.0 if
    there is no such threshold.
    """
    best = 1.0
    for step in range(100, -1, -1):
        point = determined(top, hits, weights, step / 100)
        if (point["coverage"] or 0.0) < 0.01:
            continue
        if (point["precision_determined"] or 0.0) < precision:
            break
        best = step / 100
    return best


def negative_log_likelihood(probs: Floats, truth: NDArray[np.intp], weights: Floats) -> float:
    """Return the mean of -ln p(true domain), in nats."""
    own = np.clip(probs[np.arange(len(truth)), truth], 1e-7, 1.0)
    return float(np.average(-np.log(own), weights=weights))


def weighted_macro_f1(rows: Sequence[LabelledRow], probs: Floats, taxonomy: Taxonomy) -> float:
    """Macro-F1 with domains counting alike, and within a domain its sources: the objective of a search."""
    truth, guess, weights = [taxonomy.index(row["domain"]) for row in rows], probs.argmax(axis=1), source_weights(rows)
    counts = np.zeros((len(taxonomy), len(taxonomy)))
    np.add.at(counts, (guess, truth), weights)
    return _mean(2 * counts.diagonal() / np.maximum(counts.sum(axis=0) + counts.sum(axis=1), 1e-12))


def label_errors(rows: Sequence[LabelledRow], probs: Floats, taxonomy: Taxonomy) -> dict[str, Any]:
    """Measure what a classifier says of the rows of each domain, and how well that is known, for whoever corrects shares by it.

    Every source counts alike within its domain, as a new source would be one more of them.

    Args:
        probs: (n, k) calibrated probabilities, columns in taxonomy order, of rows whose sources the classifier has not learned from.

    Returns:
        ``rows`` and ``sources``: k numbers of them, by true domain. ``hard`` (of the most probable domain) and ``soft`` (of the probabilities), each
        with ``rates``, (k, k), [given][true]: shares of the rows, or mean probabilities; and ``covariances``, (k, k, k): for each true
        domain the covariance matrix of the errors of its column of rates. A domain without rows has zeros.
    """
    members: list[dict[str, list[int]]] = [{} for _ in taxonomy.domains]
    for i, row in enumerate(rows):
        members[taxonomy.index(row["domain"])].setdefault(row["source"], []).append(i)
    sources = [list(own.values()) for own in members]
    votes = np.eye(len(taxonomy))[probs.argmax(axis=1)]
    return {
        "rows": [sum(map(len, own)) for own in sources],
        "sources": [len(own) for own in sources],
        "hard": _rates_with_covariances(votes, sources),
        "soft": _rates_with_covariances(probs, sources),
    }


def _rates_with_covariances(given: Floats, sources: Sequence[Sequence[Sequence[int]]]) -> dict[str, Any]:
    k = given.shape[1]
    rates, covariances = np.zeros((k, k)), np.zeros((k, k, k))
    for true, own in enumerate(sources):
        if own:
            rates[:, true], covariances[true] = mean_of_sources([given[members] for members in own])
    # Covariances of rare mistakes are small: two more decimals. Adding nothing makes a zero of what rounding calls minus zero.
    return {"rates": (rates.round(8) + 0.0).tolist(), "covariances": (covariances.round(10) + 0.0).tolist()}


def mean_of_sources(sources: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Return the mean vector of one domain's rows, sources counting alike, and the covariance matrix of its error.

    Rows of one source resemble each other, so the spread between the S sources, and not the number of rows, says how well the mean
    is known: B = sum of (m_s - m)(m_s - m)^T / (S (S - 1)). A few sources can agree by chance, and one has no spread, so it is
    at least W, the covariance were all rows independent: W + (B - W)+, where + keeps the positive eigenvalues (the between-group
    variance component, truncated as usual at nothing). Unlike the larger number cell by cell this is positive semi-definite, and
    unlike B + W it does not count the noise of rows twice; for every contrast of domains it is at least B's and at least W's.

    Args:
        sources: one (rows, k) array for each source.

    Returns:
        (k,) and (k, k).
    """
    means = np.array([own.mean(axis=0) for own in sources])
    of_rows = np.sum([_covariance_of_mean(own) for own in sources], axis=0) / len(sources) ** 2
    values, vectors = np.linalg.eigh(_covariance_of_mean(means) - of_rows)
    excess = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return means.mean(axis=0), of_rows + excess


def _covariance_of_mean(vectors: Floats) -> Floats:
    """Return the (k, k) sample covariance of (n, k) vectors, divided by n; of a single vector, which shows no spread, zeros."""
    n, centred = len(vectors), vectors - vectors.mean(axis=0)
    found: Floats = centred.T @ centred / (n * max(n - 1, 1))
    return found


def _soft_confusion(probs: Floats, truth: NDArray[np.intp]) -> Floats:
    k = probs.shape[1]
    return np.array([probs[truth == b].mean(axis=0) if (truth == b).any() else np.zeros(k) for b in range(k)]).T


def _per_domain(counts: NDArray[np.int64], taxonomy: Taxonomy) -> dict[str, dict[str, Any]]:
    hits, true_rows, guessed = counts.diagonal(), counts.sum(axis=0), counts.sum(axis=1)
    return {
        name: {
            "rows": int(true_rows[i]),
            "predicted": int(guessed[i]),
            "precision": float(hits[i] / max(guessed[i], 1)),
            "recall": float(hits[i] / max(true_rows[i], 1)),
            "f1": float(2 * hits[i] / max(true_rows[i] + guessed[i], 1)),
        }
        for i, name in enumerate(taxonomy.domains)
    }


def _per_source(
    rows: Sequence[LabelledRow], hits: NDArray[np.bool_], is_determined: NDArray[np.bool_]
) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row["source"], []).append(i)
    table = {}
    for source, members in sorted(groups.items()):
        domains: dict[str, list[bool]] = {}
        for i in members:
            domains.setdefault(rows[i]["domain"], []).append(bool(hits[i]))
        sure = is_determined[members]
        table[source] = {
            "rows": len(members),
            "accuracy": float(hits[members].mean()),
            "recall_by_domain": {domain: float(np.mean(own)) for domain, own in sorted(domains.items())},
            "coverage": float(sure.mean()),
            "precision_determined": float(hits[members][sure].mean()) if sure.any() else None,
        }
    return table


def _mean(values: Any) -> float:
    numbers = list(values)
    return float(np.mean(numbers)) if numbers else 0.0
