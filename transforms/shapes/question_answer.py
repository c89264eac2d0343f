"""Question and answer, with or without context; ``text`` is the question where there is no other.

A row with a question and a ``text``, but no context, fits no shape: the text may be the context or the whole example.

Of several accepted answers (a list, or SQuAD's ``{"text": [...]}``) the first is taken. Context goes before the
question; a context in paragraphs (a list) is joined with empty lines.
"""

from __future__ import annotations

from typing import Any

from transforms.shapes.base import Message, Row, RowError, first_field, first_text, joined, text, type_name

_ANSWERS = ("answer", "answers", "response", "output", "completion", "long_answer")
_CONTEXTS = ("context", "contexts", "passage")
_PROMPTS = ("prompt", "query")


def matches(row: Row) -> bool:
    """Say whether there are a question and an answer."""
    if not any(name in row for name in _ANSWERS):
        return False
    if "question" in row:
        return "text" not in row or any(name in row for name in _CONTEXTS)
    return "text" in row and not any(name in row for name in _PROMPTS)


def to_messages(row: Row) -> list[Message]:
    """Return context and question as one user turn, and the answer."""
    question, answer = ("question" if "question" in row else "text"), str(first_field(row, _ANSWERS))
    context = first_field(row, _CONTEXTS)
    prompt = text(row[question], "prompt", question)
    if context and prompt.strip():
        prompt = joined([_context(row[context], context), prompt])
    accepted = row[answer]["text"] if isinstance(row[answer], dict) and "text" in row[answer] else row[answer]
    return [("user", prompt), ("assistant", first_text(accepted, "answer", answer))]


def _context(value: Any, field: str) -> str:
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(paragraph, str) for paragraph in value):
        return joined(value)
    if not isinstance(value, str):
        raise RowError("wrong_type", f"field '{field}' holds {type_name(value)}; expected text")
    return value
