from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from versatune.mixing.estimate_shares import ShareEstimates, estimate_shares
from versatune.mixing.intervals import bonferroni_t, bonferroni_z
from versatune.mixing.label_errors import LabelErrors, Rates
from versatune.schemas.errors import DataError

K = 4


def label_errors(seed: int = 0) -> LabelErrors:
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(2):
        matrix = 0.7 * np.eye(K) + 0.3 * rng.dirichlet(np.ones(K), size=K).T
        roots = 0.02 * rng.standard_normal((K, K, K))
        parts.append(Rates(matrix=matrix, covariances=roots @ roots.transpose(0, 2, 1)))
    return LabelErrors(
        rows=np.array([90, 200, 300, 80]),
        sources=np.array([5, 3, 9, 4]),
        hard=parts[0],
        soft=parts[1],
        names=("a", "b", "c", "d"),
    )


def labels(seed: int = 0, n: int = 400) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet([2.0, 0.4, 0.4, 0.2], size=n)


def by_name(found: ShareEstimates) -> dict[str, dict[str, np.ndarray]]:
    vectors = ("shares", "standard_errors", "sampling_errors", "lower", "upper")
    return {e.name: {vector: getattr(e, vector) for vector in vectors} for e in found.estimates}


def test_all_four_are_distributions_within_their_intervals() -> None:
    found = estimate_shares(labels(), alpha=0.05, looks=1, errors=label_errors())
    assert [e.name for e in found.estimates] == ["soft", "hard", "corrected", "em"]
    assert not found.refused
    for e in found.estimates:
        assert e.shares.sum() == pytest.approx(1.0, abs=1e-9)
        assert ((e.lower >= 0.0) & (e.lower <= e.shares) & (e.shares <= e.upper) & (e.upper <= 1.0)).all()
        assert (e.sampling_errors <= e.standard_errors).all()
        assert e.covers == "sampling and labels"


def test_intervals_of_biased_estimates_reach_to_the_corrected_one() -> None:
    found = estimate_shares(labels(), alpha=0.05, looks=1, errors=label_errors())
    alone = estimate_shares(labels(), alpha=0.05, looks=1, errors=None)
    for name in ("soft", "hard"):
        for other in (found["corrected"], alone[name]):
            assert (found[name].lower <= other.lower).all()
            assert (found[name].upper >= other.upper).all()


def test_without_label_errors_intervals_say_that_they_cover_sampling_alone() -> None:
    found = estimate_shares(labels(), alpha=0.05, looks=1, errors=None)
    assert [(e.name, e.covers) for e in found.estimates] == [
        ("soft", "sampling"),
        ("hard", "sampling"),
        ("em", "sampling"),
    ]
    assert "nothing is known of the classifier's errors" in found.refused["corrected"]
    with pytest.raises(DataError, match="no 'corrected' estimate: nothing is known"):
        found["corrected"]
    with pytest.raises(DataError, match="known: soft, hard, em"):
        found["softish"]


def test_a_refused_correction_leaves_intervals_of_sampling_and_says_why() -> None:
    errors = LabelErrors.from_counts(np.eye(K) * 49, names=("a", "b", "c", "d"))
    found = estimate_shares(labels(), alpha=0.05, looks=1, errors=errors)
    assert "49 rows of a" in found.refused["corrected"]
    assert {e.covers for e in found.estimates} == {"sampling"}


@settings(max_examples=30)
@given(st.permutations(range(K)))
def test_the_order_of_domains_does_not_matter(order: list[int]) -> None:
    errors = label_errors()

    def moved(rates: Rates) -> Rates:
        return Rates(
            matrix=rates.matrix[np.ix_(order, order)], covariances=rates.covariances[np.ix_(order, order, order)]
        )

    again = LabelErrors(
        rows=errors.rows[order],
        sources=errors.sources[order],
        hard=moved(errors.hard),
        soft=moved(errors.soft),
        names=tuple(errors.names[j] for j in order),
    )
    found = by_name(estimate_shares(labels(), alpha=0.05, looks=3, errors=errors))
    for name, vectors in by_name(estimate_shares(labels()[:, order], alpha=0.05, looks=3, errors=again)).items():
        for vector, values in vectors.items():
            assert values == pytest.approx(found[name][vector][order], abs=1e-6)


def test_more_looks_widen_every_interval() -> None:
    once, often = (estimate_shares(labels(), alpha=0.05, looks=looks, errors=label_errors()) for looks in (1, 20))
    for e in once.estimates:
        assert (often[e.name].upper - often[e.name].lower > e.upper - e.lower).all()


def test_a_labeller_known_not_to_err_is_believed() -> None:
    rows = np.eye(3)[np.repeat([0, 1, 2], [600, 300, 100])]
    errors = LabelErrors.from_counts(np.eye(3) * 1_000_000)
    found = estimate_shares(rows, alpha=0.05, looks=1, errors=errors)
    for e in found.estimates:
        assert e.shares == pytest.approx([0.6, 0.3, 0.1], abs=1e-5)
    width = found["hard"].upper - found["hard"].lower
    assert found["corrected"].upper - found["corrected"].lower == pytest.approx(width, rel=0.05)


def test_quantiles_of_estimated_errors_are_those_of_students_table() -> None:
    found = bonferroni_t(0.05, 1, [0.3, 1.0, 2.9, 5.0, 10.0, 30.0])
    assert found == pytest.approx([12.7062, 12.7062, 4.3027, 2.5706, 2.2281, 2.0423], abs=1e-4)
    assert bonferroni_t(0.05, 6, [1e9, np.inf]).tolist() == [bonferroni_z(0.05, 6)] * 2


def test_all_estimates_of_40000_samples_take_less_than_two_seconds_of_the_processor() -> None:
    rows = np.random.default_rng(1).dirichlet([2.0, 0.4, 0.4, 0.2, 0.1, 0.4], size=40_000).astype(np.float32)
    errors = LabelErrors.from_counts(np.eye(6) * 400 + 20)
    start = time.process_time()
    estimate_shares(rows, alpha=0.05, looks=20, errors=errors)
    assert time.process_time() - start < 2.0
