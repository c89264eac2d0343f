"""What an engine is: it is given samples to draw and yields what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


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


@dataclass(frozen=True, slots=True)
class Failure:
    """A sample that an engine could not give, for a reason of its own; the others go on."""

    index: int
    seed: int
    reason: str
    """A short name, the same for all of its kind: they are counted by it."""
    detail: str
    """What was said, without the key and without text."""


Outcome = Generation | Failure


class Engine(Protocol):
    """What generates."""

    @property
    def about(self) -> dict[str, Any]:
        """What it is; kept with every generation."""

    def generate(self, samples: Sequence[Sample]) -> Iterator[list[Outcome]]:
        """Yield what becomes of the samples as they are finished, in any order, each exactly once."""
