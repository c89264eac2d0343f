"""A list of turns, in any of the ways in which people write one."""

from __future__ import annotations

import ast
from typing import Any

from versatune.transforms.shapes import exact_json
from versatune.transforms.shapes.base import (
    OF_ASSISTANT,
    PART_OF_ROLE,
    REASONING,
    Message,
    RowError,
    first_field,
    is_blank,
    plain_role,
    text,
    type_name,
)
from versatune.transforms.shapes.marks import MARKS, marked
from versatune.transforms.shapes.thoughts import parted_thoughts, thoughts_of_row, thoughts_of_turn
from versatune.transforms.shapes.tool_results import Origin, in_order_of_calls, origin
from versatune.transforms.shapes.tool_use import calls_json, result_text, tagged_calls
from versatune.transforms.shapes.transcript import transcript_turns

ROLES = {
    "user": "user", "human": "user", "prompter": "user", "用户": "user", "问": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant",
    "ai": "assistant", "chatbot": "assistant", "bing": "assistant", "bard": "assistant",
    "助手": "assistant", "答": "assistant",
    "system": "system", "developer": "system",
    "function_call": "tool_call", "tool_call": "tool_call", "tool_calls": "tool_call",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool", "tool_response": "tool",
    "function-response": "tool", "ipython": "tool",
    "reasoning": REASONING, "thinking": REASONING,
}  # fmt: skip
_SPEAKERS = ("role", "from", "speaker")
_CONTENTS = ("content", "value", "text", "message")
_TEXT_ROLES = frozenset((*PART_OF_ROLE, REASONING))
_PAIRS = (
    ("input", "output"), ("user", "assistant"), ("human", "assistant"), ("question", "answer"), ("prompt", "response"),
    ("instruction", "response"), ("instruction", "output"),
)  # fmt: skip


def turns(value: Any, field: str) -> list[Message]:
    """Return the turns in a field's value.

    Read are objects with a speaker (``role``, ``from``) and a content (``content``, ``value``); texts in turn, the
    user's first; and objects that hold a prompt and its answer. A content that is a list of text parts is joined with
    line breaks. Text in place of the list is taken as JSON or as a transcript, text that is itself an object with a speaker
    as that object. Thoughts (``reasoning_content`` and the like beside what the assistant says, parts of type ``thinking``
    before it) become a turn of their own. The assistant's turns that are marked as context only (``weight: 0``,
    ``train: false``) come with a marked role.

    Raises:
        RowError: none of these, an unknown speaker, content that is not text, a tool call that cannot be read.
    """
    if not isinstance(value, list):
        return _from_text(value, field)
    messages: list[Message] = []
    origins: list[Origin] = []
    unusual = False
    for number, turn in enumerate(value):
        if type(turn) is dict and len(turn) == 2:  # the ordinary turn, read quickly
            speaker, content = turn.get("role") or turn.get("from"), turn.get("content") or turn.get("value")
            if type(content) is str and type(speaker) is str:
                role = ROLES.get(speaker)
                if role in _TEXT_ROLES:
                    messages.append((role, content))
                    continue
        elif type(turn) is str and written_turn(turn) is None:
            messages.append(("assistant" if number % 2 else "user", turn))
            continue
        unusual = True
        messages += _turn(turn, f"{field}.{number}")
        if messages[-1][0] == "tool":
            origins.append(origin(turn if isinstance(turn, dict) else {}))
    if not unusual:
        return messages
    messages = _with_tagged_calls(messages, field)
    return in_order_of_calls(messages, origins, field) if origins else messages


def _from_text(value: Any, field: str) -> list[Message]:
    if isinstance(value, str):
        try:
            listed = exact_json.loads(value) if value.lstrip()[:1] == "[" else None
        except ValueError:
            listed = None
        found = turns(listed, field) if isinstance(listed, list) else transcript_turns(value)
        if found is not None:
            return found
    if value is None:
        raise RowError("missing_prompt", f"field '{field}' is null; expected a list of turns")
    raise RowError("wrong_type", f"field '{field}' holds {type_name(value)}; expected a list of turns")


def written_turn(text: str) -> dict[str, Any] | None:
    """Return the turn that a text holds as JSON or as Python writes it: an object with a speaker and a content is nobody's words."""
    if text.lstrip()[:1] != "{" or not any(name in text for name in _SPEAKERS):
        return None
    try:
        value = ast.literal_eval(text.strip()) if text.lstrip()[1:].lstrip()[:1] == "'" else exact_json.loads(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, dict) and _names_speaker(value) else None


