"""Seeds, batches, rejects, and the transform around an engine."""

from __future__ import annotations

from typing import Any, ClassVar

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as BeamTestPipeline
from apache_beam.testing.util import assert_that, equal_to

from transforms.generate import (
    REPETITIVE,
    TOO_SHORT,
    GenerateSamples,
    Generation,
    Sample,
    plan_batches,
    reject_reason,
    repeated_share,
    sample_seed,
)


class EchoEngine:
    about: ClassVar[dict[str, Any]] = {"engine": "echo"}

    def generate(self, samples: Any) -> list[Generation]:
        return [Generation(sample.index, sample.seed, f"text {sample.seed}", 2, "stop") for sample in samples]


def test_no_two_samples_of_a_run_share_a_seed() -> None:
    assert len({sample_seed(7, index) for index in range(100_000)}) == 100_000


def test_a_seed_depends_on_run_seed_and_index_alone() -> None:
    assert [sample_seed(0, 0), sample_seed(0, 1)] == [sample_seed(0, 0), (sample_seed(0, 0) + 0x9E3779B1) % 2**32]
    assert sample_seed(0, 0) != sample_seed(1, 0)
    assert all(0 <= sample_seed(seed, 5) < 2**32 for seed in range(100))


def test_batches_hold_every_sample_once_and_at_most_the_batch_size() -> None:
    batches = plan_batches(range(10), seed=3, batch_size=4)
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert [sample for batch in batches for sample in batch] == [Sample(i, sample_seed(3, i)) for i in range(10)]


def test_a_continued_run_has_the_batches_it_would_have_had() -> None:
    whole = plan_batches(range(12), seed=3, batch_size=4)
    assert plan_batches([8, 9, 10, 11, 0, 1, 2, 3], seed=3, batch_size=4) == [whole[0], whole[2]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", TOO_SHORT),
        ("a b c d e f g h i j k l m n o", TOO_SHORT),  # 15 characters
        ("a b c d e f g h i j k l m n o p", ""),  # 16
        ("an answer of ten words, each of them another one", ""),  # one 8-gram covers 8 of 10 words, but none repeats
        ("again and " * 40, REPETITIVE),
        ("no no no no no no no no no", REPETITIVE),
    ],
)
def test_a_text_is_left_out_when_it_is_too_short_or_repeats_itself(text: str, reason: str) -> None:
    assert reject_reason(text) == reason


def test_the_repeated_share_counts_words_once_where_occurrences_overlap() -> None:
    gram = list("abcdefgh")
    assert repeated_share([*gram, *gram]) == 1.0
    assert repeated_share([*gram, *(f"x{i}" for i in range(16)), *gram]) == 0.5
    assert repeated_share(["z"] * 9 + [f"x{i}" for i in range(9)]) == 0.5
    assert repeated_share(["z"] * 8) == 0.0
    assert repeated_share([]) == 0.0


def test_the_repeated_share_takes_the_most_frequent_gram() -> None:
    often = ["z"] * 10  # "zzzzzzzz" occurs three times and covers 10 words
    twice = list("abcdefgh") * 2  # occurs twice and covers 16
    assert repeated_share([*often, *twice]) == 10 / 26


def test_every_batch_comes_out_whole_with_the_engine_s_words() -> None:
    batches = plan_batches(range(5), seed=0, batch_size=2)
    expected = [[(sample.index, f"text {sample.seed}", "echo") for sample in batch] for batch in batches]
    with BeamTestPipeline() as root:
        generated = root | beam.Create(batches) | GenerateSamples(start=EchoEngine)
        assert_that(
            generated | beam.Map(lambda g: [(one.index, one.text, g.about["engine"]) for one in g.generations]),
            equal_to(expected),
        )
