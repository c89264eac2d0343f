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
    ids: str = "own"
    """Of calls: ``own``, ``numbered``, or ``named`` after the function and the call's number, as Kimi has them."""


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
    for field, ids, text, nothing, parts in itertools.product(
        fields if thoughts else ("inline",),
        ("own", "numbered", "named") if calls else ("own",),
        (False, True) if calls else (False,),
        ("", None) if calls else ("",),
        (False, True),
    ):
        yield Form(parts=parts, text_arguments=text, thoughts=field, nothing=nothing, ids=ids)


def pieces_and_messages(
    kind: Kind, form: Form, write: Callable[[int, str], str]
) -> tuple[list[Piece], list[dict[str, Any]], list[dict[str, Any]] | None]:
    """Return the texts, the messages, and the tools; ``write`` gives what is put in place of the n-th text."""
    making = _Making(kind, form, write)
    tools = json.loads(kind.tools) if kind.tools is not None else None
    for tool in tools or []:
        for field in ("name", "description"):
            tool["function"][field] = making.put("tool", tool["function"][field], -1)
    messages = making.messages()
    return making.pieces, [_in_parts(message) if form.parts else message for message in messages], tools


class _Making:
    """Messages in the making."""

    def __init__(self, kind: Kind, form: Form, write: Callable[[int, str], str]) -> None:
        self.pieces: list[Piece] = []
        self._turns, self._form, self._write = kind.turns, form, write
        self._messages: list[dict[str, Any]] = []
        self._thought: str | None = None
        self._unanswered: list[dict[str, Any]] = []
        self._calls = 0
        calls = [call for role, text in kind.turns if role == "tool_call" for call in json.loads(text)]
        self._own_ids = form.ids == "own" and all("id" in call for call in calls)

    def put(self, what: str, value: str, message: int) -> str:
        """Note a text, and return what stands for it."""
        self.pieces.append(Piece(what, value, message))
        return self._write(len(self.pieces) - 1, value)

    def messages(self) -> list[dict[str, Any]]:
        """Return the messages."""
        roles = [role for role, _ in self._turns]
        for (role, text), before, after in zip(self._turns, ["", *roles], [*roles[1:], ""], strict=False):
            if role == "reasoning":
                self._thought = self.put("thought", text, len(self._messages))
            elif role == "tool":
                self._result(text)
            elif role == "tool_call":
                self._call(json.loads(text), joined=before == "assistant")
            elif role == "assistant":
                self._answer("beside" if after == "tool_call" else "answer", text)
            else:
                self._messages.append({"role": role, "content": self.put(role, text, len(self._messages))})
        return self._messages

    def _result(self, text: str) -> None:
        call = self._unanswered.pop(0)
        content = self.put("result", text, len(self._messages))
        named = {"tool_call_id": call["id"], "name": call["function"]["name"]}
        self._messages.append({"role": "tool", **named, "content": content})

    def _answer(self, what: str, text: str) -> None:
        answer = text
        if inline := INLINE.fullmatch(text):
            self._thought = self.put("thought", inline.group(1), len(self._messages))
            answer = inline.group(2)
        self._messages.append({"role": "assistant", "content": self.put(what, answer, len(self._messages))})
        self._think()

    def _call(self, calls: list[dict[str, Any]], *, joined: bool) -> None:
        if not joined:
            self._messages.append({"role": "assistant", "content": self._form.nothing})
            self._think()
        self._unanswered = [self._called(call, len(self._messages) - 1) for call in calls]
        self._messages[-1]["tool_calls"] = list(self._unanswered)

    def _called(self, call: dict[str, Any], message: int) -> dict[str, Any]:
        name = self.put("name", call["name"], message)
        arguments = _replaced(call["arguments"], lambda value: self.put("argument", value, message))
        if self._form.text_arguments:
            arguments = json.dumps(arguments, ensure_ascii=False)
        own = call["id"] if self._own_ids else f"call{self._calls:05d}"
        used = f"functions.{name}:{self._calls}" if self._form.ids == "named" else own
        self._calls += 1
        return {"id": used, "type": "function", "function": {"name": name, "arguments": arguments}}

    def _think(self) -> None:
        if self._thought is None:
            return
        message = self._messages[-1]
        if self._form.thoughts == "inline":
            message["content"] = f"<think>\n{self._thought}\n</think>\n\n{message['content'] or ''}"
        else:
            message[self._form.thoughts] = self._thought
        self._thought = None


def _replaced(value: Any, put: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(item, put) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, put) for item in value]
    return put(value) if isinstance(value, str) else value


def _in_parts(message: dict[str, Any]) -> dict[str, Any]:
    content = message["content"]
    return {**message, "content": [{"type": "text", "text": content}] if content else []}


def render(
    template: str, messages: list[dict[str, Any]], tools: Any, names: dict[str, str], *, prompt: bool = False
) -> str:
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


def marked(
    template: str, messages: list[dict[str, Any]], tools: Any, names: dict[str, str]
) -> tuple[str, list[tuple[int, int]]]:
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
