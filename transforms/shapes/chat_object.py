"""A whole conversation in a field ``chat``: MOSS's numbered turns, a list of turns, or a transcript (Glaive)."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any

from versatune.transforms.shapes.base import REASONING, Example, Message, Row, RowError, system_turn, text, type_name
from versatune.transforms.shapes.tool_use import calls_json, row_tools
from versatune.transforms.shapes.turns import turns

NAME = "chat_object"
_OPENING_MARK = re.compile(r"<\|[^|<>\n]{1,30}\|>:")
_CLOSING_MARK = re.compile(r"<eo[a-z]>\Z")
_COMMAND = re.compile(r"\s*([A-Za-z_]\w*)\((.*)\)\s*", re.DOTALL)
_NOTHING = ("", "None")


def matches(names: Container[str]) -> bool:
    """Say whether there is a chat."""
    return "chat" in names


def to_examples(row: Row) -> list[Example]:
    """Return the turns, without the marks that MOSS writes around each (``<|Human|>: ... <eoh>``).

    MOSS's commands become tool calls with the argument ``input``. Its inner thoughts stand before the call, or the answer.
    """
    chat = row["chat"]
    messages = _moss(chat) if isinstance(chat, dict) else turns(chat, "chat")
    system = system_turn(row) if messages and messages[0][0] != "system" else []
    return [Example([*((role, said.removeprefix("SYSTEM:")) for role, said in system), *messages], row_tools(row))]


def _moss(chat: dict[str, Any]) -> list[Message]:
    messages: list[Message] = []
    for name in sorted(chat, key=_number):
        turn, where = chat[name], f"chat.{name[:20]}"
        if turn is None:
            continue  # Arrow gives every row the turns of the longest
        if not isinstance(turn, dict) or "Human" not in turn or "MOSS" not in turn:
            found = "an object without 'Human' or 'MOSS'" if isinstance(turn, dict) else type_name(turn)
            raise RowError("wrong_type", f"{where} is {found}; expected an object with both")
        messages.append(("user", _bare(turn["Human"], "prompt", f"{where}.Human")))
        thoughts = _bare(turn.get("Inner Thoughts") or "", REASONING, f"{where}.Inner Thoughts")
        if thoughts not in _NOTHING:
            messages.append((REASONING, thoughts))
        command = _bare(turn.get("Commands") or "", "answer", f"{where}.Commands")
        if command not in _NOTHING:
            messages.append(("tool_call", _call(command, where)))
            messages.append(("tool", _bare(turn.get("Tool Responses") or "", "answer", f"{where}.Tool Responses")))
        messages.append(("assistant", _bare(turn["MOSS"], "answer", f"{where}.MOSS")))
    return messages


def _number(name: str) -> tuple[int, str]:
    digits = re.sub(r"[^0-9]", "", name)[:9]
    return (int(digits) if digits else 0, name)


def _bare(value: Any, part: str, where: str) -> str:
    said = text(value, part, where).strip()
    if opening := _OPENING_MARK.match(said):
        said = said[opening.end() :]
    if closing := _CLOSING_MARK.search(said, max(0, len(said) - len("<eoh>"))):
        said = said[: closing.start()]
    return said.strip()


def _call(command: str, where: str) -> str:
    found = _COMMAND.fullmatch(command)
    if found is None:
        raise RowError("bad_tool_call", f"the command in {where} is not of the form Name(argument)")
    argument = found[2].strip()
    if len(argument) > 1 and argument[0] == argument[-1] and argument[0] in "\"'":
        argument = argument[1:-1]
    return calls_json({"name": found[1], "arguments": {"input": argument}}, where)
