"""Asking a judge about texts: batches in, answers out, each batch kept when it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.ml.inference.base import RunInference
from apache_beam.pvalue import PCollection

from versatune.transforms.engines.batch_handler import BatchHandler
from versatune.transforms.labelling.judge import Floats
from versatune.transforms.transport.part_store import Kept, read_parts, write_rows


@dataclass(frozen=True, slots=True)
class Question:
    """One text to be judged."""

    key: str
    """The same for the same text, and for no other: hex digits."""
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a judge says of one text."""

    logprobs: tuple[tuple[float, ...], ...]
    """One list for each order of the codes, in the order of the codes."""
    tokens: int
    """In the questions, all orders together."""
    unlisted: int = 0
    """How many of these numbers are bounds, because an endpoint did not list the code."""


class Judge(Protocol):
    """What answers."""

    @property
    def about(self) -> dict[str, Any]:
        """What it is; kept with every batch."""

    def ask(self, texts: Sequence[str]) -> list[Answer]:
        """Return one answer per text, in order."""


Batch = tuple[Question, ...]


class Answered(NamedTuple):
    """One batch that the judge has finished."""

    batch: Batch
    answers: list[Answer]
    about: dict[str, Any]
    """The judge's own words, and the batch's ``seconds``."""


KEPT = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("logprobs", pa.list_(pa.list_(pa.float64())), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("unlisted", pa.int32(), nullable=False),
    ]
)


def plan_batches(questions: Sequence[Question], kept: set[str], batch_size: int) -> list[Batch]:
    """Divide all questions into batches; return those, or the rest of those, that are not kept yet.

    Batches are a function of all questions, so that a killed run is continued with the batches it would have had.
    """
    starts = range(0, len(questions), batch_size)
    batches = (tuple(q for q in questions[start : start + batch_size] if q.key not in kept) for start in starts)
    return [batch for batch in batches if batch]


def ask_batch(batch: Batch, judge: Judge) -> Answered:
    """Have one batch judged."""
    started = time.monotonic()
    answers = judge.ask([question.text for question in batch])
    return Answered(batch, answers, {**judge.about, "seconds": round(time.monotonic() - started, 3)})


def keep_answers(answered: Answered, directory: str) -> int:
    """Keep one batch in a store, whole or not at all; return how many texts it has."""
    rows = [
        {"key": q.key, "logprobs": a.logprobs, "tokens": a.tokens, "unlisted": a.unlisted}
        for q, a in zip(answered.batch, answered.answers, strict=True)
    ]
    name = answered.batch[0].key[:16]
    about = {**answered.about, "tokens": sum(answer.tokens for answer in answered.answers), "texts": len(rows)}
    return write_rows(directory, name, pa.Table.from_pylist(rows, schema=KEPT), about)


def read_answers(directory: str) -> Kept:
    """Read the answers that are kept; nobody may be writing to the store."""
    return read_parts(directory, KEPT)


def logits_of(kept: pa.Table) -> Floats:
    """Return the kept numbers as (n, orders, k)."""
    return np.array(kept.column("logprobs").to_pylist(), np.float64)


@dataclass(kw_only=True)
class AskJudge(beam.PTransform[PCollection[Batch], PCollection[Answered]]):
    """Batches of texts in, answers out, in any order."""

    start: Callable[[], Judge]
    """Starts a judge on a worker."""
    judge: str
    """The judge's name: transforms with the same one share a judge in each worker process."""

    def expand(self, batches: PCollection[Batch]) -> PCollection[Answered]:
        """Spread the batches over the workers and ask."""
        handler = BatchHandler(self.start, ask_batch, self.judge)
        return batches | "SpreadBatches" >> beam.Reshuffle() | "Ask" >> RunInference(handler)
