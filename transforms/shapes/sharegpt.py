"""ShareGPT: ``{"conversations": [{"from": "human", "value": "..."}, ...]}``, system text in a turn or a field.

The list may also hold texts in turn, objects with a prompt and its answer, or several conversations as lists.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from transforms.shapes.base import Example, Row, RowError, first_field, has_any, system_turn
from transforms.shapes.tool_use import row_tools
from transforms.shapes.turns import turns

NAME = "sharegpt"
_FIELDS = ("conversations", "conversation", "dialogue", "dialog", "turns", "items")


def matches(names: Container[str]) -> bool:
    """Say whether there are conversations."""
    return has_any(names, _FIELDS)


def to_examples(row: Row) -> Sequence[Example | RowError]:
    """Return the turns."""
    field = str(first_field(row, _FIELDS))
    value, tools = row[field], row_tools(row)
    if isinstance(value, list) and value and all(isinstance(item, list) for item in value):
        found: list[Example | RowError] = []
        for number, conversation in enumerate(value):
            try:
                found.append(Example(turns(conversation, f"{field}.{number}"), tools))
            except RowError as error:
                found.append(error)
        return found
    messages = turns(value, field)
    if not messages:
        raise RowError("missing_answer", f"field '{field}' is an empty list; expected turns")
    system = system_turn(row) if messages[0][0] != "system" else []
    return [Example([*system, *messages], tools)]
