"""The rule by which a conversation is learned, the same for every template.

A turn of the assistant is learned from where the text leaves what the generation prompt would hold at that place, to the first token
that ends generation. All of the row's texts must be in the rendering; what a template leaves out is a reason to reject the row, or, of
thoughts, a count.
"""

from __future__ import annotations

import contextlib
import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from versatune.transforms.chat.endings import Endings, common_prefix, whole_tokens
from versatune.transforms.chat.form import Form, Said
from versatune.transforms.chat.frames import Frame, Scored, Shape, frame, shape
from versatune.transforms.chat.marks import Edges, Marked, Piece, marked, read_marks
from versatune.transforms.chat.prompts import Prompts
from versatune.transforms.chat.template import ChatMessage, Template, Tools, named_roles
from versatune.transforms.chat.verdict import (
    ANSWER,
    BESIDE_CALL,
    CALL,
    KINDS,
    NO_END_OF_TURN,
    PROMPT_DIFFERS,
    REMEDIES,
    TEMPLATE_REWRITES,
    THOUGHTS,
    THOUGHTS_LEFT_OUT,
    TOOLS,
    TOOLS_LEFT_OUT,
    CannotTokenize,
    without,
)
from versatune.transforms.shapes.base import strings_in
from versatune.transforms.shapes.exact_json import Number

_ASSISTANT = frozenset({ANSWER, BESIDE_CALL, THOUGHTS, CALL})
_NOBODY = -1
_MAX_FRAMES = 1000
_LEFT_OUT = {THOUGHTS: THOUGHTS_LEFT_OUT, TOOLS: TOOLS_LEFT_OUT}


class _Turn(NamedTuple):
    """A turn of the assistant in the text."""

    message: int
    start: int
    """Where its own texts begin."""
    end: int
    before: int
    """Where the text before it ends."""
    after: int
    """Where the next text begins."""
    said: int
    """How many messages come before it."""
    follows_tools: bool
    """Whether the text before it is that of a tool that may be called."""


