"""Batches, the transform around a judge, and the answers that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import apache_beam as beam
import numpy as np
from apache_beam.testing.test_pipeline import TestPipeline as BeamTestPipeline
from apache_beam.testing.util import assert_that, equal_to

from versatune.transforms.labelling.ask import (
    KEPT,
    Answer,
    AskJudge,
    Question,
    ask_batch,
    keep_answers,
    logits_of,
    plan_batches,
    read_answers,
)


class LengthJudge:
    """Answers with the length of the text."""

    about: ClassVar[dict[str, Any]] = {"engine": "fake"}

    def ask(self, texts: Sequence[str]) -> list[Answer]:
        return [Answer(((float(len(text)), -1.5), (-0.25, 0.1)), tokens=len(text), unlisted=1) for text in texts]


def _questions(count: int) -> list[Question]:
    return [Question(f"{at:032x}", "x" * at) for at in range(count)]


def test_batches_hold_every_question_once_and_are_those_of_the_whole_run() -> None:
    questions = _questions(10)
    whole = plan_batches(questions, set(), 4)
    assert [len(batch) for batch in whole] == [4, 4, 2]
    assert [question for batch in whole for question in batch] == questions
    done = {question.key for question in whole[1]}
    assert plan_batches(questions, done, 4) == [whole[0], whole[2]]
    assert plan_batches(questions, {question.key for question in questions}, 4) == []


def test_every_text_is_answered_through_run_inference() -> None:
    with BeamTestPipeline() as pipeline:
        answered = (
            pipeline
            | beam.Create(plan_batches(_questions(5), set(), 2))
            | AskJudge(start=LengthJudge, judge="length")
            | beam.FlatMap(lambda done: [(q.key, a.tokens) for q, a in zip(done.batch, done.answers, strict=True)])
        )
        assert_that(answered, equal_to([(question.key, len(question.text)) for question in _questions(5)]))


def test_kept_answers_are_read_back_in_order_of_key_with_what_was_said(tmp_path: Path) -> None:
    first, second = plan_batches(_questions(3), set(), 2)
    for batch in (second, first):
        keep_answers(ask_batch(batch, LengthJudge()), str(tmp_path))
    kept = read_answers(str(tmp_path))
    assert kept.table.schema.equals(KEPT)
    assert kept.table.column("key").to_pylist() == [question.key for question in _questions(3)]
    assert np.array_equal(logits_of(kept.table)[2], [[2.0, -1.5], [-0.25, 0.1]])
    said = sorted((batch["texts"], batch["tokens"], batch["engine"]) for batch in kept.batches)
    assert said == [(1, 2, "fake"), (2, 1, "fake")]
    assert kept.table.column("unlisted").to_pylist() == [1, 1, 1]
