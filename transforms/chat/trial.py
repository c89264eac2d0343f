"""What a chat template can express, found by trying it on a few conversations: once for a build, before any row is read."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

from versatune.transforms.chat.endings import Endings, endings
from versatune.transforms.chat.form import INLINE, THOUGHT_FIELDS, Call, Form, Said
from versatune.transforms.chat.frames import Scored
from versatune.transforms.chat.marks import Edges, Piece, marked, read_marks
from versatune.transforms.chat.prompts import Prompts
from versatune.transforms.chat.spans import Rule
from versatune.transforms.chat.template import Template, Tools
from versatune.transforms.chat.verdict import CALL, CannotTokenize
from versatune.transforms.chat.verdict import TOOLS as TOOL_LIST

TOOLS: Tools = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Tells the weather of a town.",
            "parameters": {
                "type": "object",
                "properties": {"town": {"type": "string", "description": "Its name."}},
                "required": ["town"],
            },
        },
    }
]
_USER = Said("user", "Where does the green parrot sleep?", (0,))
_ANSWER = Said("assistant", "Behind the old church.", (1,))
_AGAIN = Said("user", "How long does it sleep there?", (2,))
_SECOND = Said("assistant", "Until seven in the morning.", (3,))
_SYSTEM = Said("system", "Speak like a pirate.", (9,))
_THOUGHTS = "Parrots like quiet places."
_THINKING = _ANSWER._replace(thoughts=_THOUGHTS)
_CALL = Said("assistant", "", (1,), calls=(Call("get_weather", {"town": "Bergen"}),))
_TWO_CALLS = _CALL._replace(calls=(*_CALL.calls, Call("get_weather", {"town": "Narvik"})))
_RESULT = Said("tool", "rain and wind", (2,), answers=(1, 0))
_OTHER_RESULT = Said("tool", "snow", (3,), answers=(1, 1))
_DONE = Said("assistant", "Take an umbrella.", (4,))
_BESIDE = "Let me look that up."

CONVERSATIONS: dict[str, tuple[list[Said], Tools | None]] = {
    "one turn": ([_USER, _ANSWER], None),
    "several turns": ([_USER, _ANSWER, _AGAIN, _SECOND], None),
    "system turn": ([_SYSTEM, _USER, _ANSWER], None),
    "system turn, several turns": ([_SYSTEM, _USER, _ANSWER, _AGAIN, _SECOND], None),
    "thoughts": ([_USER, _THINKING], None),
    "thoughts in several turns": ([_USER, _THINKING, _AGAIN, _SECOND._replace(thoughts="Early birds.")], None),
    "tools offered": ([_USER, _ANSWER], TOOLS),
    "call, result, answer": ([_USER, _CALL, _RESULT, _DONE], TOOLS),
    "call at the end": ([_USER, _CALL], TOOLS),
    "several rounds of calls": ([_USER, _CALL, _RESULT, _CALL, _RESULT._replace(answers=(3, 0)), _DONE], TOOLS),
    "parallel calls": ([_USER, _TWO_CALLS, _RESULT, _OTHER_RESULT, _DONE], TOOLS),
    "calls, several turns": (
        [_USER, _CALL, _RESULT, _DONE, _AGAIN, _CALL, _RESULT._replace(answers=(5, 0)), _SECOND],
        TOOLS,
    ),
    "text beside a call": ([_USER, _CALL._replace(content=_BESIDE), _RESULT, _DONE], TOOLS),
    "thoughts beside a call": ([_USER, _CALL._replace(thoughts=_THOUGHTS), _RESULT, _DONE], TOOLS),
}
"""Kinds of conversations on which a template is tried."""

_MIXED: dict[str, tuple[list[Said], Tools | None]] = {
    "thoughts beside a call, several turns": (
        [_USER, _CALL._replace(thoughts=_THOUGHTS), _RESULT, _DONE, _AGAIN, _SECOND],
        TOOLS,
    )
}
"""Others, of which only is asked whether their text is what inference has."""
_ALL = CONVERSATIONS | _MIXED


def features(said: Sequence[Said], tools: Tools | None) -> frozenset[str]:
    """Return what there is in a conversation that templates may write otherwise once it goes on."""
    found = {
        "several questions": sum(message.role == "user" for message in said) > 1,
        "system": said[0].role == "system",
        "thoughts": any(message.thoughts for message in said),
        "calls": any(message.calls for message in said),
        "tools": bool(tools),
        "several rounds": sum(bool(message.calls) for message in said) > 1,
    }
    return frozenset(name for name, there in found.items() if there)


def find_form(template: Template, tool_template: Template) -> Form:
    """Return the form in which most is written of conversations; the ordinary one where forms do not differ.

    Args:
        template: of plain conversations.
        tool_template: of those with tools; maybe the same.
    """
    form = _best(template, (Form(parts=parts) for parts in (False, True)), "one turn")
    calls = (
        replace(form, text_arguments=text, null_content=null, ids_name=named)
        for named, text, null in product((False, True), repeat=3)
    )
    form = _best(tool_template, calls, "call, result, answer", "parallel calls")
    kinds = [kind for kind in CONVERSATIONS if kind.startswith("thoughts")]
    fields = [replace(form, thoughts=field) for field in (None, *THOUGHT_FIELDS)]
    best = _best(template, fields, *kinds)
    if best.thoughts is None and "</think>" in template.source:
        return _best(template, (form, replace(form, thoughts=INLINE)), "thoughts")
    return best


def _best(template: Template, forms: Iterable[Form], *kinds: str) -> Form:
    """Return the first of the forms in which most texts are in the rendering."""
    return max(forms, key=lambda form: sum(_written(template, form, kind) for kind in kinds))


def _written(template: Template, form: Form, kind: str) -> int:
    """Return how many texts of a conversation a template writes."""
    said, tools = CONVERSATIONS[kind]
    try:
        plain = template.render(form.messages(said), tools)
        traced = _traced(template, form, kind)
    except CannotTokenize:
        return -1
    return len(traced.edges) if traced.text == plain else 0


class _Traced(NamedTuple):
    """A conversation that a template has written, and where its texts stand."""

    pieces: list[Piece]
    text: str
    edges: dict[int, list[Edges]]


def _traced(template: Template, form: Form, kind: str) -> _Traced:
    """Return where a template writes the texts of a conversation; what it raises is raised."""
    found = marked(*CONVERSATIONS[kind], names=True)
    rendering = read_marks(template.render(form.messages(found.said), found.tools))
    return _Traced(found.pieces, rendering.text, rendering.edges(found.pieces))


def lists_tools(template: Template, form: Form) -> bool:
    """Say whether a template that writes calls also writes which tools there are; DeepSeek's leave that to the system turn."""
    try:
        traced = _traced(template, form, "call, result, answer")
    except CannotTokenize:
        return True
    written = {traced.pieces[number].kind for number in traced.edges}
    return CALL not in written or TOOL_LIST in written


