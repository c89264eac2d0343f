"""The rounds of a probe as steps of one graph: each draws its samples unless the look before it says that it is enough."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import apache_beam as beam
from apache_beam.pvalue import AsIter, PCollection

from versatune.transforms.engines.engine import Engine
from versatune.transforms.probing.generate import Batch, Done, GenerateSamples, plan_batches
from versatune.transforms.probing.look import LookPlan, Seen, look_at

Missing = tuple[tuple[int, int], ...]
"""Samples as (first, one after the last) pairs: a graph should not carry thousands of numbers."""


@dataclass(kw_only=True)
class DrawRound(beam.PTransform[PCollection[Seen], PCollection[Seen]]):
    """What has been seen before a round in, what has been seen after it out."""

    number: int
    missing: Missing
    """The samples of the round that are not kept yet."""
    plan: LookPlan
    seed: int
    batch_size: int
    start: Callable[[], Engine]
    engine: str
    """One name for all rounds, so that they share an engine."""
    keep: Callable[..., object]
    hints: dict[str, str] = field(default_factory=dict)

    def expand(self, seen: PCollection[Seen]) -> PCollection[Seen]:
        """Draw, then look; the look waits for the samples because they are its side input."""
        done = (
            seen
            | "PlanBatches" >> beam.FlatMap(plan_round, self.missing, self.seed, self.batch_size)
            | "GenerateSamples"
            >> GenerateSamples(start=self.start, engine=self.engine, keep=self.keep, hints=self.hints)
        )
        return seen | "Look" >> beam.Map(look_after, AsIter(done), self.number, self.plan).with_output_types(Seen)


def plan_round(seen: Seen, missing: Missing, seed: int, batch_size: int) -> list[Batch]:
    """Return the batches of a round; none where it is enough already."""
    if seen.stop:
        return []
    indices = (index for first, stop in missing for index in range(first, stop))
    return plan_batches(indices, seed=seed, batch_size=batch_size)


def look_after(seen: Seen, done: Iterable[Done], number: int, plan: LookPlan) -> Seen:
    """Look at a round when all its batches are done, unless it was not drawn."""
    _ = sum(batch.generated for batch in done)  # reading them is what waits for them
    return seen if seen.stop else look_at(seen, number, plan)


def spans(indices: Sequence[int]) -> Missing:
    """Return ascending numbers as (first, one after the last) pairs."""
    found: list[tuple[int, int]] = []
    for index in indices:
        if found and found[-1][1] == index:
            found[-1] = (found[-1][0], index + 1)
        else:
            found.append((index, index + 1))
    return tuple(found)
