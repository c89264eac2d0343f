"""Conversations written as one text with speaker marks, such as ``### Human: ... ### Assistant: ...``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from versatune.transforms.shapes.base import Message
from versatune.transforms.shapes.tool_use import calls_json


class _Style(NamedTuple):
    mark: re.Pattern[str]
    """Its first group names the speaker."""
    ends: tuple[str, ...] = ()
    """What may stand at the end of a turn and is no part of it."""


_STYLES = (
    _Style(re.compile(r"<\|im_start\|>(user|assistant|system)\n"), ("<|im_end|>",)),
    _Style(re.compile(r"<\|start_header_id\|>(user|assistant|system)<\|end_header_id\|>\n*"), ("<|eot_id|>",)),
    _Style(re.compile(r"<start_of_turn>(user|model)\n"), ("<eos>", "<end_of_turn>")),
    _Style(
        re.compile(r"<\|(user|assistant|system|prompter)\|>:?[ \n]?"),
        ("<|endoftext|>", "</s>", "<|end|>"),
    ),
    _Style(re.compile(r"<\|(Human|MOSS)\|>: ?"), ("<eoh>", "<eom>", "<eoa>")),
    _Style(re.compile(r"\[\|?(Human|AI|MOSS)\|?\]:? ?"), ("<eoh>", "<eoa>")),
    _Style(re.compile(r"<(human|bot)>: ?")),
    _Style(re.compile(r"### ?(Human|User|Assistant|System|Instruction|Input|Response|Output): ?\n?"), ("</s>",)),
    _Style(
        re.compile(r"^(Human|User|Assistant|System|USER|ASSISTANT|SYSTEM|FUNCTION RESPONSE): ?", re.MULTILINE),
        ("<|endoftext|>", "</s>"),
    ),
)
_SPEAKERS = {
    "human": "user", "user": "user", "prompter": "user", "instruction": "user", "input": "user",
    "assistant": "assistant", "model": "assistant", "ai": "assistant", "moss": "assistant", "bot": "assistant",
    "response": "assistant", "output": "assistant",
    "system": "system", "function response": "tool",
}  # fmt: skip
_ALPACA_PREAMBLE = "Below is an instruction"  # the template's own words, no part of the conversation
_PREAMBLES = (_ALPACA_PREAMBLE, "A chat between")
_PREAMBLE_CHARS = 600
_START_CHARS = 40
_MARK_BEGINNINGS = ("<", "[", "###", "Human:", "User:", "USER:", "System:", "SYSTEM:", *_PREAMBLES)
_STARTS = ("<s>", "<|begin_of_text|>", "<bos>", "<|endoftext|>")


def transcript_turns(content: str) -> list[Message] | None:
    """Return the turns of a text that is plainly a transcript, else None.

    Plainly means: it begins with the mark of a user or a system text (or with the preamble of a known template), and
    from there user and assistant take turns. A text that is anything else is left alone.
    """
    messages = open_transcript(content)
    while messages and messages[-1] == ("assistant", ""):
        messages.pop()
    return messages if messages and any(role == "assistant" for role, _ in messages) else None


def open_transcript(content: str) -> list[Message] | None:
    """Like :func:`transcript_turns`, but the assistant need not have spoken: its empty last turn is an open mark."""
    content = content.strip()
    if not content.startswith(_MARK_BEGINNINGS):
        return None
    for start in _STARTS:
        content = content.removeprefix(start).lstrip()
    if content.startswith("[INST]"):
        return _inst_turns(content)
    preamble = content.startswith(_PREAMBLES)
    for style in _STYLES:
        first = style.mark.search(content, 0, _PREAMBLE_CHARS) if preamble else style.mark.match(content[:_START_CHARS])
        if first is not None:
            return _turns(content, style)
    return None


def _turns(content: str, style: _Style) -> list[Message] | None:
    marks = list(style.mark.finditer(content))
    preamble = content[: marks[0].start()].strip()
    messages: list[Message] = []
    if preamble and not preamble.startswith(_ALPACA_PREAMBLE):
        messages.append(("system", preamble))
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        said = content[mark.end() : following.start() if following else len(content)].strip()
        for end in style.ends:
            said = said.removesuffix(end).rstrip()
        speaker = mark[1].lower()
        if speaker == "input" and messages and messages[-1][0] == "user":
            messages[-1] = ("user", f"{messages[-1][1]}\n\n{said}" if said else messages[-1][1])
        else:
            messages += _said(_SPEAKERS[speaker], said)
    return messages if _in_turn([role for role, _ in messages]) else None


def _said(role: str, said: str) -> list[Message]:
    """Return a turn; one with a call as Glaive writes it is two."""
    if role != "assistant" or "<functioncall>" not in said:
        return [(role, said)]
    before, _, call = said.partition("<functioncall>")
    spoken: list[Message] = [("assistant", before.strip())] if before.strip() else []
    return [*spoken, ("tool_call", calls_json(call.removesuffix("<|endoftext|>").strip(), "a <functioncall>"))]


def _in_turn(roles: list[str]) -> bool:
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    if spoken[:1] != ["user"]:
        return False
    acts = {"user": "user", "assistant": "act", "tool_call": "call", "tool": "user"}
    sides = [acts.get(role, role) for role in spoken]
    follows = {"user": ("act", "call"), "act": ("user", "call"), "call": ("user",)}
    return all(after in follows.get(side, ()) for side, after in pairwise(sides))


def _inst_turns(content: str) -> list[Message] | None:
    messages: list[Message] = []
    for asked, answered in _inst_pairs(content):
        prompt = asked.strip()
        if not messages and prompt.startswith("<<SYS>>") and "<</SYS>>" in prompt:
            system, _, prompt = prompt.removeprefix("<<SYS>>").partition("<</SYS>>")
            messages.append(("system", system.strip()))
        said = answered.strip().removesuffix("<s>").rstrip().removesuffix("</s>")
        messages += [("user", prompt.strip()), ("assistant", said.strip())]
    return messages or None


def _inst_pairs(content: str) -> Iterator[tuple[str, str]]:
    """Yield what stands between ``[INST]`` and ``[/INST]``, and what follows up to the next ``[INST]``."""
    start = content.find("[INST]")
    while start >= 0 and (end := content.find("[/INST]", start)) >= 0:
        following = content.find("[INST]", end)
        answered = content[end + len("[/INST]") : following if following >= 0 else len(content)]
        yield content[start + len("[INST]") : end], answered
        start = following
