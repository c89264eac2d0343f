"""Sampling a base model from its begin-of-sequence token (arXiv 2411.11266, knowledge detection)."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import apache_beam as beam
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.pvalue import PCollection

TOO_SHORT = "too_short"
REPETITIVE = "repetitive"
_MIN_CHARACTERS = 16
_GRAM = 8
_MAX_COVERED = 0.5
_SEEDS = 2**32
# Odd, so that multiplying by it permutes the 32-bit numbers; the golden ratio's digits spread neighbours far apart.
_STRIDE = 0x9E3779B1


@dataclass(frozen=True, slots=True)
class Sample:
    """One generation to draw."""

    index: int
    seed: int


@dataclass(frozen=True, slots=True)
class Generation:
    """One text of the base model."""

    index: int
    seed: int
    text: str
    num_tokens: int
    finish_reason: str
    """stop: the model ended it; length: it reached the cap."""


class Engine(Protocol):
    """What generates."""

    @property
    def about(self) -> dict[str, Any]:
        """What it is; kept with every batch."""

    def generate(self, samples: Sequence[Sample]) -> list[Generation]:
        """Return one generation per sample, in order."""


Batch = tuple[Sample, ...]


class Generated(NamedTuple):
    """One batch that the engine has finished."""

    generations: list[Generation]
    about: dict[str, Any]
    """The engine's own words, and the batch's ``seconds``."""


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


def generate_batch(batch: Batch, engine: Engine) -> Generated:
    """Have one batch generated."""
    started = time.monotonic()
    generations = engine.generate(batch)
    return Generated(generations, {**engine.about, "seconds": round(time.monotonic() - started, 3)})


class EngineHandler(ModelHandler[Batch, Generated, Engine]):
    """What RunInference needs to know about an engine. An element is a whole batch: the engine is only fast when it gets many at once."""

    def __init__(self, start: Callable[[], Engine]) -> None:
        super().__init__(min_batch_size=1, max_batch_size=1)
        self._start = start

    def load_model(self) -> Engine:
        """Start the engine, once per worker process."""
        return self._start()

    def run_inference(
        self, batch: Sequence[Batch], model: Engine, inference_args: dict[str, Any] | None = None
    ) -> Iterator[Generated]:
        """Generate each element's samples."""
        return (generate_batch(samples, model) for samples in batch)


@dataclass(kw_only=True)
class GenerateSamples(beam.PTransform[PCollection[Batch], PCollection[Generated]]):
    """Batches of samples in, finished batches out, in any order; a retry repeats the same texts."""

    start: Callable[[], Engine]
    """Starts an engine on a worker."""

    def expand(self, pcoll: PCollection[Batch]) -> PCollection[Generated]:
        """Spread the batches over the workers and generate."""
        return pcoll | "SpreadBatches" >> beam.Reshuffle() | "Generate" >> RunInference(EngineHandler(self.start))
