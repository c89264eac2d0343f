"""The parts of probe_recovery.py that need no model."""

import random
from collections import Counter

import numpy as np
import pytest

from benchmarks.support.insider import confusion_of
from benchmarks.support.known_mixture import (
    DOMAINS,
    MIXTURES,
    SOURCES,
    Document,
    apportion,
    covered,
    documents_of,
    draw,
    order_right,
    total_variation,
)
from benchmarks.support.labeller_only import Labelled, draw_labels, summary, whole_correction
from versatune.mixing.label_errors import LabelErrors


def _documents(each: int) -> dict[str, list[Document]]:
    return {
        source: [Document(f"{source} {i}", domain, source) for i in range(each)]
        for domain, sources in SOURCES.items()
        for source in sources
    }


def test_whole_numbers_come_as_near_to_the_shares_as_they_can() -> None:
    assert apportion((1 / 6,) * 6, 2000) == [334, 334, 333, 333, 333, 333]
    assert apportion((0.45, 0.25, 0.15, 0.10, 0.03, 0.02), 2000) == [900, 500, 300, 200, 60, 40]
    assert sum(apportion((0.301, 0.299, 0.4), 7)) == 7


@pytest.mark.parametrize("name", MIXTURES)
def test_documents_are_drawn_in_exactly_the_known_shares(name: str) -> None:
    drawn = draw(_documents(700), MIXTURES[name], 2000, random.Random(1))
    counts = Counter(document.domain for document in drawn)
    assert [counts[domain] for domain in DOMAINS] == apportion(MIXTURES[name], 2000)
    assert len({document.text for document in drawn}) == 2000


def test_sources_of_a_domain_give_alike() -> None:
    drawn = draw(_documents(700), MIXTURES["uniform"], 1800, random.Random(1))
    counts = Counter(document.source for document in drawn)
    assert {counts[source] for source in SOURCES["law"]} == {100}
    assert {counts[source] for source in SOURCES["medicine"]} == {150}


def test_a_source_that_is_too_small_is_named() -> None:
    with pytest.raises(ValueError, match="lawkey-indian-law-qa has 10 documents, 300 are needed"):
        draw(_documents(10), MIXTURES["law-first"], 2000, random.Random(1))


def test_a_text_is_a_document_once_and_only_of_wanted_sources() -> None:
    rows = [
        {"text": "a", "domain": "law", "source": "legalbench"},
        {"text": "a", "domain": "law", "source": "legalbench"},
        {"text": "b", "domain": "law", "source": "terms-of-service"},
    ]
    assert documents_of(rows) == {"legalbench": [Document("a", "law", "legalbench")]}


def test_distance_is_the_share_of_documents_in_the_wrong_domain() -> None:
    assert total_variation([0.5, 0.5, 0.0], [0.4, 0.4, 0.2]) == pytest.approx(0.2)


def test_order_is_asked_of_shares_that_differ_and_of_no_others() -> None:
    true = (0.45, 0.25, 0.15, 0.10, 0.03, 0.02)
    assert order_right(true, (0.40, 0.26, 0.16, 0.12, 0.02, 0.04))  # 0.03 and 0.02 are too near to have an order
    assert not order_right(true, (0.40, 0.26, 0.12, 0.16, 0.04, 0.02))
    assert order_right((1 / 6,) * 6, (0.9, 0.1, 0.0, 0.0, 0.0, 0.0)) is None
    assert not order_right((0.02, 0.05, 0.03, 0.10, 0.40, 0.40), (0.06, 0.05, 0.03, 0.10, 0.40, 0.36))


def test_each_share_is_looked_up_in_its_own_interval() -> None:
    assert covered((0.2, 0.8), (0.1, 0.81), (0.3, 0.9)) == [True, False]


def test_labels_are_drawn_by_domain_and_its_sources_alike() -> None:
    sources = [
        Labelled(domain=0, labels=np.array([[1.0, 0.0]])),
        Labelled(domain=1, labels=np.array([[0.0, 1.0]] * 1000)),
        Labelled(domain=1, labels=np.array([[0.5, 0.5]])),
    ]
    labels = draw_labels(sources, (0.5, 0.5), 40_000, np.random.default_rng(0))
    assert labels.shape == (40_000, 2)
    assert labels.mean(axis=0) == pytest.approx([0.625, 0.375], abs=0.01)


def test_confusion_counts_the_sources_of_a_domain_alike() -> None:
    documents = [Document("", domain, sources[0]) for domain, sources in SOURCES.items()]
    labels = np.eye(6)
    documents += [Document("", "medicine", SOURCES["medicine"][1])] * 9
    labels = np.concatenate([labels, np.tile(np.eye(6)[0], (9, 1))])
    confusion = confusion_of(documents, labels)
    assert confusion[:, 1] == pytest.approx([0.5, 0.5, 0, 0, 0, 0])
    assert confusion[:, 0] == pytest.approx([1, 0, 0, 0, 0, 0])


def test_runs_without_an_order_do_not_count_as_right() -> None:
    one = {"tv": 0.0, "rank_order_right": None, "covered": [True], "lower": [0.0], "upper": [1.0]}
    assert summary([one])["rank_order_right"] is None
    assert summary([one, {**one, "rank_order_right": False}])["rank_order_right"] == 0.0


def test_a_whole_correction_undoes_the_confusion() -> None:
    errors = LabelErrors.from_counts([[8000, 4000], [2000, 6000]])
    assert whole_correction({"shares": [0.6, 0.4]}, (0.5, 0.5), errors) == pytest.approx(0.0, abs=1e-3)


def test_a_run_is_covered_when_all_its_shares_are() -> None:
    one = {"tv": 0.02, "rank_order_right": True, "covered": [True, True], "lower": [0.1, 0.7], "upper": [0.3, 0.9]}
    other = {"tv": 0.04, "rank_order_right": False, "covered": [True, False], "lower": [0.1, 0.7], "upper": [0.3, 0.9]}
    assert summary([one, other]) == {
        "runs": 2,
        "tv_mean": 0.03,
        "tv_max": 0.04,
        "rank_order_right": 0.5,
        "all_covered": 0.5,
        "coverage": 0.75,
        "half_width_mean": 0.1,
    }
