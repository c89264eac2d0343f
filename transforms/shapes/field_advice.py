"""What to say to a person whose rows fit no shape: a map to paste, or which columns there are."""

from __future__ import annotations

import re
from collections.abc import Sequence

from versatune.schemas.config import FieldMap
from versatune.transforms.shapes.base import Row
from versatune.transforms.shapes.choice_proposal import series
from versatune.transforms.shapes.columns import ENOUGH_ROWS, Column, columns_of
from versatune.transforms.shapes.field_paths import paths_of
from versatune.transforms.shapes.field_proposal import asked_of, turns_of
from versatune.transforms.shapes.field_yaml import fields_yaml

ADVISED = ("unknown_shape", "missing_answer", "missing_prompt", "missing_document", "wrong_type", "no_answer")
"""Reasons of rejection that another choice of fields may mend."""
_SHOWN_COLUMNS = 6
_NAMED_COLUMNS = 3
_SAMPLE_CHARS = 30
_PRIVATE = re.compile(r"@|(\d[ -]?){9}")
_PRIVATE_WORDS = frozenset("email mail phone password passwd token secret key ssn iban card address ip".split())  # noqa: SIM905


def advice(fields: FieldMap | None, rows: Sequence[Row]) -> str:
    """Say what to do with rows that fit no shape, in a sentence or three.

    Args:
        fields: the map that is proposed for them, if one is.
        rows: some of them.
    """
    columns = columns_of(rows)
    if fields is None:
        return _without_map(columns)
    if fields.text is not None:
        return f"One column holds long texts; to go on pre-training with them: {fields_yaml(fields)}"
    used = set(paths_of(fields))
    within = tuple(f"{path}." for path in used)
    others = [column for column in columns if column.path not in used and not column.path.startswith(within)]
    others = [column for column in others if not column.names_no_text]
    more = f" Not used: {', '.join(_shown(column) for column in others[:_SHOWN_COLUMNS])}." if others else ""
    return f"By names and values of the columns, try: {fields_yaml(fields)}.{more}"


def _without_map(columns: Sequence[Column]) -> str:
    asked = asked_of(columns)
    labels = [column for column in columns if column.is_label and not column.names_no_text and not column.listed]
    labels = [column for column in labels if column.is_few or len(column.values) < ENOUGH_ROWS]
    answers = [column for column in labels if column.is_answer]
    listed = [column for column in columns if column.listed]
    if turns_of(columns) is not None and not any(column.is_prompt and not column.listed for column in columns):
        return "No field beside the turns looks like the answer to them."
    alike = [column for column in series(columns) if column.is_text]
    if len(listed) > 1 and not any(column.is_text for column in columns):
        return f"{_names(listed)} hold lists where a row has one text. Write a row for each of their items."
    if len(alike) > 1 and any(column.is_text for column in columns if column not in alike):
        why = f"{_names(alike)} are alike, and no column says which of them is right"
    elif asked and (answers or (labels and not asked.is_prompt)):
        return _for_labels(asked, answers or sorted(labels, key=lambda column: not column.is_few))
    elif asked and asked.is_prompt:
        why = f"'{asked.path}' asks, and no column looks like its answer"
    else:
        why = "no two columns are surely a prompt and its answer"
    there = ", ".join(map(_shown, columns[:_SHOWN_COLUMNS])) or "none that hold text"
    if len(columns) > _SHOWN_COLUMNS:
        there += f" and {len(columns) - _SHOWN_COLUMNS} more"
    return (
        f"{why[0].upper()}{why[1:]}. The columns: {there}. Say what they are: fields: {{prompt: FIELD, completion: FIELD}} or"
        " fields: {text: FIELD}; or take the file out of the source."
    )


def _for_labels(text: Column, labels: Sequence[Column]) -> str:
    label = labels[0]
    name = (
        "label"
        if label.has_no_name or label.steps[-1].isdigit()
        else label.steps[-1].strip().replace("{", "{{").replace("}", "}}")
    )
    stated = FieldMap(prompt=f"Which {name} is this?\n\n{text.slot}", completion=label.path)
    return (
        f"'{label.path}' holds {_short_texts(len(set(label.values)))}, as for training a classifier, and nothing says what is"
        f" asked. To learn to answer with them, say it: {fields_yaml(stated)}; to learn the texts alone:"
        f" {fields_yaml(FieldMap(text=text.path))}"
    )


def _short_texts(number: int) -> str:
    return f"{number} different short texts" if number > 1 else "one short text"


def _names(columns: Sequence[Column]) -> str:
    more = f" and {len(columns) - _NAMED_COLUMNS} more" if len(columns) > _NAMED_COLUMNS else ""
    return ", ".join(f"'{column.path}'" for column in columns[:_NAMED_COLUMNS]) + more


def _shown(column: Column) -> str:
    """Return a column's name with the beginning of one of its values, unless that may be somebody's."""
    value = " ".join(column.values[0].split())
    if _PRIVATE.search(value) or _PRIVATE_WORDS & set(column.words):
        return f"'{column.path}'"
    cut = value if len(value) <= _SAMPLE_CHARS else value[:_SAMPLE_CHARS].rstrip() + "..."
    return f"'{column.path}' ({''.join(char if char.isprintable() else '?' for char in cut)})"