@dataclass(frozen=True)
class Rule:
    """The rule for one template in one form."""

    template: Template
    form: Form
    endings: Endings
    prompts: Prompts
    added: re.Pattern[str] | None
    """Matches every added token of the tokenizer."""
    may_miss: frozenset[str] = frozenset({THOUGHTS})
    """Kinds of texts that the template may leave out; counted."""
    _frames: dict[Shape, Frame | None] = field(default_factory=dict, compare=False)

    def scored(self, said: Sequence[Said], tools: Tools | None, unlearned: Sequence[int] = ()) -> Scored:
        """Return the text to train on, and what of it is learned.

        Args:
            said: the conversation.
            tools: that may be called.
            unlearned: positions of turns that are context only.

        Raises:
            CannotTokenize: the template refuses the conversation, leaves out one of its texts, or hides where they are.
        """
        plain = None if tools or unlearned else shape(said, self.prompts.switches)
        known = self._frame(plain) if plain is not None else None
        if known is not None and not (PROMPT_DIFFERS in known.counts and self._goes_on(said)):
            filled = known.filled(self._render(said, None, own_ids=True), said)
            if filled is not None:
                return Scored(*filled, known.counts)
        return self._looked_at(said, tools, unlearned)[0]

    def _goes_on(self, said: Sequence[Said]) -> bool:
        """Say whether an answer may begin with what the prompt goes on with (``<think>``) where the template itself writes less."""
        return any(message.role == "assistant" and message.content[0] in self.prompts.header for message in said)

    def _frame(self, plain: Shape) -> Frame | None:
        if plain not in self._frames:
            if len(self._frames) >= _MAX_FRAMES:
                self._frames.clear()
            self._frames[plain] = frame(plain, lambda said: self._looked_at(said, None, ()))
        return self._frames[plain]

    def _looked_at(
        self, said: Sequence[Said], tools: Tools | None, unlearned: Sequence[int]
    ) -> tuple[Scored, str, list[tuple[int, int, int]]]:
        """Return what is learned, what the template wrote, and (start, end, message) of each text in it."""
        found, own_ids, rendered, edges = self._found(said, tools)
        counts = self._missing(found.pieces, edges)
        text, spans = rendered, []
        turns = _turns(found.pieces, edges, len(text))
        _check_calls(said, turns, text)
        passed = self.form.messages(said, own_ids=own_ids)
        for turn in turns:
            message = said[turn.message]
            start, same = self._start(text, turn, found, tools, passed, own_ids=own_ids)
            ending = self.endings.of(message)
            end, ended = self.endings.end(text, turn.end, turn.after, ending)
            if not ended and turn.after == len(text) and (completed := ending.completed(text)):
                text, end, ended = completed, len(completed), True
            if turn.said != turn.message:  # a text behind the result of its own call is at inference before it
                same = False
            if set(message.numbers).isdisjoint(unlearned):
                spans.append((start, end))
                counts |= {PROMPT_DIFFERS} if not same else set()
                counts |= {NO_END_OF_TURN} if not ended else set()
        _check_apart(spans, found.pieces, edges)
        places = sorted((start, end, found.pieces[n].message) for n, them in edges.items() for start, end in them)
        return Scored(text, spans, frozenset(counts)), rendered, places

    def _found(self, said: Sequence[Said], tools: Tools | None) -> tuple[Marked, bool, str, dict[int, list[Edges]]]:
        """Render a conversation with marks and without; return the marked one, whether calls kept their ids, the text, and the edges."""
        text, own_ids = self._rendered(said, tools)
        for names in (True, False):
            found = marked(said, tools, names=names)
            with contextlib.suppress(CannotTokenize):
                rendering = read_marks(self._render(found.said, found.tools, own_ids=own_ids))
                if rendering.text == text:
                    edges = rendering.edges(found.pieces)
                    found, edges = (found, edges) if names else _with_calls(found, text, edges)
                    return found, own_ids, text, edges
        raise CannotTokenize(
            TEMPLATE_REWRITES,
            f"it writes something else as soon as a text has a few letters more (roles: {named_roles(message.role for message in said)})",
        )

    def _rendered(self, said: Sequence[Said], tools: Tools | None) -> tuple[str, bool]:
        """Return what the template makes of a conversation; where it refuses the calls' own ids (Mistral's), they are numbered."""
        try:
            return self._render(said, tools, own_ids=True), True
        except CannotTokenize:
            if not any(call.id for message in said for call in message.calls):
                raise
            return self._render(said, tools, own_ids=False), False

    def _render(self, said: Sequence[Said], tools: Tools | None, *, own_ids: bool, prompt: bool = False) -> str:
        return self.template.render(self.form.messages(said, own_ids=own_ids), tools, prompt=prompt)

    def _missing(self, pieces: Sequence[Piece], edges: dict[int, list[Edges]]) -> set[str]:
        """Return what to count of the texts that are not in the rendering."""
        counts = set()
        lost = [piece for number, piece in enumerate(pieces) if number not in edges]
        for piece in sorted(lost, key=lambda piece: list(KINDS).index(piece.kind)):
            if piece.kind not in self.may_miss:
                raise CannotTokenize(
                    without(piece.kind),
                    f"{KINDS[piece.kind]} is not in what the chat template writes; {REMEDIES[piece.kind]}",
                )
            counts.add(_LEFT_OUT[piece.kind])
        return counts

    def _start(
        self,
        text: str,
        turn: _Turn,
        found: Marked,
        tools: Tools | None,
        passed: Sequence[ChatMessage],
        *,
        own_ids: bool,
    ) -> tuple[int, bool]:
        """Return where a turn begins to be learned, and whether all that the generation prompt holds there stands before it."""
        before = _before(found.said, turn)
        if not turn.follows_tools and (before[-1].content or before[-1].calls):
            tail = self.prompts.tail(before, tools, passed[turn.said - 1] if before[-1].role == "tool" else None)
        else:
            tail = self._exact_tail(found, before, own_ids=own_ids)
        if tail is None:
            return turn.start, False
        common = common_prefix(text[turn.before : turn.start], tail)
        shared = whole_tokens(whole_tokens(common, tail, self.added), text[turn.before : turn.start], self.added)
        start = turn.before + len(shared)
        header = self.prompts.header  # never the assistant's words, also where the prompt leaves it out
        if header and text.startswith(header, start) and start + len(header) <= turn.start:
            return start + len(header), False
        return start, shared == tail

    def _exact_tail(self, found: Marked, before: Sequence[Said], *, own_ids: bool) -> str | None:
        """Return the end of the prompt where the last message says nothing: what stands before that may be of any kind."""
        try:
            rendering = read_marks(self._render(before, found.tools, own_ids=own_ids, prompt=True))
        except CannotTokenize:
            return None
        return rendering.text[_last_end(found.pieces, rendering.edges(found.pieces)) :]


