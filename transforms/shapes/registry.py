"""The known shapes, in the order in which they are tried."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from versatune.schemas.config import FieldMap
from versatune.transforms.shapes import (
    alpaca,
    chat_object,
    code_task,
    conversation_tree,
    document,
    multiple_choice,
    openai_messages,
    preference_pair,
    prompt_completion,
    question_answer,
    question_series,
    seed_tasks,
    sharegpt,
    squad,
    table_questions,
    unanswered,
)
from versatune.transforms.shapes.base import Example, OtherShapeError, Row, RowError, Shape, plain_name, shown_keys
from versatune.transforms.shapes.column_table import column_rows, is_table
from versatune.transforms.shapes.field_map import mapped_examples
from versatune.transforms.shapes.marks import amount
from versatune.transforms.shapes.noted_row import Renaming, forget, renamed
from versatune.transforms.shapes.qa_pairs import pair_examples

# A shape stands before those whose fields its rows may also have.
SHAPES: tuple[Shape, ...] = (
    preference_pair,
    openai_messages,
    sharegpt,
    chat_object,
    conversation_tree,
    table_questions,
    squad,
    question_series,
    multiple_choice,
    seed_tasks,
    code_task,
    alpaca,
    question_answer,
    prompt_completion,
    unanswered,
    document,
)
# Beside an answer: whether it is a good one.
_VERDICTS = (
    "kto_tag", "kto_label", "label", "is_good", "is_correct", "is_chosen", "is_accepted", "is_desirable", "is_preferred",
    "desirable", "accepted", "thumbs_up", "correct", "is_helpful", "is_valid", "is_positive", "is_approved", "approved",
)  # fmt: skip
# Of a whole row, too: that nothing in it is to be learned.
_ROW_MARKS = ("weight", "loss_weight", "sample_weight", "train", "trainable", "is_trainable")
# Shapes whose rows have no answer to be bad, two of them, or an answer that is the label itself.
_UNJUDGED: tuple[Shape, ...] = (document, unanswered, multiple_choice, preference_pair)
_CLASS_NAMES = ("no", "off", "n", "f")  # as a label more likely the name of a class than a verdict
_MAX_LAYOUTS = 4096  # rows may have any names; forget all rather than grow


class Layout(NamedTuple):
    """What a row's field names alone say about it."""

    shapes: tuple[Shape, ...]
    """The shapes that fit, in order."""
    plain_names: Renaming | None
    """Where they fit the names in lower case, with ``_`` for blanks and hyphens (``Question``, ``Correct Answer``): these."""
    verdicts: tuple[str, ...]
    """Fields that may say whether the answer is a good one, or to be learned at all."""


_LAYOUTS: dict[tuple[str, ...], Layout] = {}


def detect_layout(names: tuple[str, ...]) -> Layout:
    """Return the shapes that fit these field names as they are written; if none does, as plain names."""
    found = _LAYOUTS.get(names)
    if found is None:
        if len(_LAYOUTS) >= _MAX_LAYOUTS:
            _LAYOUTS.clear()
        found = _LAYOUTS[names] = _fitting(names)
    return found


def has_shape(names: tuple[str, ...]) -> bool:
    """Say whether these field names fit a shape."""
    return bool(detect_layout(names).shapes)


def _fitting(names: tuple[str, ...]) -> Layout:
    exact = frozenset(names)
    shapes = tuple(shape for shape in SHAPES if shape.matches(exact))
    plain = frozenset(map(plain_name, names))
    as_plain = tuple(shape for shape in SHAPES if shape.matches(plain))
    # A name in another case may answer what stands there unanswered: {"question", "Answer"}.
    use_plain = shapes[:1] in ((), (unanswered,)) and as_plain[:1] not in ((), (unanswered,))
    chosen, fields = (as_plain, plain) if use_plain else (shapes, exact)
    judged = bool(chosen) and chosen[0] not in _UNJUDGED
    verdicts = tuple(sorted(name for name in fields if judged and plain_name(name) in _VERDICTS + _ROW_MARKS))
    return Layout(chosen, Renaming.by(plain_name, names) if use_plain else None, verdicts)


