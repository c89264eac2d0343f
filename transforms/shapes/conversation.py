"""One raw row to examples in one form, or to the reason why not."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from itertools import groupby
from typing import Any

import orjson

from versatune.schemas.config import FieldMap
from versatune.transforms.shapes import exact_json
from versatune.transforms.shapes.base import (
    ACTS,
    MARKED,
    OF_ASSISTANT,
    PART_OF_ROLE,
    REASONING,
    UNLEARNED,
    WEIGHT_NOT_APPLIED,
    Example,
    Message,
    Row,
    RowError,
    is_blank,
    plain_role,
    type_name,
)
from versatune.transforms.shapes.field_audit import FieldAudit
from versatune.transforms.shapes.registry import read_row
from versatune.transforms.shapes.turns import written_turn

_ACTS = frozenset((*ACTS, *(marked for marked, (role, _) in MARKED.items() if role in ACTS)))
_ID_DIGITS, _PROMPT_DIGITS = 32, 8
# What may follow a role; the end of a conversation is an act.
_AFTER = {
    "": ("user",),
    "user": OF_ASSISTANT,
    REASONING: ACTS,
    "assistant": ("user", "tool_call"),
    "tool_call": ("tool",),
    "tool": ("tool", *OF_ASSISTANT),
}


def read_examples(
    payload: bytes,
    fields: FieldMap | None = None,
    faults: list[tuple[int, RowError]] | None = None,
    audit: FieldAudit | None = None,
) -> list[Example]:
    """Return the examples of one raw row, cleaned and in order; never none.

    Args:
        payload: the row as JSON.
        fields: the source's field map; without one the row's shape is detected.
        faults: where one of a row's several examples cannot be used, its position and the reason are added here, and
            the others are returned.
        audit: counts which of the row's fields went into the examples.

    Raises:
        RowError: the row has to be rejected: nothing in it can be used.
    """
    if audit is None:
        return _examples(parse_row(payload), fields, faults)
    row = audit.noted(parse_row(payload))
    examples = _examples(row, fields, faults)
    audit.add(row, examples)
    return examples


def _examples(row: Row, fields: FieldMap | None, faults: list[tuple[int, RowError]] | None) -> list[Example]:
    found = read_row(row, fields)
    if len(found) == 1 and isinstance(found[0], Example):
        return [_checked(found[0])]
    examples: list[Example] = []
    errors: list[tuple[int, RowError]] = []
    for number, item in enumerate(found):
        try:
            if isinstance(item, RowError):
                raise item
            examples.append(_checked(item))
        except RowError as error:
            errors.append((number, error))
    if not examples:
        raise errors[0][1]
    if faults is not None:
        faults += errors
    return examples


def _checked(example: Example) -> Example:
    messages, tools, rejected, tags, _ = example
    marks: dict[int, str] = {}
    messages = check_turns(messages, marks)
    unlearned: tuple[int, ...] = ()
    if marks:
        unlearned = _unlearned(messages, marks)
        if WEIGHT_NOT_APPLIED in marks.values():
            tags = (*tags, WEIGHT_NOT_APPLIED)
    if rejected is None:
        return Example(messages, tools, None, tags, unlearned)
    rejected = clean_text(rejected)
    if not rejected:
        raise RowError("empty_answer", "the worse answer is blank; expected text")
    if messages[-1][0] != "assistant":
        raise RowError("bad_pair", "the conversation does not end with an assistant's text to compare")
    if unlearned[-1:] == (len(messages) - 1,):
        raise RowError("nothing_to_learn", "the better answer is marked as one not to learn")
    return Example(messages, tools, rejected, tags, unlearned)


def _unlearned(messages: list[Message], marks: dict[int, str]) -> tuple[int, ...]:
    """Return which turns are context only; thoughts, and what the assistant says before a call, go with the act of the same turn."""
    marked = {number for number, mark in marks.items() if mark == UNLEARNED}
    found: list[int] = []
    learns = False
    for is_assistant, turn in groupby(range(len(messages)), lambda number: messages[number][0] in OF_ASSISTANT):
        if is_assistant:
            together = tuple(turn)
            if marked.isdisjoint(together):
                learns = True
            else:
                found += together
    if not learns:
        raise RowError("nothing_to_learn", "every turn of the assistant is marked as one not to learn")
    return tuple(found)


def check_turns(messages: list[Message], marks: dict[int, str] | None = None) -> list[Message]:
    """Clean every content and check the order of the speakers.

    Allowed are an optional system turn, then user and assistant in turn, ending with the assistant. A tool call stands
    where an assistant may speak, or after what the assistant said in the same turn; results follow it; a conversation
    may end with a call. Thoughts (role ``reasoning``) stand before what the assistant says or calls in the same turn. A
    document (role ``text``) stands alone. A blank system turn, blank thoughts and everything after the assistant's last
    act are left out; everything else that differs is refused.

    Args:
        messages: roles may be marked.
        marks: gets the mark of each turn that has one, by its position in what is returned.

    Raises:
        RowError: blank or missing text, wrong order, no answer.
    """
    last = len(messages)
    while last and messages[last - 1][0] not in _ACTS:
        last -= 1
    if last == 0:
        if len(messages) == 1 and messages[0][0] == "text":
            return [("text", _document(messages[0][1]))]
        raise RowError("no_answer", f"the conversation has {len(messages)} turns and none by the assistant")
    cleaned: list[Message] = []
    before = ""
    for number, (role, raw) in enumerate(messages[:last] if last < len(messages) else messages):
        content = clean_text(raw)
        if role == "system":
            if cleaned:
                raise RowError("system_not_first", f"turn {number} is a system turn; expected it first, and once")
            if content:
                cleaned.append((role, content))
            continue
        if not content and plain_role(role) == REASONING:
            continue
        if role not in _AFTER[before]:
            role, mark = MARKED.get(role, (role, ""))  # noqa: PLW2901
            if role not in _AFTER[before]:
                raise _out_of_order(number, role, before)
            if marks is not None:
                marks[len(cleaned)] = mark
        if not content and role != "tool":
            raise RowError(
                f"empty_{PART_OF_ROLE.get(role, 'answer')}", f"turn {number} ({role}) is blank; expected text"
            )
        cleaned.append((role, content))
        before = role
    return cleaned


def _document(raw: str) -> str:
    content = clean_text(raw)
    if not content:
        raise RowError("empty_document", "the text is blank")
    return content


def _out_of_order(number: int, role: str, before: str) -> RowError:
    if "tool" in (role, before) or before == "tool_call":
        return RowError("tool_order", f"turn {number} ({role}) follows {before or 'nothing'}; results follow calls")
    if not before:
        return RowError("starts_with_assistant", f"turn {number} is of role {role}; expected the user's first")
    if REASONING in (role, before):
        return RowError(
            "reasoning_order", f"turn {number} ({role}) follows {before}; thoughts stand before what they lead to"
        )
    return RowError("roles_do_not_alternate", f"turns {number - 1} and {number} are of roles {before} and {role}")


def clean_text(content: str) -> str:
    r"""Return text in Unicode form NFC, with \n as its only line break, without blank edges; empty if nothing in it can be seen.

    Blank lines around it go, and blanks at its end. The first line keeps its indentation, for it may be code: two
    or more blanks, or a tab. A single blank is an old habit of prompts and completions, and goes, unless the next line
    has it too. Of one line only blanks and tabs are indentation; other spaces are typography.
    """
    if not content.isascii() and not unicodedata.is_normalized("NFC", content):
        content = unicodedata.normalize("NFC", content)
    if "\r" in content:
        content = content.replace("\r\n", "\n")
    stripped = content.strip()
    if is_blank(stripped):
        return ""
    if content[:1].isspace():
        indent = content[: len(content) - len(content.lstrip())].rpartition("\n")[2]
        more = stripped.partition("\n")[2]
        is_code = len(indent) > 1 or indent == "\t" or more[:1].isspace()
        if indent and is_code and (more or not indent.strip(" \t")):
            return indent + stripped
    return stripped


def example_id(example: Example) -> str:
    """Return 32 hex digits that equal content has equal.

    The first eight are BLAKE2b-32 of what comes before the assistant's first turn, so all answers to one prompt begin
    alike. The others are BLAKE2b-96 of the whole. Both are of JSON: the array of [role, content] pairs; the whole, with
    tools, a worse answer or turns that are not learned, is the array of those pairs, the tools, the worse answer and, if
    there are some, the positions of the turns that are not learned. Tags and the ids of calls do not count.
    """
    messages, tools, rejected, _, unlearned = example
    if "tool_call" in dict(messages):
        messages = [(role, _without_ids(content) if role == "tool_call" else content) for role, content in messages]
    content: list[Any] = messages
    if unlearned:
        content = [messages, tools, rejected, unlearned]
    elif tools is not None or rejected is not None:
        content = [messages, tools, rejected]
    before = 0
    for role, _ in messages:
        if role in OF_ASSISTANT:
            break
        before += 1
    return _digest(messages[:before], _PROMPT_DIGITS) + _digest(content, _ID_DIGITS - _PROMPT_DIGITS)


def _without_ids(calls: str) -> str:
    if '"id":' not in calls:
        return calls
    return exact_json.dumps(
        [{"name": call["name"], "arguments": call["arguments"]} for call in exact_json.loads(calls)]
    ).decode()


def _digest(value: list[Any], digits: int) -> str:
    return hashlib.blake2b(orjson.dumps(value), digest_size=digits // 2).hexdigest()


def parse_row(payload: bytes) -> dict[str, Any]:
    """Return a row's JSON object.

    A list of one object is that object, a list of turns a conversation; other lists of texts and numbers get their places
    as names, from "0".

    Raises:
        RowError: not UTF-8, not JSON, not an object.
    """
    try:
        value = exact_json.loads(payload)
    except json.JSONDecodeError as error:
        raise _why_not_json(payload, error) from None
    if type(value) is dict:
        return value
    if (
        type(value) is list
        and value
        and all(type(item) is dict and ("role" in item or "from" in item) for item in value)
    ):
        return {"messages": value}
    if type(value) is list and value and all(type(item) is str and written_turn(item) for item in value):
        return {"messages": value}
    if type(value) is list and len(value) > 1 and not any(type(item) is dict or type(item) is list for item in value):
        return {str(place): item for place, item in enumerate(value)}
    if type(value) is list and len(value) == 1 and type(value[0]) is dict:  # published lists of one-element lists
        return value[0]
    raise RowError("not_an_object", f"the row is {type_name(value)}; expected an object with named fields")


def _why_not_json(payload: bytes, error: json.JSONDecodeError) -> RowError:
    try:
        payload.decode()
    except UnicodeDecodeError as undecodable:
        return RowError("not_utf8", f"byte {undecodable.start} of the row is not UTF-8")
    return RowError("not_json", f"{error.msg.split(':')[0]} at character {error.pos} of the row")
