"""ShareGPT: ``{"conversations": [{"from": "human", "value": "..."}, ...]}``, system text in a turn or a field."""

from __future__ import annotations

from transforms.shapes.base import Message, Row, text
from transforms.shapes.turns import turns


def matches(row: Row) -> bool:
    """Say whether there are conversations."""
    return "conversations" in row or "conversation" in row


def to_messages(row: Row) -> list[Message]:
    """Return the turns."""
    field = "conversations" if "conversations" in row else "conversation"
    messages = turns(row[field], field)
    system = row.get("system")
    return [("system", text(system, "system", "system")), *messages] if system else messages
