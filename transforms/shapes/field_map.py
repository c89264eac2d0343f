"""A field map from the configuration: dotted paths in place of a detected shape."""

from __future__ import annotations

from typing import Any

from schemas.config import FieldMap
from transforms.shapes.base import Message, Row, RowError, first_text, joined, shown_keys, text
from transforms.shapes.turns import turns


def mapped_messages(row: Row, fields: FieldMap) -> list[Message]:
    """Return the turns that the field map points to.

    A missing or null ``system`` or ``context`` is left out. Of a list of accepted completions the first is taken.
    """
    system = _at(row, fields.system)
    messages = [("system", text(system, "system", str(fields.system)))] if system else []
    if fields.messages is not None:
        return messages + turns(_needed(row, fields.messages, "prompt"), fields.messages)
    prompt_path, completion_path = str(fields.prompt), str(fields.completion)
    prompt = text(_needed(row, prompt_path, "prompt"), "prompt", prompt_path)
    context = _at(row, fields.context)
    if context is not None and prompt.strip():
        prompt = joined([text(context, "prompt", str(fields.context)), prompt])
    answer = first_text(_needed(row, completion_path, "answer"), "answer", completion_path)
    return [*messages, ("user", prompt), ("assistant", answer)]


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
