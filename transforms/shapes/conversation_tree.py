"""Conversation trees, as Open Assistant publishes them: messages with replies to replies.

A tree gives one example: from the first message always the best-ranked reply. One example for each leaf would repeat
every shared beginning, train on answers that people ranked last, and put nearly equal rows on both sides of the
validation split.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from versatune.transforms.shapes.base import PART_OF_ROLE, Example, Message, Row, RowError, first_field, text, type_name
from versatune.transforms.shapes.turns import ROLES

NAME = "conversation_tree"
_UNRANKED = float("inf")


def matches(names: Container[str]) -> bool:
    """Say whether there are replies, or a tree's first message."""
    return "replies" in names or ("message_tree_id" in names and "prompt" in names)


def to_examples(row: Row) -> list[Example]:
    """Return the best-ranked path as turns.

    Among replies the lowest ``rank`` wins, then the earlier one; replies that are deleted or failed review are passed by.
    """
    messages: list[Message] = []
    node: Any = row if "replies" in row else row["prompt"]
    while node is not None:
        messages.append(_turn(node, len(messages)))
        node = _best(node.get("replies"), len(messages))
    return [Example(messages)]


def _best(replies: Any, depth: int) -> Any:
    if replies is None:
        return None
    if not isinstance(replies, list):
        raise RowError("wrong_type", f"the replies to message {depth} are {type_name(replies)}; expected a list")
    kept = [reply for reply in replies if not (isinstance(reply, dict) and _is_refused(reply))]
    return min(kept, key=_rank, default=None)


def _is_refused(reply: dict[str, Any]) -> bool:
    return reply.get("deleted") is True or reply.get("review_result") is False


def _rank(reply: Any) -> float:
    rank = reply.get("rank") if isinstance(reply, dict) else None
    return float(rank) if isinstance(rank, int | float) else _UNRANKED


def _turn(node: Any, depth: int) -> Message:
    where = f"message {depth} of the tree"
    if not isinstance(node, dict):
        raise RowError("wrong_type", f"{where} is {type_name(node)}; expected an object with text and replies")
    speaker = node.get("role")
    known = ROLES.get(speaker.lower()) if isinstance(speaker, str) else ("assistant" if depth % 2 else "user")
    if known not in PART_OF_ROLE:
        raise RowError(
            "unknown_role",
            f"the speaker of {where} is none of {', '.join(name for name, role in ROLES.items() if role in PART_OF_ROLE)}",
        )
    field = first_field(node, ("text", "content", "value", "body")) or "text"
    return str(known), text(node.get(field), PART_OF_ROLE[str(known)], f"{where}, '{field}'")