def find_endings(
    template: Template, form: Form, eos: Sequence[str], control: re.Pattern[str] | None, named: Mapping[str, object]
) -> Endings:
    """Find out which tokens end the turns of a template.

    Args:
        template: one of the model's.
        form: in which it takes messages.
        eos: texts of the tokens that end generation.
        control: matches every added token.
        named: what templates may name; the begin token opens no turn.
    """
    answer = [_behind(template, form, kind, _ANSWER) for kind in ("one turn", "several turns")]
    call = [_behind(template, form, kind, _CALL) for kind in ("call at the end", "call, result, answer")]
    return endings(eos, control, _openers(template, form, control, named), answer=answer, call=call)


def _behind(template: Template, form: Form, kind: str, act: Said) -> str | None:
    """Return what a template writes behind an act, up to the next text; None where it refuses the conversation."""
    try:
        pieces, text, edges = _traced(template, form, kind)
    except CannotTokenize:
        return None
    message = CONVERSATIONS[kind][0].index(act)
    mine = [edges[number][0][1] for number, piece in enumerate(pieces) if piece.message == message and number in edges]
    if not mine:
        return None
    starts = [start for places in edges.values() for start, _ in places if start >= max(mine)]
    return text[max(mine) : min(starts, default=len(text))]


def _openers(
    template: Template, form: Form, control: re.Pattern[str] | None, named: Mapping[str, object]
) -> frozenset[str]:
    """Return the tokens that open a turn: the first one behind the begin token, and that which the generation prompt opens with."""
    if control is None:
        return frozenset()
    text = ""
    for tools in (None, TOOLS):  # a template of conversations with tools may want some
        with contextlib.suppress(CannotTokenize):
            text = text or template.render(form.messages([_USER]), tools)
    before = [token for token in control.findall(text.partition(_USER.content)[0]) if token != named.get("bos_token")]
    return frozenset(before[:1])


