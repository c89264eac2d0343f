"""What a model's chat templates can and cannot express, for the manifest and for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from versatune.schemas.errors import ConfigError
from versatune.schemas.template_record import TemplateForm, TemplateRecord, TriedKind, TurnEnd
from versatune.transforms.chat.conversations import Chat, ChatPlan
from versatune.transforms.chat.endings import Ending
from versatune.transforms.chat.form import INLINE
from versatune.transforms.chat.template import EndlessTemplate
from versatune.transforms.chat.trial import CONVERSATIONS, Outcome
from versatune.transforms.chat.variables import variables_not_given
from versatune.transforms.chat.verdict import NO_END_OF_TURN, TEMPLATE_COUNTS, TEMPLATE_ERROR

_CALLS = (
    "call, result, answer",
    "call at the end",
    "several rounds of calls",
    "parallel calls",
    "calls, several turns",
    "text beside a call",
)
_GROUPS = (
    ("every kind of conversation", tuple(CONVERSATIONS)),
    ("plain conversations", ("one turn", "several turns")),
    ("system turns", ("system turn", "system turn, several turns")),
    ("thoughts", ("thoughts", "thoughts in several turns")),
    ("lists of tools", ("tools offered",)),
    ("tool calls", (*_CALLS, "thoughts beside a call")),
    ("tool calls", _CALLS),
)
_PLAIN = ("one turn", "several turns", "system turn", "system turn, several turns")


def make_chat(plan: ChatPlan, *, special: Sequence[str], added: Sequence[str]) -> Chat:
    """Return a model's templates at work, once they are tried.

    Raises:
        ConfigError: one is no Jinja, or does not come to an end.
    """
    for source in plan.templates.values():
        variables_not_given(source, (), plan.origin)
    try:
        return Chat(plan, special=special, added=added)
    except EndlessTemplate as error:
        raise ConfigError(f"chat template {plan.origin}: {error}; give another as model.chat_template") from None


def template_record(chat: Chat, plan: ChatPlan, tried: Sequence[Outcome], begin_token: str | None) -> TemplateRecord:
    """Return what the manifest says of the templates.

    Args:
        chat: the templates at work.
        plan: what they were made of.
        tried: what became of each kind of conversation.
        begin_token: the token that the tokenizer itself puts first, if it does.
    """
    given = {**plan.special_tokens, **plan.variables}
    missing = {name for text in plan.templates.values() for name in variables_not_given(text, given, plan.origin)}
    begins = [outcome.text for outcome in tried if outcome.written]
    left_out = begin_token if begins and not any(text.startswith(begin_token or "") for text in begins) else None
    return TemplateRecord(
        origin=plan.origin,
        names=list(plan.templates),
        form=TemplateForm(**asdict(chat.rules[False].form)),
        answer=_turn_end(chat.rules[False].endings.answer),
        call=_turn_end(chat.rules[True].endings.call),
        begin_token_left_out=left_out,
        variables=plan.variables,
        variables_not_given=sorted(missing),
        system=plan.system,
        thoughts=plan.thoughts,
        tools=plan.tools,
        kinds=[_kind(outcome) for outcome in tried],
    )


def refuse_unusable(record: TemplateRecord) -> None:
    """Refuse a template by which no conversation can be learned that has neither tools nor thoughts.

    Raises:
        ConfigError: with the template's own words, and what it wants that nobody gives.
    """
    plain = [kind for kind in record.kinds if kind.kind in _PLAIN]
    if any(kind.learned for kind in plain):
        return
    wants = ", ".join(record.variables_not_given)
    hint = f" It reads what nobody gives: {wants}; give what it needs as model.template_variables." if wants else ""
    raise ConfigError(
        f"chat template {record.origin}: not even one question and one answer can be learned ({plain[0].kind}:"
        f" {plain[0].detail}).{hint} Give another template as model.chat_template, or set build.tokenize to false"
    )


def template_lines(record: TemplateRecord, proposed: Sequence[str] = ()) -> list[str]:
    """Return what people are told of a template: what is learned as it is, with what ends an answer, and what is not, if there is something.

    Args:
        record: of the template.
        proposed: names of those that come with versatune and write more.
    """
    whole = [kind.kind for kind in record.kinds if not _troubles(kind)]
    end = f"{record.answer.token} ends an answer" if record.answer.token else "NO token ends an answer"
    if record.answer.appended:
        end += " (written between turns only, and put behind the last one too)"
    lines = [f"chat template {record.origin}: {_named(whole) or 'no conversations'} can be learned as they are; {end}"]
    fates: dict[str, list[str]] = {}
    for kind in record.kinds:
        for trouble in _troubles(kind):
            fates.setdefault(trouble, []).append(kind.kind)
    if fates:
        parts = [f"{_named(kinds)} ({trouble})" for trouble, kinds in fates.items()]
        if proposed:
            parts.append(f"{' or '.join(proposed)} (as model.chat_template) would write more of them")
        lines.append("not as they are: " + "; ".join(parts))
    if record.begin_token_left_out:
        lines.append(
            f"chat rows begin without {record.begin_token_left_out}, which the tokenizer would put first: through the template inference has"
            " none either"
        )
    return lines


def fate(kind: TriedKind) -> str:
    """Say what becomes of a kind of conversation; empty where it is learned as it is."""
    return kind.detail or "; ".join(TEMPLATE_COUNTS[name] for name in kind.counts)


def form_lines(record: TemplateRecord) -> list[str]:
    """Say how messages have to be passed, and what else the template reads; nothing where it is as everywhere."""
    form = record.form
    said = [
        "contents are lists of parts" if form.parts else "",
        "arguments of calls are JSON text" if form.text_arguments else "",
        "a message of calls alone has the content null" if form.null_content else "",
        "calls are named by their ids, functions.<name>:<number>" if form.ids_name else "",
        "thoughts stand in the content, in <think> tags" if form.thoughts == INLINE else "",
        f"thoughts are passed as {form.thoughts}" if form.thoughts not in (None, INLINE) else "",
    ]
    lines = ["; ".join(filter(None, said))] if any(said) else []
    if record.variables_not_given:
        lines.append(
            f"also read, and given by nobody (model.template_variables): {', '.join(record.variables_not_given)}"
        )
    return lines


def _troubles(kind: TriedKind) -> list[str]:
    """Return what is not as it should be; that nothing ends an answer is said once, not of each kind."""
    if not kind.learned:
        why = kind.detail.partition(" (roles")[0] if kind.reason == TEMPLATE_ERROR else kind.reason
        return [f"such rows are rejected: {why}"]
    return [TEMPLATE_COUNTS[name] for name in kind.counts if name != NO_END_OF_TURN]


def _kind(outcome: Outcome) -> TriedKind:
    counts = sorted(outcome.scored.counts) if outcome.scored else []
    return TriedKind(
        kind=outcome.kind, learned=outcome.written, reason=outcome.reason, detail=outcome.detail, counts=counts
    )


def _turn_end(ending: Ending) -> TurnEnd:
    return TurnEnd(token=ending.token, appended=bool(ending.missing))


def _named(kinds: Sequence[str]) -> str:
    """Name kinds of conversations, those of a group together."""
    left, names = list(kinds), []
    for name, group in _GROUPS:
        if set(group) <= set(left):
            left = [kind for kind in left if kind not in group]
            names.append(name)
    return ", ".join([*names, *(f"'{kind}'" for kind in left)])
