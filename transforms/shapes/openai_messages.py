"""OpenAI messages: ``{"messages": [{"role": "user", "content": "..."}, ...]}``."""

from __future__ import annotations

from transforms.shapes.base import Message, Row
from transforms.shapes.turns import turns


def matches(row: Row) -> bool:
    """Say whether there are messages."""
    return "messages" in row


def to_messages(row: Row) -> list[Message]:
    """Return the turns."""
    return turns(row["messages"], "messages")
