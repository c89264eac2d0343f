"""What a check finds: problems, and facts about what is fine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from versatune.schemas.errors import CheckError


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that a stage will refuse, or that its user should know before it works."""

    stage: str
    """build, probe, mix or train: the first one that it concerns."""
    key: str
    """What to change: a key of the configuration; ``machine`` for what is none."""
    message: str
    """Names the value, what was expected and what to do."""
    refused: bool = True
    """Whether the stage will refuse it; otherwise a warning."""

    def __str__(self) -> str:
        key = "" if self.message.startswith(self.key) else f"{self.key}: "
        return f"{self.stage}: {key}{self.message}"


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One line about what is fine."""

    name: str
    text: str


Findings = Iterator[Problem | Fact]


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """Everything that was found, in the order of the stages."""

    stages: list[str]
    """What was checked for: the stages that are still to do."""
    problems: list[Problem] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def refused(self) -> list[Problem]:
        """What has to be changed first."""
        return [problem for problem in self.problems if problem.refused]

    @property
    def warnings(self) -> list[Problem]:
        """What may go on as it is."""
        return [problem for problem in self.problems if not problem.refused]

    def raise_refused(self) -> None:
        """Refuse what a stage would.

        Raises:
            CheckError: holding everything that has to be changed.
        """
        if self.refused:
            count = len(self.refused)
            lines = [f"- {problem}" for problem in self.refused]
            what = "one thing has" if count == 1 else f"{count} things have"
            raise CheckError(f"{what} to be changed before anything is done:\n" + "\n".join(lines), self.problems)


def amount(count: float, what: str) -> str:
    """Write a number of things: 1 file, 2 files."""
    return f"{count:,.0f} {what}{'' if f'{count:.0f}' == '1' else 's'}"
