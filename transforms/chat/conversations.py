"""Conversations as they are learned: a model's templates, what is done with what they do not write, and what no text may hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from versatune.schemas.chat_template import TOOL_USE
from versatune.transforms.chat.form import Said, conversation
from versatune.transforms.chat.frames import Scored
from versatune.transforms.chat.spans import Rule
from versatune.transforms.chat.template import EndlessTemplate, Template, Tools
from versatune.transforms.chat.trial import (
    CONVERSATIONS,
    Outcome,
    features,
    find_form,
    lists_tools,
    make_rule,
    outcomes,
    rewritten,
)
from versatune.transforms.chat.verdict import (
    CALL,
    CONTROL_TOKEN_IN_TEXT,
    PROMPT_DIFFERS,
    REMEDIES,
    SYSTEM,
    SYSTEM_DROPPED,
    SYSTEM_MOVED,
    TEMPLATE_ERROR,
    THOUGHTS,
    THOUGHTS_DROPPED,
    TOOLS,
    TOOLS_DROPPED,
    CannotTokenize,
    without,
)
from versatune.transforms.shapes import exact_json
from versatune.transforms.shapes.base import Message

_THOUGHT_TAG = re.compile(r"</?[\w|]*think\w*\|?>")
_WITH_CALLS = {"call, result, answer", "call at the end", "text beside a call", "thoughts beside a call"}
_INLINE = re.compile(r"\s*<think>.*?</think>\s*", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class ChatPlan:
    """What a model brings, and what is wanted of it."""

    templates: dict[str, str]
    """Chat templates by name: ``default``, and maybe ``tool_use`` for conversations with tools."""
    special_tokens: dict[str, str]
    """What templates may name: bos_token, eos_token and so on."""
    eos: tuple[str, ...] = ()
    """Texts of the tokens that end generation, by the model's settings."""
    variables: dict[str, Any] = field(default_factory=dict)
    """What templates are given besides, such as ``enable_thinking``."""
    origin: str = ""
    """How messages name the templates: ``of model NAME``, a file's name, or the name of one that versatune brings."""
    system: str = "keep"
    thoughts: str = "as_rendered"
    tools: str = "keep"
    """What is done with system turns, thoughts and lists of tools that a template does not write; see ModelConfig."""

    def template(self, *, tools: bool) -> str:
        """Return the template of conversations with or without tools."""
        return self.templates.get(TOOL_USE if tools else "default") or self.templates["default"]