@dataclass(frozen=True)
class Outcome:
    """What became of one kind of conversation."""

    kind: str
    reason: str = ""
    """Why such a conversation is rejected; empty where it is not."""
    detail: str = ""
    scored: Scored | None = None

    @property
    def written(self) -> bool:
        """Whether such a conversation can be learned."""
        return self.scored is not None

    @property
    def has_tools(self) -> bool:
        """Whether it has tools."""
        return _ALL[self.kind][1] is not None

    @property
    def text(self) -> str:
        """What the template makes of it."""
        return self.scored.text if self.scored else ""

    @property
    def context(self) -> str:
        """The text that is not learned; a zero byte stands for each learned turn."""
        parts, done = [], 0
        for start, end in self.scored.spans if self.scored else []:
            parts.append(self.text[done:start])
            done = end
        return "\0".join([*parts, self.text[done:]])


def outcomes(rule_of: Mapping[bool, Rule]) -> list[Outcome]:
    """Try a model's templates on every kind of conversation.

    Args:
        rule_of: of conversations without tools and with them.
    """
    return [_outcome(rule_of[bool(tools)], kind, said, tools) for kind, (said, tools) in CONVERSATIONS.items()]


def _outcome(rule: Rule, kind: str, said: list[Said], tools: Tools | None) -> Outcome:
    try:
        scored = rule.scored(said, tools)
    except CannotTokenize as verdict:
        return Outcome(kind, verdict.reason, verdict.detail)
    return Outcome(kind, scored=scored)


def rewritten(rule_of: Mapping[bool, Rule], tried: Iterable[Outcome]) -> list[frozenset[str]]:
    """Return the features of conversations in which the text before a learned turn is not what inference would have there."""
    mixed = [_outcome(rule_of[bool(tools)], kind, said, tools) for kind, (said, tools) in _MIXED.items()]
    other = [
        outcome
        for outcome in (*tried, *mixed)
        if outcome.scored and not _as_at_inference(rule_of[outcome.has_tools], outcome)
    ]
    return [features(*_ALL[outcome.kind]) for outcome in other]


def _as_at_inference(rule: Rule, outcome: Outcome) -> bool:
    said, tools = _ALL[outcome.kind]
    acts = [number for number, message in enumerate(said) if message.role == "assistant"]
    for number, (start, _) in zip(acts, outcome.scored.spans if outcome.scored else [], strict=False):
        try:
            prompt = rule.template.render(rule.form.messages(said[:number]), tools, prompt=True)
        except CannotTokenize:
            return False
        if not prompt.startswith(outcome.text[:start]):  # what the prompt goes on with is told of each row
            return False
    return True


def make_rule(
    template: Template,
    form: Form,
    eos: Sequence[str],
    added: re.Pattern[str] | None,
    named: Mapping[str, object],
    may_miss: frozenset[str],
) -> Rule:
    """Return the rule of one template."""
    prompts = Prompts(template, form)
    return Rule(template, form, find_endings(template, form, eos, added, named), prompts, added, may_miss)
