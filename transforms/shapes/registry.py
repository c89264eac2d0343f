"""The known shapes, in the order in which they are tried."""

from __future__ import annotations

from schemas.config import FieldMap
from transforms.shapes import (
    alpaca,
    multiple_choice,
    openai_messages,
    preference_pair,
    prompt_completion,
    question_answer,
    sharegpt,
    text_to_sql,
)
from transforms.shapes.base import Message, Row, RowError, Shape, shown_keys
from transforms.shapes.field_map import mapped_messages

# A shape stands before those whose fields its rows may also have.
SHAPES: tuple[Shape, ...] = (
    preference_pair,
    openai_messages,
    sharegpt,
    multiple_choice,
    alpaca,
    text_to_sql,
    question_answer,
    prompt_completion,
)


def detect_shape(row: Row) -> Shape | None:
    """Return the first shape that fits the row's field names as they are written, or None."""
    for shape in SHAPES:
        if shape.matches(row):
            return shape
    return None


def to_messages(row: Row, fields: FieldMap | None = None) -> list[Message]:
    """Return a row's turns: by the field map if there is one, else by the detected shape.

    Field names that fit no shape are tried once more in lower case (``Question``, ``CONTEXTS``).

    Raises:
        RowError: unknown shape, or values that the shape cannot use.
    """
    if fields is not None:
        return mapped_messages(row, fields)
    shape = detect_shape(row)
    if shape is None:
        lower = {key.lower().strip(): value for key, value in row.items()}
        shape = detect_shape(lower)
        row = lower if shape else row
    if shape is None:
        raise RowError(
            "unknown_shape",
            f"no known shape has the fields {shown_keys(row)}; tell which ones to use, such as"
            " fields: {prompt: FIELD, completion: FIELD}",
        )
    return shape.to_messages(row)
