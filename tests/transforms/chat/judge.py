"""Whether a mask is right under a template, found out from transformers' renderings alone.

Each conversation is rendered as it is and with a mark in place of each text, in every form that templates take; where the marks stand, the texts stand. A
learned span begins where the text leaves what ``add_generation_prompt`` gives for the messages before the act, and ends behind the first token
that ends generation after the act's last text.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jinja2

from tests.transforms.chat.families import TEMPLATES, Family
from tests.transforms.chat.forms import CONTEXT, LEARNED, Form, Piece, forms, pieces_and_messages, render
from tests.transforms.chat.kinds import KINDS, Kind
from tests.transforms.chat.models import end_tokens, special_names
from tests.transforms.chat.ours import Learned, Ours, Refused

Span = tuple[int, int]
RIGHT, REJECTED, UNTRUE, NEEDLESS, WRONG = "right", "rejected", "untrue reason", "needless reject", "wrong"
THOUGHTS_LEFT_OUT, NO_END_OF_TURN = "template.thoughts_left_out", "template.no_end_of_turn"
PROMPT_DIFFERS, TOOLS_LEFT_OUT = "template.prompt_differs", "template.tools_left_out"
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
FAILURES = (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError)
"""What templates raise."""
_MARK = re.compile(r"Zq(\d+)x")
_RAW_PARTS = ("'type': 'text'", '"type": "text"')  # a list of parts that the template printed as it is


class Rewritten(Exception):  # noqa: N818  # it is a finding
    """A template writes something else as soon as marks stand for the texts, so nobody can say where they stand."""

    def __init__(self, text: str) -> None:
        super().__init__("the template writes something else where marks stand")
        self.text = text


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
        return [
            piece.kind
            for piece, spans in zip(self.pieces, self.spans, strict=True)
            if piece.kind in kinds and not spans
        ]


class Spot(NamedTuple):
    """A place of a text."""

    start: int
    end: int
    number: int
    """Of the text."""


class Run(NamedTuple):
    """Texts of one act that stand in a row."""

    pieces: list[Spot]
    before: Spot | None
    """The text before them."""
    stop: int
    """Where the next text of another act begins, or the end."""


class Expected(NamedTuple):
    """A span to be learned."""

    starts: tuple[int, ...]
    """The places where it may begin."""
    end: int
    loose: bool
    """The template writes no token that ends this act: the span ends at ``end`` or behind it."""

    def allows(self, span: Span) -> bool:
        return span[0] in self.starts and (span[1] == self.end or (self.loose and span[1] > self.end))

    def shown(self, text: str, rendered: str) -> str:
        if self.end <= len(text):
            return text[self.starts[0] : self.end]
        return f"{rendered[self.starts[0] :]} and {self.end - len(rendered)} characters of an end token"


def runs(placed: Placed) -> list[Run]:
    """Return the texts to be learned, in order, those of one act together."""
    spots = sorted(
        Spot(start, end, number)
        for number, (piece, spans) in enumerate(zip(placed.pieces, placed.spans, strict=True))
        for start, end in (
            spans if piece.kind in CONTEXT else spans[:1]
        )  # a call's name stands before its result again
    )
    found: list[Run] = []
    before: Spot | None = None
    for spot, after in zip(spots, [*spots[1:], None], strict=True):
        piece = placed.pieces[spot.number]
        if piece.kind in LEARNED:
            last = placed.pieces[before.number] if before else None
            stop = after.start if after else len(placed.text)
            if last and last.kind in LEARNED and last.message == piece.message and found:
                found[-1] = Run([*found[-1].pieces, spot], found[-1].before, stop)
            else:
                found.append(Run([spot], before, stop))
        before = spot
    return found


def _act(placed: Placed, run: Run) -> int:
    """Return the number of the message that a run belongs to, or of the first one behind all that stands before it."""
    act = placed.pieces[run.pieces[0].number].message
    if run.before is None:
        return act
    return max(
        act, placed.pieces[run.before.number].message + 1
    )  # Gemma 4 writes the text beside a call behind its result


MANDATORY = tuple(kind for kind in (*CONTEXT, *LEARNED) if kind != "thought")


class Judge:
    """All that one template makes of conversations."""

    def __init__(self, family: Family, ours: Ours) -> None:
        self._template, self._ours = family.template(), ours
        self._tool_template = (TEMPLATES / family.tool_use).read_text(encoding="utf-8") if family.tool_use else None
        self._names = special_names(family)
        self._ends = end_tokens(family)

    def verdict(self, kind: Kind, outcome: Learned | Refused) -> Verdict:
        """Return whether this outcome is right for a conversation."""
        placed, errors, rewritten = self._tried(kind)
        if isinstance(outcome, Refused):
            return self._refused(kind, outcome, placed, errors, rewritten)
        return self._kept(kind, outcome, placed, rewritten)

    def renderings(self, kind: Kind) -> list[Placed]:
        """Return what the template makes of a conversation, in every form that it takes."""
        return self._tried(kind)[0]

    def _tried(self, kind: Kind) -> tuple[list[Placed], list[str], list[str]]:
        """Return the renderings, the errors, and the renderings in which nobody can say where the texts stand."""
        placed: list[Placed] = []
        errors: list[str] = []
        rewritten: list[str] = []
        for form in forms(kind):
            try:
                found = self._place(kind, form)
            except Rewritten as other:
                rewritten.append(other.text)
            except FAILURES as error:
                errors.append(f"{type(error).__name__}: {error}")
            else:
                if not any(raw in found.text for raw in _RAW_PARTS):
                    placed.append(found)
        return placed, errors, rewritten

    def _refused(
        self, kind: Kind, outcome: Refused, placed: list[Placed], errors: list[str], rewritten: list[str]
    ) -> Verdict:
        said = f"{outcome.reason}: {outcome.detail}"
        whole = [one for one in placed if not one.missing(MANDATORY)]
        if any(not one.missing(("thought",)) for one in whole):
            return Verdict(NEEDLESS, f"{said} | {whole[0].form} writes everything")
        if whole:
            true = outcome.reason == "template_without_thoughts"
            return Verdict(REJECTED if true else NEEDLESS, f"{said} | only thoughts are missing")
        lost = {what for one in placed for what in one.missing((*MANDATORY, "thought"))}
        if not placed:  # refused, or texts changed: any of them may be the cause
            lost = {piece.kind for piece in pieces_and_messages(kind, Form(), lambda number, value: value)[0]}
        true = (
            (outcome.reason == "template_error" and bool(errors))
            or (outcome.reason == "template_rewrites" and bool(rewritten))
            or bool(REASONS.get(outcome.reason, set()) & lost)
        )
        really = f"{sorted(lost)} missing, {len(rewritten)} forms rewritten, {sorted(set(errors))[:1]}"
        return Verdict(REJECTED if true else UNTRUE, f"{said} | really: {really}")

    def _kept(self, kind: Kind, outcome: Learned, placed: list[Placed], rewritten: list[str]) -> Verdict:
        spans = outcome.spans()
        learned = tuple(outcome.text[start:end] for start, end in spans)
        mine = [
            one for one in placed if outcome.text == one.text or outcome.text in {one.text + end for end in self._ends}
        ]
        if not mine and outcome.text in rewritten:
            return Verdict(WRONG, "the template rewrites texts", learned)
        if not mine:
            return Verdict(WRONG, "no form renders this text", (outcome.text,), tuple(one.text for one in placed[:1]))
        chosen = min(mine, key=lambda one: (len(one.missing(MANDATORY)), len(one.missing(("thought",)))))
        lost = set(chosen.missing(MANDATORY))
        if TOOLS_LEFT_OUT in outcome.counts and not any("tool" not in one.missing(("tool",)) for one in placed):
            lost -= {"tool"}  # a list that the template never writes
        if lost:
            return Verdict(WRONG, f"lost: {sorted(lost)}", learned)
        thoughts = len(chosen.missing(("thought",)))
        whole = [one for one in placed if set(one.missing(MANDATORY)) <= {"tool"}]
        takes = [one for one in whole if self._takes_thoughts(kind, one.form)]
        best = min((len(one.missing(("thought",))) for one in takes), default=thoughts)
        if thoughts > best or (thoughts and THOUGHTS_LEFT_OUT not in outcome.counts):
            return Verdict(WRONG, f"{thoughts} thoughts lost, {best} have to be", learned)
        expected = self._expected(kind, chosen)
        if len(spans) != len(expected) or not all(one.allows(span) for one, span in zip(expected, spans, strict=True)):
            want = tuple(one.shown(outcome.text, chosen.text) for one in expected)
            return Verdict(WRONG, "other edges", learned, want)
        if any(one.loose for one in expected) and NO_END_OF_TURN not in outcome.counts:
            return Verdict(WRONG, "no end token is learned, and nothing says so", learned)
        prompts = [self._prompt(kind, chosen, run) for run in runs(chosen)]
        if PROMPT_DIFFERS not in outcome.counts and any(
            outcome.text[:start] != prompt for (start, _), prompt in zip(spans, prompts, strict=True)
        ):
            return Verdict(WRONG, "the text before a span is no prompt, and nothing says so", learned, tuple(prompts))
        for number in _numbers(kind):
            if not any(number in said for said in learned):
                return Verdict(WRONG, f"the number {number} is not learned", learned)
        return Verdict(
            RIGHT,
            f"{thoughts} thoughts left out"
            if thoughts
            else "no end token"
            if any(one.loose for one in expected)
            else "",
            learned,
        )

    def _takes_thoughts(self, kind: Kind, form: Form) -> bool:
        """Say whether a form is one that the template knows of: a field for thoughts if it has one, else their tags in the text."""
        if self._fields:
            return form.thoughts in self._fields
        written_so = not any(role == "reasoning" for role, _ in kind.turns)
        return form.thoughts == "inline" and (written_so or self._keeps_tags)

    @functools.cached_property
    def _keeps_tags(self) -> bool:
        """Whether the template knows of the tags of thoughts, and does not cut them away."""
        tagged = [one for one in self.renderings(KINDS["thoughts"]) if one.form.thoughts == "inline"]
        return "</think>" in self._template and any(not one.missing(("thought",)) for one in tagged)

    @functools.cached_property
    def _fields(self) -> set[str]:
        """The fields whose thoughts the template writes in some conversation."""
        found = set()
        for name in ("thoughts", "thoughts beside a call"):
            for form in forms(KINDS[name]):
                with contextlib.suppress(Rewritten, *FAILURES):
                    placed = self._place(KINDS[name], form)
                    if len(placed.missing(("thought",))) < sum(piece.kind == "thought" for piece in placed.pieces):
                        found.add(form.thoughts)
        return found - {"inline"}

    def _expected(self, kind: Kind, placed: Placed) -> list[Expected]:
        """Return the spans to be learned."""
        expected: list[Expected] = []
        for run in runs(placed):
            starts = self._starts(kind, placed, run)
            last = run.pieces[-1].end
            end = self._end_token(placed.text, last, run.stop)
            if end is None and run.stop == len(placed.text):
                token = self._token_once_others_follow(kind, placed)
                end = None if token is None else len(placed.text) + len(token)
            one = Expected(starts, last if end is None else end, loose=end is None)
            if expected and expected[-1].loose and starts == (expected[-1].end,):  # two that touch are learned as one
                one = one._replace(starts=expected.pop().starts)
            expected.append(one)
        return expected

    def _starts(self, kind: Kind, placed: Placed, run: Run) -> tuple[int, ...]:
        """Return where a run may begin: behind the common prefix, and, where that lacks the usual prompt, behind this, too."""
        first = run.pieces[0]
        before = run.before
        prompt = self._place(kind, placed.form, _act(placed, run))
        ours, theirs = 0, 0
        if before is not None and prompt.spans[before.number]:
            ours, theirs = before.end, prompt.spans[before.number][-1][1]
        start = min(ours + self._common(placed.text[ours:], prompt.text[theirs:]), first.start)
        usual = self._usual_prompt(placed.form)
        if usual and placed.text.startswith(usual, start) and start + len(usual) <= first.start:
            return start, start + len(usual)
        return (start,)

    def _prompt(self, kind: Kind, placed: Placed, run: Run) -> str:
        """Return what inference has before a run."""
        return self._place(kind, placed.form, _act(placed, run)).text

    def _common(self, text: str, prompt: str) -> int:
        """Return how many characters the equal tokens at the beginning of two texts have."""
        length = 0
        for (token, _, end), (other, _, _) in zip(self._ours.tokens(text), self._ours.tokens(prompt), strict=False):
            if token != other:
                break
            length = end
        return length

    def _usual_prompt(self, form: Form) -> str:
        """Return what the generation prompt adds behind a question."""
        asked = Kind([("user", "Well?"), ("assistant", "Well.")])
        with_prompt = self._place(asked, form, 1)
        return with_prompt.text[len(self._place(asked, form, -1).text) :]

    def _end_token(self, text: str, start: int, stop: int) -> int | None:
        ends = [
            start + end for token, _, end in self._ours.tokens(text[start:stop]) if self._ours.name(token) in self._ends
        ]
        return ends[0] if ends else None

    def _token_once_others_follow(self, kind: Kind, placed: Placed) -> str | None:
        """Return the token that ends the last act as soon as another turn stands behind it."""
        called = kind.turns[-1][0] == "tool_call"
        calls = len(json.loads(kind.turns[-1][1])) if called else 0
        more = [("tool", f"Result {n}.") for n in range(calls)] if called else [("user", "Go on.")]
        longer = kind._replace(turns=[*kind.turns, *more])
        try:
            other = self._place(longer, placed.form)
        except (Rewritten, *FAILURES):
            return None
        last = max(
            span[0][1]
            for piece, span in zip(other.pieces[: -len(more)], other.spans, strict=False)
            if piece.kind in LEARNED and span
        )
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
        prompt = before is not None and before >= 0
        if before == -1:  # all but the last message, without the prompt
            before = len(messages) - 1
        template = self._tool_template if tools is not None and self._tool_template else self._template
        text = render(template, messages[:before], schemas, self._names, prompt=prompt)
        marks = render(template, marked[:before], marked_schemas, self._names, prompt=prompt)
        return Placed(form, text, tuple(pieces), tuple(locate(text, marks, [piece.value for piece in pieces])))

    def _place(self, kind: Kind, form: Form, before: int | None = None) -> Placed:
        return self._placed(tuple(kind.turns), kind.tools, form, before)


def locate(text: str, marks: str, values: list[str]) -> list[tuple[Span, ...]]:
    """Return where each value stands in a text, given the same text with marks in place of the values.

    Raises:
        Rewritten: the two differ in more than the values.
    """
    found: list[list[Span]] = [[] for _ in values]
    pieces = _MARK.split(marks)
    if not text.startswith(pieces[0]):
        raise Rewritten(text)
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
            raise Rewritten(text)
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
