"""A field map from the configuration: paths and templates in place of a detected shape."""

from __future__ import annotations

import re
from typing import Any

from versatune.schemas.config import FieldMap
from versatune.schemas.field_template import Slot, Template, parse_part
from versatune.transforms.shapes.base import (
    REASONING,
    Example,
    Message,
    Row,
    RowError,
    answer_text,
    is_blank,
    joined,
    shown_keys,
    text,
)
from versatune.transforms.shapes.context import context_text
from versatune.transforms.shapes.field_paths import Items, value_at
from versatune.transforms.shapes.multiple_choice import choice_turns
from versatune.transforms.shapes.tool_use import tools_json
from versatune.transforms.shapes.turns import turns

_INDENTED = re.compile(r"\t|[ \t]{2}")
_BLANK_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")


def mapped_examples(row: Row, fields: FieldMap) -> list[Example]:
    """Return the example that the field map points to.

    A missing or null ``system``, ``context``, ``reasoning`` or ``tools`` is left out. Of a list of accepted completions the first is
    taken, any other list is joined with empty lines; numbers and true or false are written out.

    Raises:
        RowError: a field that the map names is absent, null, or of a type that cannot be used; one in a template is blank.
    """
    if fields.text is not None:
        return [Example([("text", _text(row, fields.text, "document"))])]
    tools = tools_json(_at(row, fields.tools), fields.tools) if fields.tools else None
    messages = _system(row, fields) + (_turns(row, fields) if fields.messages else _prompt_and_answer(row, fields))
    if fields.rejected is None:
        return [Example(messages, tools)]
    return [Example(messages, tools, _text(row, fields.rejected, "answer"))]


def _system(row: Row, fields: FieldMap) -> list[Message]:
    system = _optional(row, fields.system, "system")
    return [("system", system)] if system else []


def _thoughts(row: Row, fields: FieldMap) -> list[Message]:
    thoughts = _optional(row, fields.reasoning, REASONING)
    return [(REASONING, thoughts)] if thoughts else []


def _turns(row: Row, fields: FieldMap) -> list[Message]:
    messages = turns(_needed(row, str(fields.messages), "prompt"), str(fields.messages))
    if fields.completion is not None:
        return [*messages, *_thoughts(row, fields), ("assistant", _text(row, fields.completion, "answer"))]
    return messages


def _prompt_and_answer(row: Row, fields: FieldMap) -> list[Message]:
    prompt, completion = _text(row, str(fields.prompt), "prompt"), str(fields.completion)
    if not is_blank(prompt):
        prompt = joined([_optional(row, fields.context, "context"), prompt])
    if fields.choices is None:
        return [("user", prompt), *_thoughts(row, fields), ("assistant", _text(row, completion, "answer"))]
    if isinstance(fields.choices, str):
        choices = _needed(row, fields.choices, "prompt")
    else:
        choices = [_at(row, path) for path in fields.choices]
        while choices and choices[-1] in (None, ""):  # a question with fewer options than the others
            choices.pop()
    asked, answered = choice_turns(prompt, choices, _needed(row, completion, "answer"), completion, fields.first_choice)
    return [asked, *_thoughts(row, fields), answered]


def _at(row: Row, part: str) -> Any:
    """Return what a path leads to, as it is, or the text of a template; None where a field is absent or null."""
    parsed = parse_part(part)
    return _filled(row, parsed, "prompt") if isinstance(parsed, Template) else value_at(row, parsed)


def _needed(row: Row, part: str, role: str) -> Any:
    value = _at(row, part)
    if value is None:
        raise _missing(row, part, role)
    return value


def _missing(row: Row, path: str, role: str) -> RowError:
    return RowError(f"missing_{role}", f"field '{path}' is absent or null; the row has {shown_keys(row)}")


def _text(row: Row, part: str, role: str) -> str:
    """Return the text of a part of the map; ``role`` is prompt, answer, system, document, context or reasoning."""
    parsed = parse_part(part)
    if isinstance(parsed, Template):
        return _filled(row, parsed, role)
    value = value_at(row, parsed)
    if value is None:
        raise _missing(row, part, role)
    if role == "context":
        return context_text(value, part) if isinstance(value, dict) else _written(value, part, joins=True)
    if role != "answer" and type(value) is list:  # several questions, or one in several parts: the map has to say
        return text(value, role, part)
    return _written(value, part, joins=False)


def _optional(row: Row, part: str | None, role: str) -> str:
    """Return the text of a part that rows may lack, or nothing."""
    if part is None:
        return ""
    try:
        return _text(row, part, role)
    except RowError as error:
        if error.reason in (f"missing_{role}", f"empty_{role}"):
            return ""
        raise


def _written(value: Any, path: str, *, joins: bool) -> str:
    """Return a value as text; a list that stood in the row is joined only where that is asked for."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list) and (joins or isinstance(value, Items)):
        value = [item if isinstance(item, str | list | dict) else answer_text(item, path) for item in value]
        return context_text(value, path)
    return answer_text(value, path)


def _filled(row: Row, template: Template, role: str) -> str:
    """Return a template's text with the row's fields in it, each without the blanks around it.

    Raises:
        RowError: a field is absent, null or blank and the template has nothing to put in its place, or all are.
    """
    filled, says_something = "", False
    for piece in template.pieces:
        if isinstance(piece, str):
            beside_nothing = piece.startswith(" ") and (not filled or filled[-1].isspace())
            filled += piece.lstrip(" ") if beside_nothing else piece
        else:
            found = _slot(row, piece, role, begins_line=not filled or filled.endswith("\n"))
            says_something = says_something or not is_blank(found)
            filled += found
    if not says_something:
        raise RowError(f"empty_{role}", f"no field of '{template.written}' holds anything")
    return filled


def _slot(row: Row, slot: Slot, role: str, *, begins_line: bool) -> str:
    value = value_at(row, slot.path)
    found = "" if value is None else _trimmed(_written(value, slot.path.written, joins=True), begins_line=begins_line)
    if found or slot.default is not None:
        return found or str(slot.default)
    path = slot.path.written
    if value is None:
        raise _missing(row, path, role)
    raise RowError(f"empty_{role}", f"field '{path}' is blank; where it may be, write {{{path}|}}")


def _trimmed(value: str, *, begins_line: bool) -> str:
    """Return a text without blanks around it, or nothing if none of it can be seen.

    The first of several lines keeps its indentation, and so does one line that begins a line of the template.
    """
    if is_blank(value):
        return ""
    value = _BLANK_LINES.sub("", value.rstrip())
    indented = "\n" in value or (begins_line and _INDENTED.match(value))
    return value if indented else value.lstrip()
