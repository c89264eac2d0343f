"""Where rows keep what a model thinks before it answers or calls.

Thoughts that stand in an answer's own text (``<think>...</think>``) are part of that text, and stay there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from versatune.transforms.shapes.base import REASONING, Message, Row, RowError, is_blank
from versatune.transforms.shapes.prose import reads_as_prose

_FIELDS = ("reasoning_content", "reasoning", "thinking", "thought", "thoughts")
# Beside a row's answer `reasoning` may as well explain it to people, or say how a model was asked ("on", "off").
_FIELDS_OF_ROW = ("reasoning_content", "thinking")
_PARTS = ("thinking", "reasoning")
_TEXTS = ("thinking", "reasoning", "text")


def thoughts_of_turn(turn: Row) -> list[Message]:
    """Return the thoughts beside what an assistant's turn says, as a turn before it; none where no field holds text."""
    return _first(turn.get(name) for name in _FIELDS)


def thoughts_of_row(row: Row) -> list[Message]:
    """Return the thoughts beside a row's one answer, as a turn before it; none where that is not sure.

    A single word is none: it may be a switch.
    """
    found = (row[name] for name in _FIELDS_OF_ROW if name in row)
    return _first(value for value in found if isinstance(value, str) and _says_something(value))


def parted_thoughts(parts: list[Any], where: str) -> tuple[list[Message], list[Any]]:
    """Return the thoughts at the beginning of a content that is a list of parts, as a turn, and its other parts.

    Raises:
        RowError: reasoning_order: thoughts behind a part that is said. not_text: thoughts that are no text (a summary, a cipher).
    """
    thoughts = [_text(part, where) for part in parts if _is_thought(part)]
    others = parts[len(thoughts) :]
    if any(map(_is_thought, others)):
        raise RowError("reasoning_order", f"{where} has thoughts behind what it says; expected them before it")
    return _first(["\n".join(thoughts)]), others


def _first(values: Iterable[Any]) -> list[Message]:
    for value in values:
        if isinstance(value, str) and not is_blank(value):
            return [(REASONING, value)]
    return []


def _says_something(value: str) -> bool:
    return len(value.split()) > 1 or reads_as_prose(value)


def _is_thought(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in _PARTS


def _text(part: dict[str, Any], where: str) -> str:
    """Return a part's text: in a field of the part's own name, or as Mistral writes it in text parts there."""
    value = next((part[name] for name in _TEXTS if part.get(name) is not None), None)
    if isinstance(value, list):
        value = [inner.get("text") if isinstance(inner, dict) else inner for inner in value]
        value = "\n".join(value) if all(isinstance(inner, str) for inner in value) else None
    if not isinstance(value, str):
        raise RowError("not_text", f"{where} has thoughts that are not text; only conversations in text are read")
    return value
