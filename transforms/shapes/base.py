"""What every shape uses: an example, the error that rejects a row, and access to a row's fields."""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from versatune.transforms.shapes.exact_json import Number

Row = Mapping[str, Any]
Message = tuple[str, str]
"""Role (system, user, reasoning, assistant, tool_call, tool or text) and content; within the shapes a role may be marked, see MARKED."""


class Example(NamedTuple):
    """One training example; a raw row gives one, or several."""

    messages: list[Message]
    """Turns. A ``tool_call`` holds a JSON array of ``{"name", "arguments"}``; a ``reasoning`` what the assistant thinks, directly before
    the act that it leads to; a document is one message of role ``text``."""
    tools: str | None = None
    """JSON list of the tools that may be called."""
    rejected: str | None = None
    """The worse answer of a preference pair; the better one is the last assistant turn."""
    tags: tuple[str, ...] = ()
    """What was found and left in, such as ``pii.email``."""
    unlearned: tuple[int, ...] = ()
    """Positions of the assistant's turns (:data:`OF_ASSISTANT`) that are context only, ascending."""


REASONING = "reasoning"
ACTS = ("assistant", "tool_call")
"""Roles of what an assistant does."""
OF_ASSISTANT = (REASONING, *ACTS)
"""Roles that may make up one turn of the assistant, in their order: what it thinks, what it says, what it calls."""

UNLEARNED = "unlearned"
WEIGHT_NOT_APPLIED = "weight_not_applied"
"""A tag and a count: a turn has a weight other than 0 and 1, and is learned like any other."""

MARKED = {f"{role}/{mark}": (role, mark) for role in OF_ASSISTANT for mark in (UNLEARNED, WEIGHT_NOT_APPLIED)}
"""Roles of turns whose source says how they are to be learned; a row's check turns them into the plain role again."""


def plain_role(role: str) -> str:
    """Return a role without its mark."""
    return MARKED[role][0] if role in MARKED else role


READ_REASONS = {
    "not_utf8": "the row's bytes are not UTF-8, nor text in the encoding of its file",
    "not_json": "the row is not JSON (NaN and Infinity are not JSON either)",
    "wrong_cell_count": "a CSV or TSV row has more or fewer cells than the file has columns",
    "bad_quotes": "a CSV or TSV row's quotes do not pair, or a carriage return stands outside them",
    "no_match": "plain text that the source's pattern does not match",
    "not_an_object": "the row is JSON, but no object",
    "too_large": "the row has more bytes than build.max_row_bytes, or a pattern's match more than 2^20 characters",
}
NORMALIZE_REASONS = {
    "unknown_shape": "no known shape fits the row's fields; a field map makes it readable",
    "unknown_role": "a turn's speaker is none of the known names",
    "not_text": "a turn's content has a part that is not text (an image, audio)",
    "wrong_type": "a field holds another kind of value than belongs there, such as a number or an object in place of text",
    "missing_prompt": "the user's text is absent or null",
    "missing_answer": "the assistant's text is absent or null, or its field has a name that is not known",
    "missing_system": "a system turn's text is null",
    "missing_document": "a document's text is null",
    "empty_prompt": "the user's text is blank",
    "empty_answer": "the assistant's text is blank",
    "empty_document": "a document without text",
    "no_answer": "the conversation has no assistant turn",
    "starts_with_assistant": "no user turn comes before the first assistant turn",
    "system_not_first": "a system turn comes after the first turn",
    "roles_do_not_alternate": "the same speaker has two turns in a row",
    "tool_order": "a tool's result without a call before it, a call without a result after it, or a result that names another call",
    "reasoning_order": "thoughts that no answer or call of the assistant follows, or that stand behind what the same turn says",
    "bad_tool_call": "a tool call is no JSON object with a name and arguments",
    "bad_tools": "the list of tools is not a JSON list of objects with names",
    "bad_choices": "the options of a multiple choice cannot be read, or the answer is none of them",
    "bad_pair": "a preference pair's two conversations differ before the last answer, or neither answer is the better one",
    "bad_answer": "the row marks its answer as one not to learn from",
    "nothing_to_learn": "every turn of the assistant is marked as one not to learn, or the better answer of a pair is",
    "bad_mark": "a turn's mark (weight, train and the like) does not say whether the turn is to be learned",
}

CLEAN_REASONS = {
    "control_tags": "a text holds markup of a chat template",
    "placeholder": "an answer holds a variable of a template that was never filled in",
    "emptied": "a text is blank once its markup is taken out",
    "short_prompt": "a user's turn is shorter than build.clean.min_prompt_chars",
    "short_answer": "an assistant's turn is shorter than build.clean.min_answer_chars",
    "too_long": "all texts together are longer than build.clean.max_chars",
    "other_language": "a text of the conversation is in none of build.clean.languages",
    "repetition": "an answer repeats itself more than build.clean.max_repetition allows",
    "refusal": "an answer declines, or speaks of itself as a language model",
    "drop_pattern": "a text matches one of build.clean.drop_patterns",
    "pii_email": "a text holds an e-mail address",
    "pii_phone": "a text holds a telephone number",
    "pii_ip": "a text holds a public IP address",
    "pii_iban": "a text holds a bank account number",
    "pii_credit_card": "a text holds a card number",
    "pii_secret": "a text holds an API key, token or private key",
}

