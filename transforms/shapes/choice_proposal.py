"""A multiple choice that no shape knows: a question, columns that are alike, and one that says which of them is right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from versatune.transforms.shapes.columns import Column

_SERIES = re.compile(r"(.*?)[\s_.(\[-]*([0-9]|[a-jA-J])[)\].]?")
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
_KEY_WORDS = frozenset("answer key correct right gold label solution target".split())  # noqa: SIM905
_KEY_LETTER = re.compile(r"\(?([A-Ja-j])[).]?")
_COUNTS = tuple(map(str, range(11)))
_MOST = 10
_ENOUGH_ROWS = 8
_MANY_ROWS = 20


class Choice(NamedTuple):
    """What was found."""

    options: list[Column]
    key: Column
    first: int | None
    """The number by which the key calls the first option; None where it is no number."""


def find_choice(columns: Sequence[Column]) -> Choice | None:
    """Return the options and their key, or None where they are not sure."""
    options = series(columns)
    if options:
        others = [column for column in columns if column not in options and not column.listed]
        found = [choice for key in others if (choice := _keyed(key, options))]
        by_name = [choice for choice in found if _KEY_WORDS & set(choice.key.words)]
        found = by_name or [choice for choice in found if choice.first is None]
    else:
        found = _by_place(columns)
        found = [choice for choice in found if choice.first is None] or found
    return found[0] if len(found) == 1 else None


def series(columns: Sequence[Column]) -> list[Column]:
    """Return columns that are alike by their names, which differ in a last digit or letter or are ordinals; at least two."""
    stems: dict[tuple[str, ...], dict[str, Column]] = {}
    for column in columns:
        match = _SERIES.fullmatch(column.steps[-1])
        if match and not column.listed and not column.has_no_name:
            stems.setdefault((*column.steps[:-1], match[1].casefold()), {})[match[2].casefold()] = column
    found = [list(members.values()) for members in stems.values() if len(members) > 1 and set("01a") & set(members)]
    ordinals = [column for column in columns if len(column.words) and column.words[0] in _ORDINALS]
    return max([*found, ordinals if len(ordinals) > 1 else []], key=len)


def _by_place(columns: Sequence[Column]) -> list[Choice]:
    """Return the choices in columns without names: the options stand between the question and the key, or after both."""
    if not columns or not all(column.has_no_name for column in columns):
        return []
    asked = next((place for place, column in enumerate(columns) if column.asks), None)
    if asked is None:
        asked = max(range(len(columns)), key=lambda place: columns[place].chars)
    found = []
    for place, key in enumerate(columns):
        between = columns[asked + 1 : place]
        options = list(between) if between else list(columns[max(asked, place) + 1 :])
        choice = _keyed(key, options) if place != asked and _are_alike(options) else None
        if choice is not None:
            found.append(choice)
    return found


def _are_alike(options: Sequence[Column]) -> bool:
    """Say whether columns may be options of the same questions: all numbers or none, all few values or none."""
    enough = all(len(column.values) >= _ENOUGH_ROWS for column in options)
    return len({column.is_number for column in options}) == 1 and (
        not enough or len({column.is_few for column in options}) == 1
    )


def _keyed(key: Column, options: list[Column]) -> Choice | None:
    """Return the choice that this column decides, if it names one of the options in every row."""
    if not 2 <= len(options) <= _MOST or not all(key.cells):
        return None
    letters = [_KEY_LETTER.fullmatch(cell) for cell in key.cells]
    if all(letters):
        last = max(ord(letter[1].upper()) - ord("A") for letter in letters if letter)
        never = last + 1 < len(options) and len(letters) >= _MANY_ROWS  # then the last column is hardly an option
        return Choice(options, key, None) if last < len(options) and not never else None
    is_text = all(cell in [option.cells[row] for option in options] for row, cell in enumerate(key.cells))
    counts = all(cell in _COUNTS for cell in key.cells)
    if is_text or not counts:
        return Choice(options, key, None) if is_text and not counts else None
    numbers = set(map(int, key.cells))
    if 0 in numbers:
        return Choice(options, key, 0) if max(numbers) < len(options) else None
    return Choice(options, key, 1) if max(numbers) == len(options) else None  # else nobody knows where it counts from
