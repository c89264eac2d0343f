"""Simulated probes whose truth is known: do the intervals hold it as often as they say?

Texts of a domain lie around a point of their own, those of one source around a point near it. The classifier sees how near a text
is to each domain's point, through a confusion that is not symmetric, so that its probabilities are about right and not quite. It
is measured on 4 to 9 sources of each domain, of 60 to 600 rows, drawn afresh for each probe; every probed text is of a source of
its own, which the classifier has not seen.
"""

from __future__ import annotations

import numpy as np
import pytest

from versatune.mixing.estimate_shares import estimate_shares
from versatune.mixing.intervals import bonferroni_z
from versatune.mixing.label_errors import LabelErrors, Rates

PROBES, SAMPLES, K = 120, 2000, 6
MIXTURES = {
    "uniform": [1 / 6] * 6,
    "mostly general": [0.04, 0.09, 0.07, 0.06, 0.18, 0.56],
    "mostly code": [0.02, 0.05, 0.03, 0.08, 0.60, 0.22],
    "without medicine": [0.25, 0.00, 0.25, 0.20, 0.10, 0.20],
    "little law": [0.005, 0.30, 0.15, 0.25, 0.02, 0.275],
}
NEARNESS = 1.5 * np.array(
    [
        [3.0, 0.2, 1.0, 0.2, 0.0, 0.8],
        [0.2, 3.0, 0.3, 1.1, 0.0, 0.6],
        [1.4, 0.3, 2.8, 0.3, 0.3, 0.8],
        [0.1, 1.2, 0.3, 2.9, 0.3, 1.0],
        [0.0, 0.0, 0.2, 0.3, 3.6, 0.4],
        [0.9, 0.7, 0.9, 1.2, 0.5, 2.4],
    ]
)
OF_TEXTS, OF_SOURCES = 1.5, 0.75
NAMES = ("soft", "hard", "corrected", "em")


def classify(rng: np.random.Generator, domains: np.ndarray, sources: np.ndarray) -> np.ndarray:
    logits = NEARNESS[domains] + OF_SOURCES * sources + OF_TEXTS * rng.standard_normal((len(domains), K))
    likelihood = np.exp(logits - logits.max(axis=1, keepdims=True))
    return likelihood / likelihood.sum(axis=1, keepdims=True)


def measure_classifier(rng: np.random.Generator) -> LabelErrors:
    """Sources of a domain count alike; how they differ says how well their mean is known."""
    means: list[list[np.ndarray]] = []
    sources, rows = rng.integers(4, 10, size=K), np.zeros(K, np.int64)
    for domain in range(K):
        means.append([])
        for size in np.exp(rng.uniform(np.log(60), np.log(600), size=sources[domain])).astype(int):
            labels = classify(rng, np.full(size, domain), rng.standard_normal(K))
            means[-1].append(np.array([np.eye(K)[labels.argmax(axis=1)].mean(axis=0), labels.mean(axis=0)]))
            rows[domain] += size
    hard, soft = (
        Rates(
            matrix=np.array([np.mean(own, axis=0)[kind] for own in means]).T,
            covariances=np.array([np.cov(np.array(own)[:, kind], rowvar=False) / len(own) for own in means]),
        )
        for kind in (0, 1)
    )
    return LabelErrors(rows=rows, sources=sources, hard=hard, soft=soft, names=tuple("abcdef"))


@pytest.fixture(scope="module")
def simulated() -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """Per mixture and estimate, over the probes: what covers, with all that is known and with sampling alone, and how wide."""
    rng, z = np.random.default_rng(20250117), bonferroni_z(0.05, K)
    seen: dict[tuple[str, str], list[tuple[object, ...]]] = {}
    for mixture, shares in MIXTURES.items():
        truth = np.array(shares)
        for _ in range(PROBES):
            errors = measure_classifier(rng)
            domains = rng.choice(K, size=SAMPLES, p=truth)
            labels = classify(rng, domains, rng.standard_normal((SAMPLES, K)))
            found = estimate_shares(labels, alpha=0.05, looks=1, errors=errors)
            for name in NAMES:
                e = found[name]
                covers = bool(((e.lower <= truth) & (truth <= e.upper)).all())
                of_sampling = bool((np.abs(e.shares - truth) <= z * e.sampling_errors).all())
                seen.setdefault((mixture, name), []).append(
                    (covers, of_sampling, e.shares - truth, (e.upper - e.lower) / 2, z * e.sampling_errors)
                )
    columns = ("covers", "of_sampling", "errors", "half_widths", "of_sampling_half_widths")
    return {
        key: {column: np.array(values) for column, values in zip(columns, zip(*rows, strict=True), strict=True)}
        for key, rows in seen.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_truth_lies_in_all_intervals_of_an_estimate_as_often_as_promised(simulated, name) -> None:
    rates = {mixture: float(simulated[mixture, name]["covers"].mean()) for mixture in MIXTURES}
    assert np.mean(list(rates.values())) >= 0.95, rates
    assert min(rates.values()) >= 0.93, rates


@pytest.mark.parametrize("name", NAMES)
def test_intervals_that_forget_how_the_classifier_errs_miss_the_truth(simulated, name) -> None:
    rates = {mixture: float(simulated[mixture, name]["of_sampling"].mean()) for mixture in MIXTURES}
    assert max(rates.values()) < 0.93, rates


@pytest.mark.parametrize("mixture", MIXTURES)
def test_intervals_are_as_wide_as_the_estimate_scatters_and_not_much_wider(simulated, mixture) -> None:
    corrected = simulated[mixture, "corrected"]
    needed = bonferroni_z(0.05, K) * float(np.sqrt((corrected["errors"] ** 2).mean()))
    assert 0.8 * needed < corrected["half_widths"].mean() < 1.6 * needed
    assert corrected["half_widths"].mean() < 5.0 * corrected["of_sampling_half_widths"].mean()


@pytest.mark.parametrize("mixture", [mixture for mixture in MIXTURES if mixture != "uniform"])
def test_the_correction_brings_the_shares_nearer_to_the_truth(simulated, mixture) -> None:
    distance = {name: float(np.abs(simulated[mixture, name]["errors"]).sum(axis=1).mean() / 2) for name in NAMES}
    assert distance["corrected"] < distance["hard"] < distance["soft"]


def test_looking_ten_times_does_not_spoil_the_intervals() -> None:
    rng, truth, looks = np.random.default_rng(7), np.array(MIXTURES["mostly general"]), 10
    always = dict.fromkeys(NAMES, 0)
    for _ in range(30):
        errors = measure_classifier(rng)
        domains = rng.choice(K, size=400 * looks, p=truth)
        labels = classify(rng, domains, rng.standard_normal((len(domains), K)))
        held = dict.fromkeys(NAMES, True)
        for number in range(1, looks + 1):
            found = estimate_shares(labels[: 400 * number], alpha=0.05, looks=looks, errors=errors)
            for e in found.estimates:
                held[e.name] &= bool(((e.lower <= truth) & (truth <= e.upper)).all())
        always = {name: always[name] + held[name] for name in NAMES}
    assert min(always.values()) / 30 >= 0.93, always
