"""ShareGPT: ``{"conversations": [{"from": "human", "value": "..."}, ...]}``, system text in a turn or a field.

The list may also hold texts in turn, objects with a prompt and its answer, or several conversations as lists.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from versatune.transforms.shapes.asked import check_turns_ask
from versatune.transforms.shapes.base import (
    Example,
    OtherShapeError,
    Row,
    RowError,
    first_field,
    has_any,
    system_turn,
    type_name,
)
from versatune.transforms.shapes.tool_use import row_tools
from versatune.transforms.shapes.turns import turns

NAME = "sharegpt"
_ANSWERS = ("answer", "answers", "output", "response", "completion", "summary")
_FIELDS = ("conversations", "conversation", "dialogue", "dialog", "turns", "items")


def matches(names: Collection[str]) -> bool:
    """Say whether there are conversations; a ``data`` counts where nothing but an ``id`` stands beside it."""
    return has_any(names, _FIELDS) or ("data" in names and set(names) <= {"id", "data"})


def to_examples(row: Row) -> Sequence[Example | RowError]:
    """Return the turns."""
    field = first_field(row, _FIELDS) or "data"
    value, tools = row[field], row_tools(row)
    if value is None:
        raise RowError("missing_prompt", f"field '{field}' is null; expected a list of turns")
    if not isinstance(value, list | str):  # a number of turns: another field may hold what was said
        raise OtherShapeError("wrong_type", f"field '{field}' holds {type_name(value)}; expected a list of turns")
    if isinstance(value, str) and has_any(row, _ANSWERS):  # what the answer is about
        raise OtherShapeError(
            "unknown_shape", f"text in '{field}' stands beside an answer; expected a list of turns, or text alone"
        )
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
    if "question" in row and "answer" in row:
        check_turns_ask(row, field, messages)
    system = system_turn(row) if messages[0][0] != "system" else []
    return [Example([*system, *messages], tools)]
