"""A prompt or question without any field for its answer: recognised to be refused by name."""

from __future__ import annotations

from collections.abc import Container

from versatune.transforms.shapes.base import Example, Row, RowError, shown_keys

NAME = "unanswered"
_PROMPTS = ("prompt", "question", "instruction", "query", "problem")


def matches(names: Container[str]) -> bool:
    """Say whether something is asked; no shape that answers it fits."""
    return any(name in names for name in _PROMPTS)


def to_examples(row: Row) -> list[Example]:
    """Refuse the row."""
    asked = next(name for name in _PROMPTS if name in row)
    raise RowError(
        "missing_answer",
        f"'{asked}' asks, but no field has a usual answer's name; the row has {shown_keys(row)}."
        f" If one of them is the answer: fields: {{prompt: {asked}, completion: FIELD}}",
    )