def known_turn(text: str) -> bool:
    """Say whether a text is a turn of a known speaker: other objects with a role may well be what was said."""
    turn = written_turn(text)
    speaker = turn[first_field(turn, _SPEAKERS) or ""] if turn else None
    return isinstance(speaker, str) and speaker.strip().lower() in ROLES


def _names_speaker(value: dict[str, Any]) -> bool:
    said = (*_CONTENTS, "tool_calls", "function_call")
    return first_field(value, _SPEAKERS) is not None and first_field(value, said) is not None


def _turn(turn: Any, where: str) -> list[Message]:
    if isinstance(turn, str):
        turn = written_turn(turn)
    if not isinstance(turn, dict):
        raise RowError("wrong_type", f"{where} is {type_name(turn)}; expected an object with role and content")
    messages = _said(turn, where)
    return messages if MARKS.keys().isdisjoint(turn) else marked(messages, turn, where)


def _said(turn: dict[str, Any], where: str) -> list[Message]:
    named = first_field(turn, _SPEAKERS)
    if named is None:
        return _pair(turn, where)
    speaker, field = turn[named], first_field(turn, _CONTENTS)
    role = ROLES.get(speaker.strip().lower()) if isinstance(speaker, str) else None
    if role is None:
        raise RowError("unknown_role", f"the speaker of {where} is none of {', '.join(ROLES)}")
    content = turn[field] if field else None
    thoughts: list[Message] = []
    if isinstance(content, list) and role == "assistant":
        thoughts, content = parted_thoughts(content, where)
    if isinstance(content, list) and role != "tool_call":
        content = (
            "\n".join(_part(part, where) for part in content) if role != "tool" or _are_parts(content) else content
        )
    if role == "tool":
        return [("tool", result_text(content, where))]
    if role == REASONING:
        return [(REASONING, "" if content is None else text(content, REASONING, where))]
    if role not in OF_ASSISTANT:
        return [(role, text(content, PART_OF_ROLE[role], where))]
    return [*(thoughts or thoughts_of_turn(turn)), *_acts(turn, role, content, where)]


def _acts(turn: dict[str, Any], role: str, content: Any, where: str) -> list[Message]:
    """Return what the assistant says, what it calls, or both."""
    if role == "tool_call":
        return [("tool_call", calls_json(content, where))]
    called = turn.get("tool_calls") or turn.get("function_call")
    if not called:
        return [("assistant", text(content, "answer", where))]
    calls: Message = ("tool_call", calls_json(called, where))
    spoken = content is not None and not (isinstance(content, str) and is_blank(content))
    return [("assistant", text(content, "answer", where)), calls] if spoken else [calls]


def _pair(turn: dict[str, Any], where: str) -> list[Message]:
    for prompt, answer in _PAIRS:
        if prompt in turn and answer in turn:
            asked = ("user", text(turn[prompt], "prompt", f"{where}.{prompt}"))
            answered = ("assistant", text(turn[answer], "answer", f"{where}.{answer}"))
            rules = turn.get("system")  # as XTuner writes it, with the first pair
            before: list[Message] = [("system", rules)] if isinstance(rules, str) and rules.strip() else []
            return [*before, asked, *thoughts_of_row(turn), answered]
    raise RowError("unknown_role", f"{where} names no speaker; expected 'role' and 'content', or 'from' and 'value'")


def _are_parts(content: list[Any]) -> bool:
    return bool(content) and all(isinstance(part, dict) and part.get("type") == "text" for part in content)


def _part(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and part.get("type") in ("text", "input_text", "output_text"):
        content = part.get("text", part.get("value"))
        if isinstance(content, str):
            return content
    raise RowError("not_text", f"{where} has a part that is not text; only conversations in text are read")


def _with_tagged_calls(messages: list[Message], field: str) -> list[Message]:
    """Where results follow calls that are written into the assistant's text, take the calls out of it."""
    roles = {plain_role(role) for role, _ in messages}
    if "tool" not in roles or "tool_call" in roles:
        return messages
    found: list[Message] = []
    for number, (role, content) in enumerate(messages):
        if plain_role(role) != "assistant" or "<tool_call>" not in content:
            found.append((role, content))
            continue
        mark = role.removeprefix("assistant")
        found += [(f"{part}{mark}", said) for part, said in tagged_calls(content, f"{field}.{number}")]
    return found
