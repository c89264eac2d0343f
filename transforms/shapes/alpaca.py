"""Alpaca: ``{"instruction", "input", "output"}``, and its variants.

``input`` (or Dolly's ``context``) may be missing, and so may ``instruction`` where ``input`` is there. The answer is
``output``, ``response``, ``completion``, ``answer`` or ``target``; where several are there, the first in that order
that is not empty. ``history`` holds earlier turns, ``system`` a system turn, ``tools`` what may be called.
"""

from __future__ import annotations

from collections.abc import Container

from versatune.transforms.shapes.base import (
    Example,
    Message,
    Row,
    RowError,
    answer_text,
    first_field,
    has_any,
    joined,
    system_turn,
    text,
)
from versatune.transforms.shapes.history import history_turns
from versatune.transforms.shapes.tool_use import row_tools

NAME = "alpaca"
_ANSWERS = ("output", "response", "completion", "answer", "target")
_INPUTS = ("input", "context")
_PLAIN = ("instruction", "input", "output")


def matches(names: Container[str]) -> bool:
    """Say whether there are an instruction, or an input, and an answer."""
    return ("instruction" in names or "input" in names) and has_any(names, _ANSWERS)


def to_examples(row: Row) -> list[Example]:
    """Return the earlier turns, the instruction and input as one user turn, and the answer."""
    answer = row.get("output")
    field = "output"
    if type(answer) is not str or not answer:
        field = str(first_field(row, _ANSWERS))
        answer = answer_text(row[field], field)
    messages: list[Message] = [("user", instruction_prompt(row)), ("assistant", answer)]
    if len(row) > len(_PLAIN) or "input" not in row:  # else there is nothing beside these
        messages = [*system_turn(row), *history_turns(row.get("history")), *messages]
        return [Example(messages, row_tools(row))]
    return [Example(messages)]


def instruction_prompt(row: Row) -> str:
    """Return ``instruction`` and ``input`` as one text.

    Raises:
        RowError: both are null.
    """
    instruction, more = row.get("instruction"), row.get("input")
    if type(instruction) is str and type(more) is str and instruction and more:
        return joined((instruction, more))
    names = ("instruction", first_field(row, _INPUTS) or "input")
    parts = [text(row[name], "prompt", name) for name in names if row.get(name) is not None]
    if not parts:
        raise RowError("missing_prompt", "'instruction' and 'input' are null; expected text in one of them")
    return joined(parts)
