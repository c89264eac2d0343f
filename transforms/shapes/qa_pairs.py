"""Lists of question and answer pairs, by topic or not: ``{"fees": [["How much?", "Nothing."], ...], ...}``.

Tried where no field name is known: here the names are topics.
"""

from __future__ import annotations

from typing import Any

from versatune.transforms.shapes.base import Example, Row

NAME = "qa_pairs"
_MAX_DEPTH = 8


def pair_examples(row: Row) -> list[Example] | None:
    """Return an example for each pair, in their order, or None if the row holds anything but lists of pairs."""
    found: list[Example] = []
    return found if _collect(row, found, 0) and found else None


def _collect(value: Any, found: list[Example], depth: int) -> bool:
    if depth > _MAX_DEPTH:
        return False
    if isinstance(value, dict):
        return all(_collect(inner, found, depth + 1) for inner in value.values())
    if not isinstance(value, list) or not all(_is_pair(item) for item in value):
        return False
    found += [Example([("user", pair[0]), ("assistant", pair[1])]) for pair in value]
    return True


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], str)
