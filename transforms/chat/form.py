"""The form in which a chat template takes what is said: one of several that public templates ask for."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from versatune.transforms.chat.number_marks import NumberMarks
from versatune.transforms.chat.template import ChatMessage
from versatune.transforms.shapes import exact_json
from versatune.transforms.shapes.base import Message

INLINE = "inline"
THOUGHT_FIELDS = ("reasoning_content", "thinking", "reasoning")
_THOUGHTS_FIRST = re.compile(r"\s*<think>(.*?)</think>", re.DOTALL)


class Call(NamedTuple):
    """A tool call."""

    name: str
    arguments: dict[str, Any]
    id: str = ""
    """The source's own; empty where it has none."""


class Said(NamedTuple):
    """A message as it will be passed, in no template's form yet."""

    role: str
    """system, user, assistant or tool."""
    content: str
    numbers: tuple[int, ...]
    """Positions of the turns that it is made of."""
    thoughts: str = ""
    calls: tuple[Call, ...] = ()
    answers: tuple[int, int] = (0, 0)
    """Of a tool's result the message that calls, and which of its calls it answers."""
    caller: str = ""
    """Of a tool's result the name that it is passed with; empty where that is its call's."""


@dataclass(frozen=True)
class Form:
    """How messages are passed to one template."""

    parts: bool = False
    """A content is a list of parts, ``[{"type": "text", "text": ...}]``."""
    text_arguments: bool = False
    """A call's arguments are JSON text."""
    null_content: bool = False
    """A message of calls alone has the content None in place of an empty text."""
    thoughts: str | None = None
    """The field that takes thoughts, or ``inline`` where they stand in the content; None where the template knows of none."""
    ids_name: bool = False
    """A call is named by its id alone: ids are ``functions.<name>:<number>``."""

    def messages(self, said: Sequence[Said], *, own_ids: bool = True) -> list[ChatMessage]:
        """Return messages as ``apply_chat_template`` takes them.

        Calls keep the ids of their source if all of a conversation have one; else they are numbered through it (``call00000``:
        nine letters and digits, as Mistral's templates demand). Each result carries the id and the name of its call.

        Args:
            said: the conversation.
            own_ids: False numbers the calls in any case.
        """
        own_ids = own_ids and all(call.id for message in said for call in message.calls)
        ids: list[list[str]] = []
        count = 0
        for message in said:
            ids.append([self._id(call, count + at, own=own_ids) for at, call in enumerate(message.calls)])
            count += len(message.calls)
        return [self._message(message, said, ids, at) for at, message in enumerate(said)]

    def _message(self, message: Said, said: Sequence[Said], ids: list[list[str]], at: int) -> ChatMessage:
        turn: ChatMessage = {"role": message.role, "content": self._content(message)}
        if message.thoughts and self.thoughts not in (None, INLINE):
            turn[str(self.thoughts)] = message.thoughts
        if message.calls:
            turn["tool_calls"] = [
                {"id": name, "type": "function", "function": {"name": call.name, "arguments": self._arguments(call)}}
                for call, name in zip(message.calls, ids[at], strict=True)
            ]
        if message.role == "tool":
            caller, place = message.answers
            turn |= {"tool_call_id": ids[caller][place], "name": message.caller or said[caller].calls[place].name}
        return turn

    def _content(self, message: Said) -> Any:
        content = message.content
        if message.thoughts and self.thoughts == INLINE:
            content = f"<think>\n{message.thoughts}\n</think>\n\n{content}"
        if not content and message.calls and self.null_content:
            return None
        return [{"type": "text", "text": content}] if self.parts else content

    def _arguments(self, call: Call) -> Any:
        if not self.text_arguments:
            return call.arguments
        marks = NumberMarks()
        return marks.undone(json.dumps(marks.put_into(call.arguments), ensure_ascii=False))

    def _id(self, call: Call, number: int, *, own: bool) -> str:
        if self.ids_name and (not own or call.name not in call.id):
            return f"functions.{call.name}:{number}"
        return call.id if own else f"call{number:05d}"


def conversation(turns: Sequence[Message], form: Form) -> list[Said]:
    """Return a conversation's turns as messages: thoughts, text and calls of one turn of the assistant are one.

    Thoughts that the source wrote into an answer, in ``<think>`` tags before it, are thoughts where the template has a field
    for them.

    Args:
        turns: (role, content) pairs, checked; no document.
        form: of the template.
    """
    said: list[Said] = []
    waiting: list[tuple[int, int]] = []
    for number, (role, content) in enumerate(turns):
        if role in ("reasoning", "assistant", "tool_call"):
            before = said[-1] if said and said[-1].role == "assistant" and not said[-1].calls else None
            if before is None or (role == "assistant" and before.content) or role == "reasoning":
                said.append(Said("assistant", "", ()))
            said[-1] = _with(said[-1], role, content, number, form)
            waiting = [(len(said) - 1, place) for place in range(len(said[-1].calls))]
        elif role == "tool":
            answered = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            said.append(Said("tool", content, (number,), answers=answered))
        else:
            said.append(Said(role, content, (number,)))
    return said


def _with(message: Said, role: str, content: str, number: int, form: Form) -> Said:
    """Return the assistant's message with one turn more."""
    message = message._replace(numbers=(*message.numbers, number))
    if role == "tool_call":
        calls = tuple(Call(call["name"], call["arguments"], call.get("id", "")) for call in exact_json.loads(content))
        return message._replace(calls=calls)
    if role == "reasoning":
        return message._replace(thoughts=content)
    found = _THOUGHTS_FIRST.match(content) if form.thoughts not in (None, INLINE) and not message.thoughts else None
    if found and (found[1].strip()):
        return message._replace(thoughts=found[1].strip("\n"), content=content[found.end() :].strip())
    return message._replace(content=content)
