"""A field map that nobody wrote, for a person to look at: proposed only where names and values are evidence for it."""

from __future__ import annotations

from collections.abc import Sequence

from versatune.schemas.config import FieldMap
from versatune.schemas.field_template import written_path
from versatune.transforms.shapes.base import Row, RowError
from versatune.transforms.shapes.choice_proposal import Choice, find_choice, series
from versatune.transforms.shapes.columns import Column, columns_of
from versatune.transforms.shapes.conversation import check_turns
from versatune.transforms.shapes.field_map import mapped_examples

_DOCUMENT_CHARS = 200
_SENTENCE_CHARS = 40
_SENTENCE_ENDS = (".", "!", "。", "！", "…")
_READ_SHARE = 0.9
_OPTIONS = ("choices", "options", "candidates", "alternatives", "answer_choices")


def propose_fields(rows: Sequence[Row]) -> FieldMap | None:
    """Return a field map for rows that fit no shape, or None where nothing says enough.

    An answer needs a name that says so, or to be the one column of sentences beside one of questions where columns have
    no names. It is never one of several columns that are alike, nor a few short texts again and again, nor a column of
    questions. Columns that are alike, with one that says which of them is right, are a multiple choice. One column of
    long texts alone is a document. The map reads the rows; it is for a person to look at, and never used by
    itself.
    """
    columns = columns_of(rows)
    choice = find_choice(columns)
    if choice:
        candidates = [_with_choices(columns, choice)]
    else:
        candidates = [_with_turns(columns), _with_listed_choices(columns), _pair(columns) or _document(columns)]
    return next((fields for fields in candidates if fields is not None and _reads(fields, rows)), None)


def _with_choices(columns: Sequence[Column], choice: Choice) -> FieldMap | None:
    rest = [column for column in columns if column not in (*choice.options, choice.key)]
    asked = asked_of(rest)
    if asked is None:
        return None
    return FieldMap(
        prompt=asked.path,
        context=_path(_only([column for column in rest if column.is_context and column is not asked])),
        choices=[option.path for option in choice.options],
        completion=choice.key.path,
        first_choice=choice.first,  # type: ignore[arg-type]
    )


def _with_turns(columns: Sequence[Column]) -> FieldMap | None:
    """Return the map for turns whose last answer stands beside them."""
    turns = turns_of(columns)
    answer = answer_of([column for column in columns if not column.listed])
    return FieldMap(messages=turns, completion=answer.path) if turns and answer else None


def turns_of(columns: Sequence[Column]) -> str | None:
    """Return the path of the one list of turns, if there is one: objects with a speaker and a content."""
    listed = {column.steps for column in columns if column.listed}
    found = [
        steps[0]
        for steps in listed
        if (steps[1:] == ("content",) and (steps[0], "role") in listed)
        or (steps[1:] == ("value",) and (steps[0], "from") in listed)
    ]
    return written_path(found[0]) if len(found) == 1 else None


def _with_listed_choices(columns: Sequence[Column]) -> FieldMap | None:
    """Return the map for options that stand in one field, and a column of letters that says which of them is right."""
    options = next(
        (column.steps[0] for column in columns if column.listed and column.steps[0].casefold() in _OPTIONS), None
    )
    keys = [column for column in columns if column.is_key and not column.listed]
    asked = asked_of([column for column in columns if not column.listed and column not in keys])
    if options is None or len(keys) != 1 or asked is None:
        return None
    return FieldMap(prompt=asked.path, choices=options, completion=keys[0].path)


def _pair(columns: Sequence[Column]) -> FieldMap | None:
    answer = answer_of(columns)
    if answer is None:
        return None
    unit = _only([column for column in columns if column.is_unit and column is not answer])
    others = [column for column in columns if column not in (answer, unit)]
    system = _only([column for column in others if column.is_system and not column.is_label])
    rest = [column for column in others if column is not system and not (column.is_answer or column.may_be_answer)]
    asked = asked_of(rest)
    if asked is None or (answer.asks and not asked.asks) or answer.is_key:
        return None
    about = [column for column in rest if column is not asked and not (column.is_label or column.is_prompt)]
    about = [
        column for column in about if not column.names_no_text and written_path(column.steps[0]) != turns_of(columns)
    ]
    context = [column for column in about if column.is_context]
    if not context and asked.is_few:  # the same words before every text say nothing alone
        context = [column for column in about if column.is_text]
    return FieldMap(
        prompt=_prompt(asked, rest),
        completion=f"{answer.slot} {unit.slot}" if unit and answer.is_number else answer.path,
        context=_joined(context),
        system=_path(system),
    )