def _turns(pieces: Sequence[Piece], edges: dict[int, list[Edges]], length: int) -> list[_Turn]:
    """Return the assistant's turns in the order of the text; a turn between whose texts others stand (Gemma 4's) is several."""
    places = sorted(
        (start, end, pieces[number].message, pieces[number].kind in _ASSISTANT)
        for number, found in edges.items()
        for start, end in (found[:1] if pieces[number].kind in _ASSISTANT else found)
    )
    turns: list[_Turn] = []
    before, spoke = 0, _NOBODY
    for (message, is_assistant), run in groupby(places, key=itemgetter(2, 3)):
        own = list(run)
        if turns and turns[-1].after == length:
            turns[-1] = turns[-1]._replace(after=own[0][0])
        if is_assistant:
            said = message if message > spoke else spoke + 1
            turns.append(_Turn(message, own[0][0], own[-1][1], before, length, said, spoke == _NOBODY))
        before, spoke = own[-1][1], message
    return turns


def _before(said: Sequence[Said], turn: _Turn) -> list[Said]:
    """Return the messages before a turn; of its own, where results stand between its texts, the calls alone."""
    return [
        message._replace(content="") if number == turn.message else message
        for number, message in enumerate(said[: turn.said])
    ]


def _last_end(pieces: Sequence[Piece], edges: dict[int, list[Edges]]) -> int:
    """Return where the last text of a rendering ends, of what the assistant said its first place alone."""
    return max((found[0 if pieces[number].kind in _ASSISTANT else -1][1] for number, found in edges.items()), default=0)


def _with_calls(found: Marked, text: str, edges: dict[int, list[Edges]]) -> tuple[Marked, dict[int, list[Edges]]]:
    """Look for names and texts of calls, and for the names of tools, where a template takes no marks in them."""
    pieces, edges = list(found.pieces), dict(edges)
    place = 0
    for number, message in enumerate(found.said):
        mine = [edge for at, piece in enumerate(pieces) if piece.message == number for edge in edges.get(at, [])]
        place = max([place, *(end for _, end in mine)])
        for word in (
            word for call in message.calls for word in (call.name, *strings_in(call.arguments)) if word.strip()
        ):
            pieces.append(Piece(CALL, number, word, ""))
            if (start := text.find(word, place)) >= 0:
                place = start + len(word)
                edges[len(pieces) - 1] = [(start, place)]
    for tool in found.tools or ():
        pieces.append(Piece(TOOLS, -1, tool["function"]["name"], ""))
        if (start := text.find(tool["function"]["name"])) >= 0:
            edges[len(pieces) - 1] = [(start, start + len(tool["function"]["name"]))]
    return found._replace(pieces=pieces), edges


def _check_calls(said: Sequence[Said], turns: Sequence[_Turn], text: str) -> None:
    """Refuse calls whose arguments are not all in what the template writes of their turn: texts have marks, keys and other values have none."""
    if not any(message.calls for message in said):
        return
    written: dict[int, str] = {}
    for turn in turns:
        written[turn.message] = written.get(turn.message, "") + text[turn.before : turn.after]
    for number, message in enumerate(said):
        for call in message.calls:
            if not all(any(form in written.get(number, "") for form in word) for word in _words(call.arguments)):
                detail = f"a call of message {number} is not written with all its arguments; {REMEDIES[CALL]}"
                raise CannotTokenize(without(CALL), detail)


def _words(value: Any) -> Iterator[tuple[str, ...]]:
    """Yield for each name and each value but texts the ways in which templates write it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, json.dumps(key)[1:-1], json.dumps(key, ensure_ascii=False)[1:-1]
            yield from _words(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _words(inner)
    elif not isinstance(value, str):
        yield (value.text,) if isinstance(value, Number) else (json.dumps(value), str(value))


def _check_apart(spans: Sequence[Edges], pieces: Sequence[Piece], edges: dict[int, list[Edges]]) -> None:
    """Refuse a rendering in which a learned turn holds another's words, or two turns are not in their order."""
    others = sorted(
        place for number, found in edges.items() if pieces[number].kind not in _ASSISTANT for place in found
    )
    starts = [start for start, _ in others]
    for at, (start, end) in enumerate(spans):
        nearest = bisect_left(starts, end) - 1
        if (nearest >= 0 and others[nearest][1] > start) or (at and spans[at - 1][1] > start):
            raise CannotTokenize(TEMPLATE_REWRITES, "it writes the texts of several turns into one")