def read_row(row: Row, fields: FieldMap | None = None) -> Sequence[Example | RowError]:
    """Return a row's examples: by the field map if there is one, else by the shape that its field names have.

    Of several shapes that fit, the first one is taken whose fields hold something. A row that fits none may be a table by
    column, or several of them. What a row becomes depends on the row alone. Where one of a row's several examples cannot
    be used, its error stands in its place.

    Raises:
        RowError: unknown shape, or values that the shape cannot use.
    """
    if fields is not None:
        return _mapped(row, fields)
    try:
        return _by_shape(row)
    except RowError as error:
        found = _by_column(row) if error.reason in ("wrong_type", "unknown_shape") else []
        if any(isinstance(item, Example) for item in found):
            return found
        forget(row)
        raise


def _says_bad(name: str, value: Any) -> bool:
    """Say whether a verdict is some form of false; other values are no verdicts (a class's name or number, a score, null)."""
    if plain_name(name) == "label" and isinstance(value, str) and value.strip().lower() in _CLASS_NAMES:
        return False
    return amount(value) == 0


def _by_shape(row: Row) -> Sequence[Example | RowError]:
    layout = detect_layout(tuple(row))
    if not layout.plain_names:
        return _in_layout(row, layout)
    try:
        return _in_layout(renamed(row, layout.plain_names), layout)
    except RowError as error:
        raise RowError(error.reason, _as_written(error.detail, row)) from None


def _as_written(detail: str, row: Row) -> str:
    """Return what is said of a row under the names that the row has."""
    for name in row:
        plain = re.escape(plain_name(name))
        detail = name.join(re.split(rf"(?<='){plain}(?=['.])|(?<=: ){plain}(?=[,}}])", detail))
    return detail


def _in_layout(row: Row, layout: Layout) -> Sequence[Example | RowError]:
    for name in layout.verdicts:
        if _says_bad(name, row[name]):
            if plain_name(name) in _ROW_MARKS:
                raise RowError("nothing_to_learn", f"'{name}' says that the row is not to be learned")
            raise RowError(
                "bad_answer",
                f"'{name}' says no: the row's answer is a bad one. Where it means something else, name the fields to use,"
                " such as fields: {prompt: FIELD, completion: FIELD}",
            )
    first: RowError | None = None
    for shape in layout.shapes:
        try:
            return shape.to_examples(row)
        except RowError as error:
            if first is None or isinstance(first, OtherShapeError):
                first = error
            forget(row)
            if not error.reason.startswith("missing_") and not isinstance(error, OtherShapeError):
                break
    pairs = pair_examples(row) if first is None else None
    if pairs:
        return pairs
    raise first or RowError("unknown_shape", _why_unknown(row))


def _mapped(row: Row, fields: FieldMap) -> Sequence[Example | RowError]:
    named = fields.prompt or fields.text
    if named is None or named not in row or type(row[named]) is not list or not is_table(row):
        return mapped_examples(row, fields)
    found: list[Example | RowError] = []
    for item in column_rows(row) or ():
        try:
            found += mapped_examples(item, fields)
        except RowError as error:
            found.append(error)
    return found


def _by_column(row: Row) -> list[Example | RowError]:
    """Return the examples of a row that is a table by column, or holds several such tables; else nothing."""
    found: list[Example | RowError] = []
    for item in column_rows(row) or ():
        try:
            found += _by_shape(item)
        except RowError as error:
            found.append(error)
    return found


def _why_unknown(row: Row) -> str:
    told = (
        f"no known shape has the fields {shown_keys(row)}; tell which ones to use, such as"
        " fields: {prompt: FIELD, completion: FIELD}"
    )
    if is_table(row):
        return (
            f"{told}. They hold equally long lists: if these are a table's columns, write a row for each line, such as"
            " pandas.read_json(FILE).to_json(OUT, orient='records', lines=True)"
        )
    return told
