"""OpenAI messages: ``{"messages": [{"role": "user", "content": "..."}, ...], "tools": [...]}``."""

from __future__ import annotations

from collections.abc import Container

from versatune.transforms.shapes.asked import check_turns_ask
from versatune.transforms.shapes.base import Example, Row, RowError, system_turn
from versatune.transforms.shapes.tool_use import row_tools
from versatune.transforms.shapes.turns import turns

NAME = "openai_messages"


def matches(names: Container[str]) -> bool:
    """Say whether there are messages."""
    return "messages" in names


def to_examples(row: Row) -> list[Example]:
    """Return the turns."""
    messages = turns(row["messages"], "messages")
    if not messages:
        raise RowError("missing_answer", "field 'messages' is an empty list; expected turns")
    if "question" in row and "answer" in row:
        check_turns_ask(row, "messages", messages)
    system = system_turn(row) if messages[0][0] != "system" else []
    return [Example([*system, *messages], row_tools(row))]
