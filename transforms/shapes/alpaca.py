"""Alpaca: ``{"instruction", "input", "output"}``, and its variants.

``input`` (or Dolly's ``context``) may be missing, and so may ``instruction`` where ``input`` is there. The answer is
``output``, ``response``, ``completion`` or ``answer``; where several are there, the first in that order that is not
empty. ``history`` holds earlier turns as pairs, ``system`` a system turn.
"""

from __future__ import annotations

from typing import Any

from transforms.shapes.base import Message, Row, RowError, first_field, joined, text, type_name

_ANSWERS = ("output", "response", "completion", "answer")


def matches(row: Row) -> bool:
    """Say whether there is an instruction, or an input, and an answer."""
    return ("instruction" in row or "input" in row) and any(name in row for name in _ANSWERS)


def to_messages(row: Row) -> list[Message]:
    """Return the earlier turns, the instruction and input as one user turn, and the answer."""
    answer = str(first_field(row, _ANSWERS))
    messages = _history(row.get("history"))
    if row.get("system"):
        messages.insert(0, ("system", text(row["system"], "system", "system")))
    messages.append(("user", _prompt(row)))
    messages.append(("assistant", text(row[answer], "answer", answer)))
    return messages


def _prompt(row: Row) -> str:
    names = ("instruction", first_field(row, ("input", "context")) or "input")
    parts = [text(row[name], "prompt", name) for name in names if row.get(name) is not None]
    if not parts:
        raise RowError("missing_prompt", "'instruction' and 'input' are null; expected text in one of them")
    return joined(parts)


def _history(value: Any) -> list[Message]:
    if not value:
        return []
    if not isinstance(value, list):
        raise RowError("wrong_type", f"field 'history' holds {type_name(value)}; expected a list of pairs")
    messages = []
    for number, pair in enumerate(value):
        where = f"history.{number}"
        if not isinstance(pair, list) or len(pair) != 2:
            raise RowError("wrong_type", f"{where} is {type_name(pair)}; expected a pair of prompt and answer")
        messages += [("user", text(pair[0], "prompt", where)), ("assistant", text(pair[1], "answer", where))]
    return messages
