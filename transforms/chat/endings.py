"""Which tokens end a turn, found once for a template.

A token ends a turn if it ends generation (the eos tokens of the model's generation settings and of its tokenizer), or if it is the template's
own: the last control token that it writes behind an answer whether or not a turn follows, else the first that it writes between an answer and
the next turn. In templates that write none behind an answer (GLM's) that is the token which opens the next turn; where the template writes
it between turns only, the last turn gets it too: the model has to learn to stop there as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from versatune.transforms.chat.form import Said


@dataclass(frozen=True)
class Ending:
    """How one kind of act ends: an answer, or a call."""

    token: str | None
    """What ends it between turns; None where no token does."""
    missing: str = ""
    """What the template does not write behind the last turn, up to the token's end."""
    surplus: int = 0
    """How many blanks it writes there in its place."""
    closing: str = ""
    """The template's words behind an act where no token ends it."""
    closes: bool = False
    """Whether the token is one that the template writes behind every act of the kind, last or not."""
    sure: bool = True
    """Whether the token ends generation, as far as is known: DeepSeek R1's templates close a call and do not end its turn."""

    def completed(self, text: str) -> str | None:
        """Return a text with the end of its last turn, where the template writes that between turns only; else None."""
        kept = len(text) - self.surplus
        return text[:kept] + self.missing if self.missing and not text[kept:].strip() else None


@dataclass(frozen=True)
class Endings:
    """The tokens that end turns."""

    answer: Ending = Ending(None)
    call: Ending = Ending(None)
    tokens: re.Pattern[str] | None = field(default=None, compare=False)
    """Matches the tokens that end an answer, or generation, and, in a group, those that open the next turn."""

    def of(self, message: Said) -> Ending:
        """Return how a message of the assistant ends."""
        return self.call if message.calls else self.answer

    def end(self, text: str, after: int, before: int, ending: Ending) -> tuple[int, bool]:
        """Return where a turn ends whose last text ends at ``after``, and whether a token ends it.

        Args:
            text: what was rendered.
            after: where the turn's own texts end.
            before: where the next turn's texts begin, or the length of the text.
            ending: of the turn.
        """
        found = self.tokens.search(text, after, before) if self.tokens else None
        if found and not found.lastindex:
            return found.end(), True
        before = found.start() if found else before
        if ending.token and (place := text.find(ending.token, after, before)) >= 0:
            return place + len(ending.token), ending.sure
        closing = common_prefix(text[after:before], ending.closing)
        return after + len(closing), False


def endings(
    eos: Iterable[str],
    control: re.Pattern[str] | None,
    openers: frozenset[str],
    *,
    answer: Sequence[str | None],
    call: Sequence[str | None],
) -> Endings:
    """Find out how turns end.

    Args:
        eos: texts of the tokens that end generation.
        control: matches every added token.
        openers: tokens that open turns.
        answer: what follows an answer at the end of a conversation, and between it and the next turn's text; None where the template
            refuses such a conversation.
        call: the same of a call.
    """
    known = tuple(token for token in eos if token)
    first = _ending(known, control, openers, *answer)
    second = _ending((*known, *([first.token] if first.token else [])), control, openers, *call)
    if first.token in known and second.token not in known and second.closes:
        second = replace(second, sure=False)
    tokens = {*known, *([first.token] if first.token else [])}
    return Endings(first, second, _pattern(tokens, openers - tokens - {second.token}) if tokens else None)


def _pattern(tokens: Iterable[str], openers: Iterable[str]) -> re.Pattern[str]:
    """Match tokens, and openers in a group; the longer first."""
    forms = {**{token: re.escape(token) for token in tokens}, **{token: f"({re.escape(token)})" for token in openers}}
    return re.compile("|".join(forms[token] for token in sorted(forms, key=len, reverse=True)))


def _ending(
    eos: Sequence[str],
    control: re.Pattern[str] | None,
    openers: frozenset[str],
    last: str | None,
    between: str | None,
) -> Ending:
    if last is None and between is None:
        return Ending(None)
    if last is None or between is None:
        both = str(last if between is None else between)
        last, between = both, both
    whole = whole_tokens(common_prefix(last, between), between, control)
    shared, last = (_up_to_next_turn(text, openers.difference(eos)) for text in (whole, last))
    token = _first(eos, _up_to_next_turn(between, openers.difference(eos))) or _own(shared, control, openers)
    if token is None and shared == whole:
        token = _first_match(control, between[len(shared) :])
    if token is None:
        at_end = _first(eos, last) or _own(last, control, openers)
        return Ending(at_end, closing="" if at_end else shared.rstrip())
    surplus = last[len(shared) :]
    if token in last or surplus.strip():
        return Ending(token, closes=token in shared)
    return Ending(token, between[len(shared) : between.index(token, len(shared)) + len(token)], len(surplus))


def _up_to_next_turn(text: str, openers: Iterable[str]) -> str:
    """Return a text up to the first token that opens a turn: what stands behind it ends another's."""
    return text[: min((text.index(token) for token in openers if token in text), default=len(text))]


def common_prefix(one: str, other: str) -> str:
    """Return what two texts begin with."""
    length = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:length]


def whole_tokens(prefix: str, text: str, control: re.Pattern[str] | None) -> str:
    """Return a prefix of a text, cut back where it ends within an added token."""
    if control is not None:
        for found in control.finditer(text, max(0, len(prefix) - 64)):
            if found.start() < len(prefix) < found.end():
                return prefix[: found.start()]
    return prefix


def _first(tokens: Sequence[str], text: str) -> str | None:
    """Return the token that stands first in a text."""
    places = [(text.index(token), -len(token), token) for token in tokens if token in text]
    return min(places)[2] if places else None


def _own(text: str, control: re.Pattern[str] | None, openers: frozenset[str]) -> str | None:
    """Return the last control token that ends a text, those that open the next turn left out."""
    found = [token for token in control.findall(text) if token not in openers] if control else []
    return found[-1] if found else None


def _first_match(control: re.Pattern[str] | None, text: str) -> str | None:
    found = control.search(text) if control else None
    return found.group() if found else None