def _document(columns: Sequence[Column]) -> FieldMap | None:
    alone = _only([column for column in columns if column.is_text])
    if alone is None or alone.is_prompt or alone.asks or alone.is_answer or alone.chars < _DOCUMENT_CHARS:
        return None
    return FieldMap(text=alone.path)


def answer_of(columns: Sequence[Column]) -> Column | None:
    """Return the column that holds the answers, if one does and no other might as well."""
    alike = series(columns)
    free = [column for column in columns if column not in alike and not column.listed and not column.is_few]
    named = [column for column in free if column.is_answer]
    if len(named) > 1:
        named = [column for column in named if column.is_right_answer] or named
    if len(named) > 1 and any(column.is_unit for column in columns):  # the unit belongs to a number
        numbers = [column for column in named if column.is_number]
        named = [column for column in numbers if {"number", "value", "numeric"} & set(column.words)] or numbers[:1]
    if not named and not any(column.is_answer for column in columns):
        maybe = [column for column in free if column.may_be_answer and column.is_text]
        named = maybe if any(column.is_prompt or column.asks for column in columns if column not in maybe) else []
        named = named or _answers_by_place(columns)
    return _only(named)


def _answers_by_place(columns: Sequence[Column]) -> list[Column]:
    """Return what stands beside questions where columns have no names: the one column of sentences that asks nothing."""
    texts = [column for column in columns if column.is_text]
    if len(texts) != 2 or not all(column.has_no_name for column in texts) or texts[0].asks == texts[1].asks:
        return []
    return [column for column in texts if not column.asks and _are_sentences(column)]


def _are_sentences(column: Column) -> bool:
    ended = sum(value.endswith(_SENTENCE_ENDS) or len(value) >= _SENTENCE_CHARS for value in column.values)
    return 2 * ended >= len(column.values)


def asked_of(columns: Sequence[Column]) -> Column | None:
    """Return the column that asks: by its name, by its question marks, by a name that may ask, or as the one that is left."""
    texts = [column for column in columns if column.is_text]
    for candidates in (
        [column for column in columns if column.is_prompt and not (column.is_number or column.listed)],
        [column for column in texts if column.asks],
        [column for column in texts if column.may_be_prompt],
        [column for column in texts if not column.is_context],
        texts,
    ):
        if candidates:
            return candidates[0] if len(candidates) == 1 or candidates[0].is_prompt else None
    return None


def _prompt(asked: Column, others: Sequence[Column]) -> str:
    """Return what the prompt is made of: all columns that ask by their names, in the rows' order, and options that are text."""
    named = [column for column in others if not column.listed and column is not asked]
    options = [column for column in named if column.path.casefold() in _OPTIONS]
    more = [column for column in named if column.is_prompt or column in options]
    together = [column for column in others if column is asked or (column in more and column not in options)] + options
    return "\n\n".join(column.slot for column in together) if more else asked.path


def _joined(columns: Sequence[Column]) -> str | None:
    return "\n\n".join(column.slot for column in columns) if len(columns) > 1 else _path(_only(columns))


def _only(columns: Sequence[Column]) -> Column | None:
    return columns[0] if len(columns) == 1 else None


def _path(column: Column | None) -> str | None:
    return column.path if column else None


def _reads(fields: FieldMap, rows: Sequence[Row]) -> bool:
    """Say whether a map reads nearly all of the rows that have something where it looks, and half of all."""
    read = lacking = 0
    for row in rows:
        try:
            read += all(check_turns(example.messages) for example in mapped_examples(row, fields))
        except RowError as error:
            lacking += error.reason.startswith(("missing_", "empty_"))
    return 2 * read >= len(rows) and read >= _READ_SHARE * (len(rows) - lacking)