PART_OF_ROLE = {"user": "prompt", "assistant": "answer", "system": "system", "text": "document"}
"""How reject reasons name a role's text."""

SYSTEMS = ("system", "system_prompt", "system_message", "system_instruction", "meta_instruction")

MAX_EXPANDED_CHARS = 2**28
"""Of all examples of one row: a batch of such rows must fit into memory."""

BYTES_KEY = "$bytes"
"""The one key of the object that stands for bytes that are text in no known encoding."""

_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")
_SHOWN_KEYS = 12
_SHOWN_KEY_CHARS = 40
_JSON_TYPES = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    Number: "a number",
}

# Blanks, controls, and code points that fonts draw as nothing (Default_Ignorable_Code_Point; the empty Braille cell).
_INVISIBLE = re.compile(
    "[\x00-\x20\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f"
    "\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]*"
)


class RowError(Exception):
    """A row cannot become an example.

    Args:
        reason: a key of READ_REASONS, NORMALIZE_REASONS or another stage's reasons.
        detail: what was found and expected; names fields, never quotes the row's text.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class OtherShapeError(RowError):
    """The row's values have not this shape after all; another may read it."""


def check_expanded(chars: int) -> None:
    """Refuse a row that repeats its passages before so many questions that they take ``chars`` characters; asked before they do.

    Raises:
        RowError: more than one row may give.
    """
    if chars > MAX_EXPANDED_CHARS:
        raise RowError(
            "too_large",
            f"its passages take {chars:,} characters before its questions; expected at most {MAX_EXPANDED_CHARS:,} from one row",
        )


def strings_in(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value, however deep; names of fields are none."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings_in(inner)


class Shape(Protocol):
    """What a module of this package offers."""

    NAME: str
    """How the shape is called in messages and documents."""

    def matches(self, names: Collection[str], /) -> bool:
        """Say whether a row with these field names has this shape; its values may still be unusable."""

    def to_examples(self, row: Row, /) -> Sequence[Example | RowError]:
        """Return the row's examples, in their order; where one of several cannot be used, its error in its place.

        Raises:
            RowError: the row as a whole cannot be used.
        """


def text(value: Any, part: str, field: str) -> str:
    """Return a field's value if it is text; ``part`` is prompt, answer or system."""
    if isinstance(value, str):
        return value
    if value is None:
        raise RowError(f"missing_{part}", f"field '{field}' is null; expected text")
    raise RowError("wrong_type", f"field '{field}' holds {type_name(value)}; expected text")


def answer_text(value: Any, field: str) -> str:
    """Return an answer: text, a number written out, or of a list of accepted answers the first."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        if not value:
            raise RowError("missing_answer", f"field '{field}' is an empty list; expected text")
        first = f"{field}.0"
        return text(value[0], "answer", first) if isinstance(value[0], list) else answer_text(value[0], first)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return text(value, "answer", field)


def first_field(row: Row, names: Iterable[str]) -> str | None:
    """Return the first of these fields that holds something; else the first that is there at all; else None."""
    present = None
    for name in names:
        if name in row:
            if row[name] is not None and row[name] != "":
                return name
            present = present or name
    return present


def system_turn(row: Row) -> list[Message]:
    """Return the row's system text as a turn, if it has one."""
    for name in SYSTEMS:
        if row.get(name):
            return [("system", text(row[name], "system", name))]
    return []


def has_any(names: Container[str], wanted: Iterable[str]) -> bool:
    """Say whether one of the wanted names is there."""
    return any(name in names for name in wanted)


def is_blank(content: str) -> bool:
    """Say whether nothing in a text can be seen."""
    return not content or (not "!" <= content[0] <= "~" and _INVISIBLE.fullmatch(content) is not None)


def joined(parts: Iterable[str]) -> str:
    """Join what is not blank, with an empty line between."""
    return "\n\n".join(part for part in parts if not is_blank(part))


def plain_name(name: str) -> str:
    """Return a field's name in lower case, with ``_`` for blanks, hyphens and before capitals (``questionText``)."""
    if name.isalpha() and name.islower():
        return name
    return _CAPITAL.sub("_", name.strip()).lower().replace(" ", "_").replace("-", "_")


def type_name(value: Any) -> str:
    """Name a JSON value's type."""
    if type(value) is dict and BYTES_KEY in value:
        return "bytes that are text in no known encoding"
    return _JSON_TYPES.get(type(value), "null")


def shown_keys(row: Row) -> str:
    """List a row's field names, cut to a readable length."""
    names = [f"'{key[:_SHOWN_KEY_CHARS]}'" for key in list(row)[:_SHOWN_KEYS]]
    more = f" and {len(row) - _SHOWN_KEYS} more" if len(row) > _SHOWN_KEYS else ""
    return (", ".join(names) or "none") + more
