"""Whether a mask is right under a template, found out from transformers' renderings alone.

Each conversation is rendered as it is and with a mark in place of each text, in every form that templates take; where the marks stand, the texts stand. A
learned span begins where the text leaves what ``add_generation_prompt`` gives for the messages before the act, and ends behind the first token
that ends generation after the act's last text.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jinja2

from tests.transforms.chat.models import Family, special_names
from tests.transforms.chat.forms import CONTEXT, LEARNED, Form, Piece, forms, pieces_and_messages, render
from tests.transforms.chat.kinds import Kind
from tests.transforms.chat.ours import Learned, Ours, Refused

Span = tuple[int, int]
RIGHT, REJECTED, UNTRUE, NEEDLESS, WRONG = "right", "rejected", "untrue reason", "needless reject", "wrong"
REASONS = {
    "template_without_system": {"system"},
    "template_without_prompts": {"user"},
    "template_without_answers": {"answer"},
    "template_without_text_beside_calls": {"beside"},
    "template_without_calls": {"name", "argument"},
    "template_without_results": {"result"},
    "template_without_tools": {"tool"},
    "template_without_thoughts": {"thought"},
}
_MARK = re.compile(r"Zq(\d+)x")
_RAW_PARTS = ("'type': 'text'", '"type": "text"')  # a list of parts that the template printed as it is


class Verdict(NamedTuple):
    """The cell of a template and a kind of conversation."""

    outcome: str
    detail: str = ""
    learned: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        return self.outcome in (RIGHT, REJECTED)


@dataclass(frozen=True)
class Placed:
    """A rendering, and where the texts stand in it."""

    form: Form
    text: str
    pieces: tuple[Piece, ...]
    spans: tuple[tuple[Span, ...], ...]
    """Of each piece, the places where it stands."""

    def missing(self, kinds: Sequence[str]) -> list[str]:
        """Return the kinds of the texts that stand nowhere."""
        return [piece.kind for piece, spans in zip(self.pieces, self.spans, strict=True) if piece.kind in kinds and not spans]


MANDATORY = tuple(kind for kind in (*CONTEXT, *LEARNED) if kind != "thought")


class Judge:
    """All that one template makes of conversations."""

    def __init__(self, template: str, own: Family, ours: Ours, *, thoughts_counted: bool = True) -> None:
        self._template, self._own, self._ours = template, own, ours
        self._names = special_names(own)
        self._ends = {*own.eos, *own.ends}
        self._thoughts_counted = thoughts_counted

    def verdict(self, kind: Kind, outcome: Learned | Refused) -> Verdict:
        """Return whether this outcome is right for a conversation."""
        placed, errors = [], []
        for form in forms(kind):
            try:
                found = self._place(kind, form)
            except (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
                errors.append(f"{type(error).__name__}: {error}")
            else:
                if not any(raw in found.text for raw in _RAW_PARTS):
                    placed.append(found)
        if isinstance(outcome, Refused):
            return self._refused(outcome, placed, errors)
        return self._kept(kind, outcome, placed)

    def _refused(self, outcome: Refused, placed: list[Placed], errors: list[str]) -> Verdict:
        said = f"{outcome.reason}: {outcome.detail}"
        whole = [one for one in placed if not one.missing(MANDATORY)]
        if any(not one.missing(("thought",)) for one in whole):
            return Verdict(NEEDLESS, f"{said} | {whole[0].form} writes everything")
        lost = {kind for one in placed for kind in one.missing((*MANDATORY, "thought"))}
        if whole:
            true = outcome.reason == "template_without_thoughts"
            return Verdict(REJECTED if true else NEEDLESS, f"{said} | only thoughts are missing")
        true = (outcome.reason == "template_error" and bool(errors)) or bool(REASONS.get(outcome.reason, set()) & lost)
        return Verdict(REJECTED if true else UNTRUE, f"{said} | really: {sorted(lost)} missing, {sorted(set(errors))[:1]}")

    def _kept(self, kind: Kind, outcome: Learned, placed: list[Placed]) -> Verdict:
        spans = outcome.spans()
        learned = tuple(outcome.text[start:end] for start, end in spans)
        mine = [one for one in placed if outcome.text == one.text or outcome.text in {one.text + end for end in self._ends}]
        if not mine:
            return Verdict(WRONG, "no form renders this text", (outcome.text,), tuple(one.text for one in placed[:1]))
        chosen = min(mine, key=lambda one: (len(one.missing(MANDATORY)), len(one.missing(("thought",)))))
        if lost := chosen.missing(MANDATORY):
            return Verdict(WRONG, f"lost: {sorted(set(lost))}", learned)
        thoughts = len(chosen.missing(("thought",)))
        best = min((len(one.missing(("thought",))) for one in placed if not one.missing(MANDATORY)), default=thoughts)
        if thoughts > best or (thoughts and not self._thoughts_counted):
            return Verdict(WRONG, f"{thoughts} thoughts lost, {best} have to be", learned)
        expected, loose = self._expected(kind, chosen)
        want = tuple(outcome.text[start:end] if end <= len(outcome.text) else chosen.text[start:] for start, end in expected)
        if not self._same(spans, expected, loose, len(outcome.text)):
            return Verdict(WRONG, "other edges", learned, want)
        for number in _numbers(kind):
            if not any(number in said for said in learned):
                return Verdict(WRONG, f"the number {number} is not learned", learned)
        return Verdict(RIGHT, f"{thoughts} thoughts left out" if thoughts else "no end token" if loose else "", learned)

    def _same(self, spans: list[Span], expected: list[Span], loose: set[int], length: int) -> bool:
        if len(spans) != len(expected):
            return False
        for at, ((start, end), (first, last)) in enumerate(zip(spans, expected, strict=True)):
            if start != first or (end != last and not (at in loose and end >= last)):
                return False
        return spans[-1][1] == length or spans[-1][1] == expected[-1][1]

    def _expected(self, kind: Kind, placed: Placed) -> tuple[list[Span], set[int]]:
        """Return the spans to be learned, and the numbers of those that no token ends: of them the least end."""
        found = sorted(
            (span, number)
            for number, (piece, spans) in enumerate(zip(placed.pieces, placed.spans, strict=True))
            for span in (spans if piece.kind in CONTEXT else spans[:1])  # a call's name stands before its result again
        )
        runs: list[list[tuple[Span, int]]] = []
        anchor: tuple[Span, int] | None = None
        anchors: list[tuple[Span, int] | None] = []
        nexts: list[int] = []
        inside = False
        for span, number in found:
            if placed.pieces[number].kind in CONTEXT:
                if inside:
                    nexts.append(span[0])
                anchor, inside = (span, number), False
                continue
            if not inside:
                runs.append([])
                anchors.append(anchor)
            runs[-1].append((span, number))
            inside = True
        if inside:
            nexts.append(len(placed.text))
        expected, loose = [], set()
        for at, (run, before, after) in enumerate(zip(runs, anchors, nexts, strict=True)):
            start = self._start(kind, placed, run, before)
            last = max(end for (_, end), _ in run)
            end = self._end_token(placed.text, last, after)
            if end is None and after == len(placed.text):
                token = self._token_once_others_follow(kind, placed)
                end = None if token is None else len(placed.text) + len(token)
            if end is None:
                loose.add(at)
                end = last
            expected.append((start, end))
        return expected, loose

    def _start(self, kind: Kind, placed: Placed, run: list[tuple[Span, int]], before: tuple[Span, int] | None) -> int:
        message = min(placed.pieces[number].message for _, number in run)
        prompt = self._place(kind, placed.form, message)
        ours, theirs = 0, 0
        if before is not None and prompt.spans[before[1]]:
            ours, theirs = before[0][1], prompt.spans[before[1]][-1][1]
        start = ours
        for (token, _, end), (other, _, _) in zip(self._ours.tokens(placed.text[ours:]), self._ours.tokens(prompt.text[theirs:]), strict=False):
            if token != other:
                break
            start = ours + end
        return start

    def _end_token(self, text: str, start: int, stop: int) -> int | None:
        ends = [start + end for token, _, end in self._ours.tokens(text[start:stop]) if self._ours.name(token) in self._ends]
        return ends[0] if ends else None

    def _token_once_others_follow(self, kind: Kind, placed: Placed) -> str | None:
        """Return the token that ends the last act as soon as another turn stands behind it."""
        called = kind.turns[-1][0] == "tool_call"
        calls = len(json.loads(kind.turns[-1][1])) if called else 0
        more = [("tool", f"Result {n}.") for n in range(calls)] if called else [("user", "Go on.")]
        longer = kind._replace(turns=[*kind.turns, *more])
        try:
            other = self._place(longer, placed.form)
        except (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError):
            return None
        last = max(span[0][1] for piece, span in zip(other.pieces[: -len(more)], other.spans, strict=False) if piece.kind in LEARNED and span)
        new = other.spans[-len(more)]
        for token, _, _ in self._ours.tokens(other.text[last : new[0][0] if new else len(other.text)]):
            if self._ours.name(token) in self._ends:
                return self._ours.name(token)
        return None

    @functools.cache  # noqa: B019  # a judge lives as long as its template
    def _placed(self, turns: tuple[tuple[str, str], ...], tools: str | None, form: Form, before: int | None) -> Placed:
        kind = Kind(list(turns), tools)
        pieces, messages, schemas = pieces_and_messages(kind, form, lambda number, value: value)
        _, marked, marked_schemas = pieces_and_messages(kind, form, lambda number, value: f"Zq{number}x")
        prompt = before is not None
        text = render(self._template, messages[:before], schemas, self._names, prompt=prompt)
        marks = render(self._template, marked[:before], marked_schemas, self._names, prompt=prompt)
        return Placed(form, text, tuple(pieces), tuple(locate(text, marks, [piece.value for piece in pieces])))

    def _place(self, kind: Kind, form: Form, before: int | None = None) -> Placed:
        return self._placed(tuple(kind.turns), kind.tools, form, before)


def locate(text: str, marks: str, values: list[str]) -> list[tuple[Span, ...]]:
    """Return where each value stands in a text, given the same text with marks in place of the values.

    Raises:
        ValueError: the two differ in more than the values.
    """
    found: list[list[Span]] = [[] for _ in values]
    pieces = _MARK.split(marks)
    if not text.startswith(pieces[0]):
        raise ValueError("the template writes something else where marks stand")
    position = len(pieces[0])
    for at in range(1, len(pieces), 2):
        number, follows = int(pieces[at]), pieces[at + 1]
        for value in _written(values[number]):
            end = position + len(value)
            last = at + 2 == len(pieces)
            if text.startswith(value, position) and (text[end:] == follows if last else text.startswith(follows, end)):
                found[number].append((position, end))
                position = end + len(follows)
                break
        else:
            raise ValueError("the template writes something else where marks stand")
    return [tuple(spans) for spans in found]


def _written(value: str) -> list[str]:
    """Return the ways in which templates write a value."""
    escaped = [json.dumps(value, ensure_ascii=ascii_only)[1:-1] for ascii_only in (False, True)]
    twice = [json.dumps(text, ensure_ascii=False)[1:-1] for text in escaped]
    quoted = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    stripped = (value.strip("\n"), value.rstrip(), value.lstrip(), value.strip())
    return list(dict.fromkeys([value, *stripped, *escaped, *twice, quoted]))


def _numbers(kind: Kind) -> list[str]:
    def inside(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [number for item in value.values() for number in inside(item)]
        if isinstance(value, list):
            return [number for item in value for number in inside(item)]
        return [json.dumps(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []

    return [
        number
        for role, text in kind.turns
        if role == "tool_call"
        for call in json.loads(text)
        for number in inside(call["arguments"])
    ]

