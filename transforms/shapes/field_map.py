"""A field map from the configuration: dotted paths in place of a detected shape."""

from __future__ import annotations

from typing import Any

from versatune.schemas.config import FieldMap
from versatune.transforms.shapes.base import Example, Message, Row, RowError, answer_text, joined, shown_keys, text
from versatune.transforms.shapes.context import context_text
from versatune.transforms.shapes.multiple_choice import choice_turns
from versatune.transforms.shapes.tool_use import tools_json
from versatune.transforms.shapes.turns import turns


def mapped_examples(row: Row, fields: FieldMap) -> list[Example]:
    """Return the example that the field map points to.

    A missing or null ``system``, ``context`` or ``tools`` is left out. Of a list of accepted completions the first is
    taken; numbers and true or false are written out.

    Raises:
        RowError: a field that the map names is absent, null, or of a type that cannot be used.
    """
    if fields.text is not None:
        return [Example([("text", text(_needed(row, fields.text, "document"), "document", fields.text))])]
    tools = tools_json(_at(row, fields.tools), str(fields.tools)) if fields.tools else None
    messages = _system(row, fields) + (_turns(row, fields) if fields.messages else _prompt_and_answer(row, fields))
    if fields.rejected is None:
        return [Example(messages, tools)]
    return [Example(messages, tools, answer_text(_needed(row, fields.rejected, "answer"), fields.rejected))]


def _system(row: Row, fields: FieldMap) -> list[Message]:
    system = _at(row, fields.system)
    return [("system", text(system, "system", str(fields.system)))] if system else []


def _turns(row: Row, fields: FieldMap) -> list[Message]:
    messages = turns(_needed(row, str(fields.messages), "prompt"), str(fields.messages))
    if fields.completion is not None:
        return [*messages, ("assistant", _answer(row, fields.completion))]
    return messages


def _prompt_and_answer(row: Row, fields: FieldMap) -> list[Message]:
    prompt_path, completion_path = str(fields.prompt), str(fields.completion)
    prompt = text(_needed(row, prompt_path, "prompt"), "prompt", prompt_path)
    context = _at(row, fields.context)
    if context is not None and prompt.strip():
        prompt = joined([context_text(context, str(fields.context)), prompt])
    if fields.choices is None:
        return [("user", prompt), ("assistant", _answer(row, completion_path))]
    if isinstance(fields.choices, str):
        choices = _needed(row, fields.choices, "prompt")
    else:
        choices = [_at(row, path) for path in fields.choices]
    return choice_turns(prompt, choices, _needed(row, completion_path, "answer"), completion_path)


def _answer(row: Row, path: str) -> str:
    answer = _needed(row, path, "answer")
    return str(answer).lower() if isinstance(answer, bool) else answer_text(answer, path)


def _needed(row: Row, path: str, part: str) -> Any:
    value = _at(row, path)
    if value is None:
        raise RowError(f"missing_{part}", f"field '{path}' is absent or null; the row has {shown_keys(row)}")
    return value


def _at(row: Row, path: str | None) -> Any:
    """Return what a dotted path leads to (numbers count list items from 0), or None."""
    if path is None:
        return None
    if path in row:  # a name with a dot in it
        return row[path]
    value: Any = row
    for part in path.split("."):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isascii() and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value
