"""Seeds, batches, rejects, and the transform around an engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as BeamTestPipeline
from apache_beam.testing.util import assert_that, equal_to

from versatune.schemas.errors import RunError
from versatune.transforms.engines.batch_handler import BatchHandler, model_name
from versatune.transforms.engines.engine import Failure, Generation, Outcome, Sample
from versatune.transforms.probing.generate import (
    REPETITIVE,
    TOO_SHORT,
    Done,
    GenerateSamples,
    generate_batch,
    plan_batches,
    reject_reason,
    repeated_share,
    sample_seed,
)
from versatune.transforms.probing.generation_store import keep_outcomes, read_store


class EchoEngine:
    about: ClassVar[dict[str, Any]] = {"engine": "echo"}

    def generate(self, samples: Sequence[Sample]) -> Iterator[list[Outcome]]:
        yield [Generation(sample.index, sample.seed, f"text {sample.seed}", 2, "stop") for sample in samples]


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


def test_every_batch_is_kept_and_counted(tmp_path: Path) -> None:
    batches = plan_batches(range(5), seed=0, batch_size=2)
    keep = partial(keep_outcomes, directory=str(tmp_path))
    with BeamTestPipeline() as root:
        done = root | beam.Create(batches) | GenerateSamples(start=EchoEngine, engine="echo", keep=keep)
        assert_that(done, equal_to([Done(2, 0), Done(2, 0), Done(1, 0)]))
    kept = read_store(str(tmp_path))
    assert kept.table.column("text").to_pylist() == [f"text {sample_seed(0, index)}" for index in range(5)]
    assert {batch["engine"] for batch in kept.batches} == {"echo"}


def test_what_is_finished_is_kept_while_the_rest_is_still_worked_on() -> None:
    now, kept = 0.0, []

    class SlowEngine:
        about: ClassVar[dict[str, Any]] = {"engine": "slow"}

        def generate(self, samples: Sequence[Sample]) -> Iterator[list[Outcome]]:
            nonlocal now
            for sample in samples:
                now += 2.0
                yield [
                    Failure(sample.index, sample.seed, "request_failed", "500")
                    if sample.index == 3
                    else Generation(sample.index, sample.seed, "text", 2, "stop")
                ]

    def keep(outcomes: Sequence[Outcome], about: dict[str, Any]) -> None:
        kept.append(([outcome.index for outcome in outcomes], about["seconds"]))

    (batch,) = plan_batches(range(8), seed=0, batch_size=8)
    assert generate_batch(batch, SlowEngine(), keep, clock=lambda: now) == Done(7, 1)
    assert kept == [([0, 1, 2], 6.0), ([3, 4, 5], 6.0), ([6, 7], 4.0)]


def test_what_an_engine_gave_before_it_failed_is_kept() -> None:
    kept = []

    class FailingEngine(EchoEngine):
        def generate(self, samples: Sequence[Sample]) -> Iterator[list[Outcome]]:
            yield from super().generate(samples[:3])
            raise RunError("the engine failed")

    (batch,) = plan_batches(range(8), seed=0, batch_size=8)
    with pytest.raises(RunError, match="the engine failed"):
        generate_batch(batch, FailingEngine(), lambda outcomes, about: kept.extend(one.index for one in outcomes))
    assert kept == [0, 1, 2]


def test_samples_that_come_at_once_are_kept_in_parts_of_a_few_hundred() -> None:
    sizes = []
    (batch,) = plan_batches(range(600), seed=0, batch_size=600)

    class OneByOne(EchoEngine):
        def generate(self, samples: Sequence[Sample]) -> Iterator[list[Outcome]]:
            for (outcome,) in ([one] for outcomes in super().generate(samples) for one in outcomes):
                yield [outcome]

    generate_batch(batch, OneByOne(), lambda outcomes, about: sizes.append(len(outcomes)), clock=lambda: 0.0)
    assert sizes == [256, 256, 88]


def test_all_handlers_of_a_name_share_a_model_until_the_name_is_given_up() -> None:
    starts = []
    with model_name("engine") as name:
        for _ in range(2):
            BatchHandler(lambda: starts.append(1) or object(), lambda batch, model: batch, name).load_model()
        assert len(starts) == 1
    with model_name("engine") as other:
        assert other != name
        BatchHandler(lambda: starts.append(1) or object(), lambda batch, model: batch, other).load_model()
    assert len(starts) == 2
