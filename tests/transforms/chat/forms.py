"""A conversation in each form that chat templates take, rendered by transformers alone: nothing here is versatune's."""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

from tests.transforms.chat.kinds import Kind

DATE = datetime(2024, 7, 26, tzinfo=UTC)  # what versatune gives templates that print the date
INLINE = re.compile(r"<think>\n(.*?)\n</think>\n\n(.*)", re.DOTALL)
CONTEXT, LEARNED = ("system", "user", "result", "tool"), ("answer", "thought", "beside", "name", "argument")

Write = Callable[[str, str, int], str]


@dataclass(frozen=True)
class Form:
    """How a conversation is handed to a template."""

    parts: bool = False
    """Contents as lists of parts, not as strings."""
    text_arguments: bool = False
    """Arguments as JSON text, not as objects."""
    thoughts: str = "reasoning_content"
    """The field of thoughts, or ``inline``."""
    nothing: str | None = ""
    """The content of a message that only calls."""
    own_ids: bool = True


@dataclass(frozen=True)
class Piece:
    """One text of a conversation."""

    kind: str
    value: str
    message: int
    """Number of its message; -1 for the tools."""


def forms(kind: Kind) -> Iterator[Form]:
    """Yield the forms that make a difference for a conversation, the usual ones first."""
    roles = {role for role, _ in kind.turns}
    calls, thoughts = "tool_call" in roles, "reasoning" in roles or any("<think>" in text for _, text in kind.turns)
    inline_first = ("inline", "reasoning_content", "thinking", "reasoning")
    fields = inline_first if "reasoning" not in roles else (*inline_first[1:], "inline")
    for field, own_ids, text, nothing, parts in itertools.product(
        fields if thoughts else ("inline",),
        (True, False) if calls else (True,),
        (False, True) if calls else (False,),
        ("", None) if calls else ("",),
        (False, True),
    ):
        yield Form(parts=parts, text_arguments=text, thoughts=field, nothing=nothing, own_ids=own_ids)


def pieces_and_messages(
    kind: Kind, form: Form, write: Callable[[int, str], str]
) -> tuple[list[Piece], list[dict[str, Any]], list[dict[str, Any]] | None]:
    """Return the texts, the messages, and the tools; ``write`` gives what is put in place of the n-th text."""
    pieces: list[Piece] = []

    def put(what: str, value: str, message: int) -> str:
        pieces.append(Piece(what, value, message))
        return write(len(pieces) - 1, value)

    tools = json.loads(kind.tools) if kind.tools is not None else None
    for tool in tools or []:
        function = tool["function"]
        function["name"] = put("tool", function["name"], -1)
        function["description"] = put("tool", function["description"], -1)
    return pieces, _messages(kind, form, put), tools


def _messages(kind: Kind, form: Form, put: Write) -> list[dict[str, Any]]:
    own_ids = form.own_ids and all("id" in call for role, text in kind.turns if role == "tool_call" for call in json.loads(text))
    messages: list[dict[str, Any]] = []
    waiting: list[dict[str, Any]] = []
    thought = ""
    count = 0
    for at, (role, text) in enumerate(kind.turns):
        number = len(messages)
        if role == "reasoning":
            thought = put("thought", text, number)
            continue
        if role == "tool":
            call = waiting.pop(0)
            messages.append(
                {"role": "tool", "tool_call_id": call["id"], "name": call["function"]["name"], "content": put("result", text, number)}
            )
            continue
        if role != "tool_call":
            called = at + 1 < len(kind.turns) and kind.turns[at + 1][0] == "tool_call"
            what = role if role != "assistant" else "beside" if called else "answer"
            inline = INLINE.fullmatch(text) if role == "assistant" else None
            if inline:
                thought = put("thought", inline.group(1), number)
                text = inline.group(2)
            messages.append({"role": role, "content": put(what, text, number)})
            if thought:
                _think(messages[-1], thought, form)
                thought = ""
            continue
        if not messages or messages[-1]["role"] != "assistant" or kind.turns[at - 1][0] != "assistant":
            messages.append({"role": "assistant", "content": form.nothing})
            if thought:
                _think(messages[-1], thought, form)
                thought = ""
        waiting = []
        for call in json.loads(text):
            name = put("name", call["name"], len(messages) - 1)
            arguments = _arguments(call["arguments"], lambda value: put("argument", value, len(messages) - 1))
            waiting.append(
                {
                    "id": call["id"] if own_ids else f"call{count:05d}",
                    "type": "function",
                    "function": {
                        "name": name,
                        "arguments": json.dumps(arguments, ensure_ascii=False) if form.text_arguments else arguments,
                    },
                }
            )
            count += 1
        messages[-1]["tool_calls"] = list(waiting)
    return [_in_parts(message) if form.parts else message for message in messages]


def _think(message: dict[str, Any], thought: str, form: Form) -> None:
    if form.thoughts == "inline":
        message["content"] = f"<think>\n{thought}\n</think>\n\n{message['content'] or ''}"
    else:
        message[form.thoughts] = thought


def _arguments(value: Any, put: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _arguments(item, put) for key, item in value.items()}
    if isinstance(value, list):
        return [_arguments(item, put) for item in value]
    return put(value) if isinstance(value, str) else value


def _in_parts(message: dict[str, Any]) -> dict[str, Any]:
    content = message["content"]
    return {**message, "content": [{"type": "text", "text": content}] if content else []}


def render(template: str, messages: list[dict[str, Any]], tools: Any, names: dict[str, str], *, prompt: bool = False) -> str:
    """Return what ``apply_chat_template`` would; what the template raises is raised."""
    return _rendered(template, json.dumps(messages), json.dumps(tools), json.dumps(names), prompt)


@functools.lru_cache(maxsize=20_000)
def _rendered(template: str, messages: str, tools: str, names: str, prompt: bool) -> str:
    (text,), _ = render_jinja_template(
        conversations=[json.loads(messages)],
        tools=json.loads(tools),
        chat_template=template,
        add_generation_prompt=prompt,
        strftime_now=DATE.strftime,
        **json.loads(names),
    )
    return str(text)


def marked(template: str, messages: list[dict[str, Any]], tools: Any, names: dict[str, str]) -> tuple[str, list[tuple[int, int]]]:
    """Return the text and the characters [start, end) that the template's own generation marks hold."""
    (text,), (spans,) = render_jinja_template(
        conversations=[messages],
        tools=tools,
        chat_template=template,
        return_assistant_tokens_mask=True,
        strftime_now=DATE.strftime,
        **names,
    )
    return str(text), [(start, end) for start, end in spans]
