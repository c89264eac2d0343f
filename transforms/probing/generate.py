"""Sampling a base model from its begin-of-sequence token (arXiv 2411.11266, knowledge detection)."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference
from apache_beam.pvalue import PCollection

from versatune.transforms.engines.batch_handler import BatchHandler
from versatune.transforms.engines.engine import Engine, Failure, Outcome, Sample

TOO_SHORT = "too_short"
REPETITIVE = "repetitive"
_MIN_CHARACTERS = 16
_GRAM = 8
_MAX_COVERED = 0.5
_PART_SAMPLES = 256
_PART_SECONDS = 5.0
_SEEDS = 2**32
# Odd, so that multiplying by it permutes the 32-bit numbers; the golden ratio's digits spread neighbours far apart.
_STRIDE = 0x9E3779B1


Batch = tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """One batch that an engine has finished; its texts are in the store."""

    generated: int
    failed: int


def sample_seed(seed: int, index: int) -> int:
    """Return a sample's own seed: 32 bits, because torch's CPU generator ignores the rest; no two samples of a run share one."""
    start = int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=4).digest(), "big")
    return (start + index * _STRIDE) % _SEEDS


def plan_batches(indices: Iterable[int], *, seed: int, batch_size: int) -> list[Batch]:
    """Group samples for the engine by ``index // batch_size``, so that a killed run is continued with the batches it would have had."""
    batches: dict[int, list[Sample]] = {}
    for index in sorted(indices):
        batches.setdefault(index // batch_size, []).append(Sample(index, sample_seed(seed, index)))
    return [tuple(batch) for batch in batches.values()]


def reject_reason(text: str) -> str:
    """Say why a text does not count, or nothing if it does.

    ``too_short``: fewer than 16 characters that are not white space. ``repetitive``: its most frequent 8-gram of blank-separated words
    occurs at least twice, and its occurrences cover more than half of the words (a word in two overlapping occurrences is covered once).
    """
    if sum(not character.isspace() for character in text) < _MIN_CHARACTERS:
        return TOO_SHORT
    return REPETITIVE if repeated_share(text.split()) > _MAX_COVERED else ""


def repeated_share(words: Sequence[str]) -> float:
    """Return the share of words covered by the most frequent 8-gram, 0 if none occurs twice; of equally frequent ones the largest share."""
    grams = [tuple(words[start : start + _GRAM]) for start in range(len(words) - _GRAM + 1)]
    counts = Counter(grams)
    most = max(counts.values(), default=0)
    if most < 2:
        return 0.0
    covered = {gram: 0 for gram, count in counts.items() if count == most}
    reached = dict.fromkeys(covered, 0)
    for start, gram in enumerate(grams):
        if gram in covered:
            covered[gram] += start + _GRAM - max(start, reached[gram])
            reached[gram] = start + _GRAM
    return max(covered.values()) / len(words)


def generate_batch(
    batch: Batch,
    engine: Engine,
    keep: Callable[[Sequence[Outcome], dict[str, Any]], object],
    clock: Callable[[], float] = time.monotonic,
) -> Done:
    """Have one batch generated; what is finished is kept every few seconds, so that a kill loses no more than that.

    Args:
        batch: samples, all different.
        engine: yields what becomes of them.
        keep: given some outcomes, and the engine's own words with the ``seconds`` they took.
        clock: seconds.
    """
    waiting: list[Outcome] = []
    generated = failed = 0
    since = clock()

    def hand_over() -> None:
        nonlocal since
        part, now = [*waiting], clock()
        waiting.clear()
        keep(part, {**engine.about, "seconds": round(now - since, 3)})
        since = now

    try:
        for outcomes in engine.generate(batch):
            waiting += outcomes
            failures = sum(isinstance(outcome, Failure) for outcome in outcomes)
            generated, failed = generated + len(outcomes) - failures, failed + failures
            if len(waiting) >= _PART_SAMPLES or (waiting and clock() - since >= _PART_SECONDS):
                hand_over()
    finally:  # also what an engine gave before it failed
        if waiting:
            hand_over()
    return Done(generated, failed)


@dataclass(kw_only=True)
class GenerateSamples(beam.PTransform[PCollection[Batch], PCollection[Done]]):
    """Batches of samples in, their texts into the store, how many there are out; a retry repeats the same texts."""

    start: Callable[[], Engine]
    """Starts an engine on a worker."""
    engine: str
    """The engine's name: transforms with the same one share an engine in each worker process."""
    keep: Callable[[Sequence[Outcome], dict[str, Any]], object]
    hints: dict[str, str] = field(default_factory=dict)
    """Beam's resource hints, such as ``accelerator``."""

    def expand(self, batches: PCollection[Batch]) -> PCollection[Done]:
        """Spread the batches over the workers and generate."""
        work = partial(generate_batch, keep=self.keep)
        return (
            batches
            | "SpreadBatches" >> beam.Reshuffle()
            | "Generate" >> RunInference(BatchHandler(self.start, work, self.engine)).with_resource_hints(**self.hints)
        )
