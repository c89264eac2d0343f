"""How long work tells where it is, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A listener. One task at a time; ``done`` and ``total`` are in ``unit``."""

    def begin(self, task: str, total: float | None, unit: str) -> None:
        """Start a task; ``total`` is None where it is unknown."""

    def advance_to(self, done: float, note: str = "") -> None:
        """Say how much is done, and something short about it (a loss, a rate)."""

    def end(self) -> None:
        """Finish the task."""

    def say(self, message: str) -> None:
        """Say one line that stays on the screen."""


class Silence:
    """The listener that nobody hears: for tests and for calls from Python."""

    def begin(self, task: str, total: float | None, unit: str) -> None:
        """Ignore."""

    def advance_to(self, done: float, note: str = "") -> None:
        """Ignore."""

    def end(self) -> None:
        """Ignore."""

    def say(self, message: str) -> None:
        """Ignore."""
