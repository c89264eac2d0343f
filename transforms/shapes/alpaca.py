"""Alpaca: ``{"instruction", "input", "output"}``, and its variants.

``input`` (or Dolly's ``context``) may be missing, and so may ``instruction`` where ``input`` is there. A question beside
them is asked last. The answer is
``output``, ``response``, ``completion``, ``answer`` or ``target``; where several are there, the first in that order
that is not empty. ``history`` holds earlier turns, ``system`` a system turn, ``tools`` what may be called,
``reasoning_content`` (or ``thinking``) the thoughts before the answer.
"""

from __future__ import annotations

from collections.abc import Container

from versatune.transforms.shapes.asked import asked, question_field
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
from versatune.transforms.shapes.thoughts import thoughts_of_row
from versatune.transforms.shapes.tool_use import row_tools

NAME = "alpaca"
_ANSWERS = ("output", "response", "completion", "answer", "target")
_INSTRUCTIONS = ("instruction", "instructions")


def matches(names: Container[str]) -> bool:
    """Say whether there are an instruction, or an input, and an answer."""
    return has_any(names, (*_INSTRUCTIONS, "input")) and has_any(names, _ANSWERS)


def to_examples(row: Row) -> list[Example]:
    """Return the earlier turns, everything that is asked as one user turn, and the answer."""
    answer = row.get("output")
    field = "output"
    if type(answer) is not str or not answer:
        field = str(first_field(row, _ANSWERS))
        answer = answer_text(row[field], field)
    asked: list[Message] = [("user", instruction_prompt(row, (field,), answer))]
    answered = ("assistant", answer)
    if len(row) > 2 + ("instruction" in row and "input" in row):  # else there is nothing beside these and the answer
        before = [*system_turn(row), *history_turns(row.get("history"))]
        return [Example([*before, *asked, *thoughts_of_row(row), answered], row_tools(row))]
    return [Example([*asked, answered])]


def instruction_prompt(row: Row, used: tuple[str, ...], answer: str) -> str:
    """Return ``instruction``, ``input`` and what else is asked as one text.

    Raises:
        RowError: both are null, and nothing else is asked.
    """
    instruction, more = row.get("instruction"), row.get("input")
    if type(instruction) is str and len(row) == 2 + ("input" in row) and (more is None or type(more) is str):
        return joined((instruction, more)) if more else instruction  # nothing but these and the answer
    named = first_field(row, _INSTRUCTIONS) or "instruction"
    for name in (named, "input"):
        if row.get(name) is not None:
            text(row[name], "prompt", name)
    field = question_field(row) or ("input" if more else named)
    if row.get(field) is None:
        raise RowError("missing_prompt", f"'{named}' and 'input' are null or absent; expected text in one of them")
    found = asked(row, field, row[field], used, answer)
    return joined((found.question, found.before, found.after)) if field in _INSTRUCTIONS else found.prompt
