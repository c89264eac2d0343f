"""What a template writes behind a conversation's last text so that the assistant may speak: the end of the prompt at inference.

It depends on who spoke, not on what was said, but for the words behind a slash that a few templates look for (``/no_think``). So it is
rendered once for each shape of a conversation, on a short one of that shape: the cost of a row grows with its turns, not with their square.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

from versatune.transforms.chat.form import Call, Form, Said
from versatune.transforms.chat.template import ChatMessage, Template, Tools
from versatune.transforms.chat.verdict import CannotTokenize

_SWITCHES = re.compile(r"(?<![<\w/])/[a-z_]{3,}")
_NAME = "vQzlookzQv"
_TOOL = {"type": "function", "function": {"name": _NAME, "description": "Looks.", "parameters": {"type": "object", "properties": {}}}}  # fmt: skip
_TEXT = "vQz000000zQv"
_MAX_SHAPES = 10_000

Shape = tuple[tuple[str, bool, int, tuple[str, ...]], ...]


class Prompts:
    """The ends of prompts of one template in one form."""

    def __init__(self, template: Template, form: Form) -> None:
        self._template = template
        self._form = form
        self.switches = sorted(set(_SWITCHES.findall(template.source)))
        self._known: dict[tuple[Shape, bool], tuple[str, str] | None] = {}

    @cached_property
    def header(self) -> str:
        """What the generation prompt adds to a question: the words by which the assistant's turn is opened; empty where it adds none."""
        question = self._form.messages([Said("user", _TEXT, ())])
        try:
            without, with_header = (self._template.render(question, prompt=prompt) for prompt in (False, True))
        except CannotTokenize:
            return ""
        return with_header.removeprefix(without) if with_header.startswith(without) else ""

    def tail(self, said: Sequence[Said], tools: Tools | None, result: ChatMessage | None = None) -> str | None:
        """Return what the generation prompt writes behind the last text of a conversation; None where the template refuses it there.

        Args:
            said: the messages before the assistant's; the last has a text.
            tools: that may be called.
            result: the last message as it is passed, if it is a tool's result: some templates write behind it whose it is (Mistral's).
        """
        shape = self._shape(said)
        key = shape, bool(tools)
        if key not in self._known:
            if len(self._known) >= _MAX_SHAPES:
                self._known.clear()
            self._known[key] = self._rendered(shape, [_TOOL] if tools else None)
        known = self._known[key]
        if known is None or result is None:
            return known[0] if known else None
        tail, own_id = known
        return tail.replace(own_id, result["tool_call_id"]).replace(_NAME, result["name"])

    def _shape(self, said: Sequence[Said]) -> Shape:
        """Return who spoke: the system turn, one earlier exchange, and from the last question on the first and the last round of calls."""
        start = max((at for at, message in enumerate(said) if message.role == "user"), default=0)
        head = [message for message in said[:1] if message.role == "system" and start > 0]
        exchange = _first_exchange(said[len(head) : start])
        rounds = list(said[start:])
        calls = [at for at, message in enumerate(rounds) if message.calls]
        if len(calls) > 2:
            rounds = rounds[: calls[1]] + rounds[calls[-1] :]
        return tuple(self._entry(message) for message in (*head, *exchange, *rounds))

    def _entry(self, message: Said) -> tuple[str, bool, int, tuple[str, ...]]:
        switches = tuple(word for word in self.switches if word in message.content) if self.switches else ()
        return message.role, bool(message.content), len(message.calls), switches

    def _rendered(self, shape: Shape, tools: Tools | None) -> tuple[str, str] | None:
        """Return what stands behind the last text, and the id of the call that it answers if it is a result."""
        said: list[Said] = []
        waiting: list[tuple[int, int]] = []
        for role, has_text, calls, switches in shape:
            text = " ".join([*switches, _TEXT]) if has_text else ""
            answers = (waiting.pop(0) if len(waiting) > 1 else waiting[0]) if role == "tool" and waiting else (0, 0)
            said.append(Said(role, text, (), calls=tuple(Call(_NAME, {}) for _ in range(calls)), answers=answers))
            if calls:
                waiting = [(len(said) - 1, place) for place in range(calls)]
        try:
            messages = self._form.messages(said)
            rendered = self._template.render(messages, tools, prompt=True)
        except CannotTokenize:
            return None
        return (rendered.rpartition(_TEXT)[2], messages[-1].get("tool_call_id", "")) if _TEXT in rendered else None


def _first_exchange(said: Sequence[Said]) -> list[Said]:
    """Return the first question and its answer, of a conversation that has gone on since."""
    question = next((message for message in said if message.role == "user"), None)
    answer = next((message for message in said if message.role == "assistant" and not message.calls), None)
    return [question, answer] if question and answer else []
