"""Marks in the texts of a conversation, by which each is found again in what a template makes of it.

A mark stands inside its text, behind the first of its plain characters: what templates look at (how a text begins and ends, the tags and the
words behind a slash in it) is as it was. Taken out of what is rendered, the marks leave the text that is trained on, and their places say
where each text of the conversation stands in it.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from versatune.transforms.chat.form import Call, Said
from versatune.transforms.chat.template import Tools
from versatune.transforms.chat.verdict import ANSWER, BESIDE_CALL, CALL, PROMPT, RESULT, SYSTEM, THOUGHTS, TOOLS

_MARK = "vQz{:06d}zQv"  # letters and digits alone: no printer of JSON or of Python's own escapes them
_MARKS = re.compile(r"vQz(\d{6})zQv")
_PLAIN = re.compile(r"(?:<[^<>]{0,64}>|/\w+|\s)*([^\s<])")
_TAGS = re.compile(r"</?think>")
_KINDS = {"system": SYSTEM, "user": PROMPT, "assistant": ANSWER, "tool": RESULT}
_NO_MESSAGE = -1  # tools are nobody's

Edges = tuple[int, int]


class Piece(NamedTuple):
    """A text of the conversation."""

    kind: str
    message: int
    """Position of its message; -1 of a tool."""
    head: str
    """What stands before its mark."""
    tail: str
    blanks: str = ""
    """What stands behind it, where the text ends in blanks; templates may leave them out."""


class Marked(NamedTuple):
    """A conversation with marks, and what they stand for."""

    said: list[Said]
    tools: Tools | None
    pieces: list[Piece]


def marked(said: Sequence[Said], tools: Tools | None, *, names: bool) -> Marked:
    """Put a mark into every text of a conversation.

    Args:
        said: the messages.
        tools: that may be called.
        names: also into what calls and tools are named and hold.
    """
    pieces: list[Piece] = []

    def mark(text: str, kind: str, message: int) -> str:
        parts, done = [], 0
        for start, end in _runs(text):
            at = _place(text, start, end)
            parts += [text[done:at], _MARK.format(len(pieces))]
            blanks = text[end:] if not text[end:].strip() else ""
            pieces.append(Piece(kind, message, text[start:at], text[at:end], blanks))
            done = at
        return "".join([*parts, text[done:]])

    messages = []
    for number, message in enumerate(said):
        kind = BESIDE_CALL if message.calls else _KINDS[message.role]
        messages.append(
            message._replace(
                thoughts=mark(message.thoughts, THOUGHTS, number),
                content=mark(message.content, kind, number),
                calls=tuple(_marked_call(call, number, mark) for call in message.calls) if names else message.calls,
                caller=_caller(message, said),
            )
        )
        if kind in (ANSWER, BESIDE_CALL) and "</think>" in message.content:
            _tell_thoughts(pieces, number, message.content)
    named = [_marked_tool(tool, mark) for tool in tools] if names and tools else tools
    return Marked(messages, named, pieces)


def _runs(text: str) -> list[Edges]:
    """Return where the texts in a text begin and end: thoughts in their tags and what follows them are two, each without blank edges."""
    cuts = [(found.start(), found.end()) for found in _TAGS.finditer(text)] if "think>" in text else []
    edges = zip([0, *(end for _, end in cuts)], [*(start for start, _ in cuts), len(text)], strict=True)
    runs = []
    for start, end in edges:
        inner = text[start:end]
        stripped = inner.strip()
        if stripped:
            begin = start + len(inner) - len(inner.lstrip())
            runs.append((begin, begin + len(stripped)))
    return runs


def _place(text: str, start: int, end: int) -> int:
    found = _PLAIN.match(text, start, end)
    return found.end() if found else end


def _tell_thoughts(pieces: list[Piece], number: int, content: str) -> None:
    """Call those texts of an answer thoughts that stand before its last ``</think>``."""
    after = content.rpartition("</think>")[2].strip()
    mine = [at for at, piece in enumerate(pieces) if piece.message == number and piece.kind in (ANSWER, BESIDE_CALL)]
    for at in mine[: len(mine) - (1 if after else 0)]:
        pieces[at] = pieces[at]._replace(kind=THOUGHTS)


def _caller(message: Said, said: Sequence[Said]) -> str:
    """Return the name of the tool whose result a message is, without marks: it is no part of the call, also where it is written (Kimi's)."""
    caller, place = message.answers
    return said[caller].calls[place].name if message.role == "tool" else ""


def _marked_call(call: Call, number: int, mark: Any) -> Call:
    return call._replace(name=mark(call.name, CALL, number), arguments=_marked_value(call.arguments, number, mark))


def _marked_value(value: Any, number: int, mark: Any) -> Any:
    if isinstance(value, str):
        return mark(value, CALL, number)
    if isinstance(value, dict):
        return {key: _marked_value(inner, number, mark) for key, inner in value.items()}
    return [_marked_value(inner, number, mark) for inner in value] if isinstance(value, list) else value


def _marked_tool(tool: dict[str, Any], mark: Any) -> dict[str, Any]:
    function = tool["function"]
    signed = {
        key: mark(function[key], TOOLS, _NO_MESSAGE)
        for key in ("name", "description")
        if isinstance(function.get(key), str)
    }
    return {**tool, "function": {**function, **signed}}


class Rendering(NamedTuple):
    """What a template made of a marked conversation."""

    text: str
    """Without marks."""
    marks: list[tuple[int, int]]
    """(number of the piece, place in ``text``), in the order of places."""

    def edges(self, pieces: Sequence[Piece]) -> dict[int, list[Edges]]:
        """Return for each piece that is there whole where it begins and ends, as often as it is there."""
        found: dict[int, list[Edges]] = {}
        for number, place in self.marks:
            if edges := _edges(self.text, pieces[number], place):
                found.setdefault(number, []).append(edges)
        return found


def read_marks(rendered: str) -> Rendering:
    """Take the marks out of what was rendered."""
    parts = _MARKS.split(rendered)
    marks, place = [], 0
    for text, number in zip(parts[::2], parts[1::2], strict=False):
        place += len(text)
        marks.append((int(number), place))
    return Rendering("".join(parts[::2]), marks)


def _edges(text: str, piece: Piece, place: int) -> Edges | None:
    """Return where a piece stands around its mark: as it is, or as a language writes it between quotes."""
    if text.startswith(piece.tail, place) and text.startswith(piece.head, place - len(piece.head)):
        end = place + len(piece.tail)
        return place - len(piece.head), end + (len(piece.blanks) if text.startswith(piece.blanks, end) else 0)
    for quoted in _QUOTED:
        head, tail, blanks = quoted(piece.head), quoted(piece.tail), quoted(piece.blanks)
        if text.startswith(tail, place) and text.startswith(head, place - len(head)):
            end = place + len(tail)
            return place - len(head), end + (len(blanks) if text.startswith(blanks, end) else 0)
    return None


def _in_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _in_ascii(text: str) -> str:
    return json.dumps(text)[1:-1]


def _in_single_quotes(text: str) -> str:
    return _in_json(text).replace('\\"', '"').replace("'", "\\'")


def _in_python(text: str) -> str:
    return repr(text)[1:-1]


def _in_json_text(text: str) -> str:
    return _in_json(_in_json(text))


_QUOTED = (_in_json, _in_ascii, _in_single_quotes, _in_python, html.escape, _in_json_text)
