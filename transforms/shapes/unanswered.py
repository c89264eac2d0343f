"""A prompt or question without any field for its answer: recognised to be refused by name."""

from __future__ import annotations

from collections.abc import Container

from versatune.transforms.shapes.asked import asking_fields
from versatune.transforms.shapes.base import SYSTEMS, Example, Row, RowError, first_field, shown_keys

NAME = "unanswered"
_PROMPTS = ("prompt", "question", "instruction", "query", "problem")


def matches(names: Container[str]) -> bool:
    """Say whether something is asked; no shape that answers it fits."""
    return any(name in names for name in _PROMPTS)


def to_examples(row: Row) -> list[Example]:
    """Refuse the row, and name the fields that may hold the answer."""
    asked = str(first_field(row, _PROMPTS))
    if row[asked] is None:
        raise RowError("missing_prompt", f"field '{asked}' is null, and no other asks")
    known = {asked, *SYSTEMS, *asking_fields(row)}
    texts = {name: row[name] for name in row if name not in known and isinstance(row[name], str) and row[name].strip()}
    named = (
        f"; text is also in {shown_keys(texts)}. If that is the answer" if texts else ". If a field holds the answer"
    )
    raise RowError(
        "missing_answer",
        f"'{asked}' asks, and no field has a usual name of an answer{named}, name it: fields: {{prompt: {asked}, completion: FIELD}}",
    )