class Chat:
    """A model's templates at work.

    Args:
        plan: the templates, and how they are used.
        special: texts of the tokenizer's special tokens.
        added: texts of all its added tokens.
    """

    def __init__(self, plan: ChatPlan, *, special: Iterable[str], added: Iterable[str]) -> None:
        self._plan = plan
        self._special = tuple(special)
        added = tuple(token for token in added if _is_sign(token))
        variables = {**plan.special_tokens, **plan.variables}
        templates = {tools: Template(plan.template(tools=tools), variables) for tools in (False, True)}
        form = find_form(templates[False], templates[True])
        pattern = _any_of(added)
        may_miss = frozenset({THOUGHTS} if plan.thoughts == "as_rendered" else ())
        if plan.tools == "as_rendered" or not lists_tools(templates[True], form):
            may_miss |= {TOOLS}
        self.rules: Mapping[bool, Rule] = {
            tools: make_rule(template, form, plan.eos, pattern, plan.special_tokens, may_miss)
            for tools, template in templates.items()
        }
        self.outcomes = {outcome.kind: outcome for outcome in outcomes(self.rules)}
        self._rewritten = rewritten(self.rules, self.outcomes.values())
        self._control = self._control_tokens(added)

    def scored(self, turns: list[Message], tools: str | None = None, unlearned: Sequence[int] = ()) -> Scored:
        """Return the text to tokenize, and the spans of characters that are learned; those of turns that are context only are not.

        Raises:
            CannotTokenize: the row has to be rejected.
        """
        self._refuse_control_tokens(turns, tools)
        if turns[0][0] == "text":  # a document: all of it, and its end
            text = turns[0][1] + self._plan.special_tokens.get("eos_token", "")
            return Scored(text, [(0, len(text))])
        said = conversation(turns, self.rules[False].form)
        return self._scored(said, exact_json.loads(tools) if tools is not None else None, unlearned)

    def tried(self) -> list[Outcome]:
        """Return what becomes of each kind of conversation once what is asked for is done to it."""
        return [self._tried(kind, said, tools) for kind, (said, tools) in CONVERSATIONS.items()]

    def _tried(self, kind: str, said: list[Said], tools: Tools | None) -> Outcome:
        try:
            return Outcome(kind, scored=self._scored(said, tools))
        except CannotTokenize as verdict:
            return Outcome(kind, verdict.reason, verdict.detail)

    def _scored(self, said: list[Said], tools: Tools | None, unlearned: Sequence[int] = ()) -> Scored:
        rule = self.rules[tools is not None or any(message.calls for message in said)]
        said, counts = self._adapted(said, has_tools=tools is not None)
        try:
            scored = rule.scored(said, tools if self._plan.tools != "drop" else None, unlearned)
        except CannotTokenize as verdict:
            raise self._better(verdict, said) from None
        except EndlessTemplate as error:
            raise CannotTokenize(TEMPLATE_ERROR, str(error)) from None
        if self._rewritten:
            there = features(said, tools)
            counts |= {PROMPT_DIFFERS} if any(kind <= there for kind in self._rewritten) else set()
        return scored._replace(counts=scored.counts | counts)

    def _adapted(self, said: list[Said], *, has_tools: bool) -> tuple[list[Said], set[str]]:
        """Return a conversation with what is asked for done to it, and what was done."""
        plan, counts = self._plan, set()
        if has_tools and plan.tools == "drop":
            counts.add(TOOLS_DROPPED)
        if plan.thoughts == "drop":
            bare = [_without_thoughts(message) for message in said]
            counts |= {THOUGHTS_DROPPED} if bare != said else set()
            said = bare
        if plan.system == "keep" or said[0].role != "system" or self.knows_system:
            return said, counts
        system, first, *rest = said
        if plan.system == "into_first_user":
            first = first._replace(content=f"{system.content}\n\n{first.content}")
        counts.add(SYSTEM_MOVED if plan.system == "into_first_user" else SYSTEM_DROPPED)
        answered = [m._replace(answers=(m.answers[0] - 1, m.answers[1])) if m.role == "tool" else m for m in rest]
        return [first, *answered], counts

    @property
    def knows_system(self) -> bool:
        """Whether system turns are written."""
        return all(self.outcomes[kind].written for kind in ("system turn", "system turn, several turns"))

    def _better(self, verdict: CannotTokenize, said: Sequence[Said]) -> CannotTokenize:
        """Return the reason of a row that the template refuses for a kind of text that it never takes."""
        if verdict.reason != TEMPLATE_ERROR:
            return verdict
        refused = {kind for kind, found in self.outcomes.items() if not found.written}
        if "one turn" in refused:
            return verdict
        if said[0].role == "system" and "system turn" in refused:
            return CannotTokenize(without(SYSTEM), f"{verdict.detail}; {REMEDIES[SYSTEM]}")
        if any(message.calls for message in said) and refused >= _WITH_CALLS:
            return CannotTokenize(without(CALL), f"{verdict.detail}; {REMEDIES[CALL]}")
        return verdict

    def _control_tokens(self, added: Sequence[str]) -> re.Pattern[str] | None:
        """Match the tokens that make turns: those the templates write around texts, special or not, and those that begin or end a sequence."""
        texts = [outcome for outcome in self.outcomes.values() if outcome.written]
        frames = "\0".join(outcome.context for outcome in texts if not outcome.has_tools)
        sources = "\0".join(rule.template.source for rule in self.rules.values())
        written = "\0".join([sources, *(outcome.text for outcome in texts)])
        named = {*self._plan.special_tokens.values(), *self._plan.eos}
        makes_turns = {token for token in self._special if token in written or token in named}
        makes_turns |= {token for token in added if token in frames}
        return _any_of(token for token in makes_turns if not _THOUGHT_TAG.fullmatch(token))

    def _refuse_control_tokens(self, turns: Sequence[Message], tools: str | None) -> None:
        for number, (role, content) in enumerate([*turns, ("tools", tools or "")]):
            found = self._control.search(content) if self._control else None
            if found:
                detail = (
                    f"turn {number} ({role}) holds {found.group()} at character {found.start()}; expected plain text"
                )
                raise CannotTokenize(CONTROL_TOKEN_IN_TEXT, detail)


def _without_thoughts(message: Said) -> Said:
    if message.role != "assistant":
        return message
    bare = _INLINE.sub("", message.content, count=1) if _INLINE.match(message.content) else message.content
    return message._replace(thoughts="", content=bare)


def _is_sign(token: str) -> bool:
    """Say whether an added token is more than blanks or a word: Gemma's tokenizers add runs of line ends, which make no turn."""
    return len(token) > 1 and not all(char.isalnum() or char.isspace() for char in token)


def _any_of(tokens: Iterable[str]) -> re.Pattern[str] | None:
    ordered = sorted({token for token in tokens if token}, key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None
