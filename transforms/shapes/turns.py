"""A list of turns: OpenAI's role/content or ShareGPT's from/value."""

from __future__ import annotations

from typing import Any

from transforms.shapes.base import PART_OF_ROLE, Message, RowError, text, type_name

_ROLES = {
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant",
    "system": "system", "developer": "system",
}  # fmt: skip
_TOOL_ROLES = {"tool", "function", "function_call", "function_response", "observation", "tool_call", "tool_response"}


def turns(value: Any, field: str) -> list[Message]:
    """Return the turns in a field's value.

    A content that is a list of text parts is joined with line breaks. Turns that call tools are refused.
    """
    if not isinstance(value, list):
        raise RowError("wrong_type", f"field '{field}' holds {type_name(value)}; expected a list of turns")
    return [_turn(turn, f"{field}.{number}") for number, turn in enumerate(value)]


def _turn(turn: Any, where: str) -> Message:
    if not isinstance(turn, dict):
        raise RowError("wrong_type", f"{where} is {type_name(turn)}; expected an object with role and content")
    speaker = turn["role"] if "role" in turn else turn.get("from")
    if turn.get("tool_calls") or turn.get("function_call") or (isinstance(speaker, str) and speaker in _TOOL_ROLES):
        raise RowError("tool_calls", f"{where} calls a tool or brings its result; such conversations are not read")
    role = _ROLES.get(speaker.lower()) if isinstance(speaker, str) else None
    if role is None:
        raise RowError("unknown_role", f"the speaker of {where} is none of {', '.join(_ROLES)}")
    content = turn["content"] if "content" in turn else turn.get("value")
    if isinstance(content, list):
        return role, "\n".join(_part(part, where) for part in content)
    return role, text(content, PART_OF_ROLE[role], where)


def _part(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and part.get("type") == "text":
        content = part.get("text", part.get("value"))
        if isinstance(content, str):
            return content
    raise RowError("not_text", f"{where} has a part that is not text; only conversations in text are read")
