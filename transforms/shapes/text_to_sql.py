"""Text to SQL, as in Spider: ``{"question", "query"}`` or ``{"question", "sql"}``, where the query is the answer."""

from __future__ import annotations

from transforms.shapes.base import Message, Row, first_field, text

_QUERIES = ("query", "sql")
_OTHER_ANSWERS = ("answer", "answers", "response", "output", "completion")


def matches(row: Row) -> bool:
    """Say whether a query is the only answer to the question."""
    has_query = any(name in row for name in _QUERIES)
    return "question" in row and has_query and not any(name in row for name in _OTHER_ANSWERS)


def to_messages(row: Row) -> list[Message]:
    """Return the question and the query."""
    query = str(first_field(row, _QUERIES))
    return [("user", text(row["question"], "prompt", "question")), ("assistant", text(row[query], "answer", query))]
