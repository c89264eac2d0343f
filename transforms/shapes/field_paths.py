"""Where a field map's paths lead in a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from versatune.schemas.config import FieldMap
from versatune.schemas.field_template import FieldPath, Slot, Template, parse_part
from versatune.transforms.shapes.base import Row

_MOST_DIGITS = 9
_NOTHING = object()


class Items(list[Any]):
    """What a path leads to in each of several objects; any other list stood in the row as it is."""


def value_at(row: Row, path: FieldPath) -> Any:
    """Return what a path leads to, or None.

    A field of exactly the path's name comes first. A number picks an item of a list, from 0; a name in a list of
    objects gives :class:`Items`, the value in each object that has one.
    """
    if path.written in row:
        return row[path.written]
    found = _reach(row, path.steps)
    return None if found is _NOTHING or (isinstance(found, Items) and not found) else found


def has_path(row: Row, path: str) -> bool:
    """Say whether a path leads to something in a row, be it null."""
    return path in row or _reach(row, _as_path(path).steps) is not _NOTHING


def paths_of(fields: FieldMap) -> list[str]:
    """Return every path that a field map names, each once, in the order of its keys."""
    return list(dict.fromkeys(path.written for part in fields.parts() for path in _paths(parse_part(part))))


def _paths(part: FieldPath | Template) -> Iterator[FieldPath]:
    if isinstance(part, FieldPath):
        yield part
    else:
        yield from (piece.path for piece in part.pieces if isinstance(piece, Slot))


def _as_path(path: str) -> FieldPath:
    (parsed,) = _paths(parse_part(path))
    return parsed


def _reach(value: Any, steps: Sequence[str]) -> Any:
    for place, step in enumerate(steps):
        if isinstance(value, dict):
            value = value.get(step, _NOTHING)
        elif not isinstance(value, list):
            return _NOTHING
        elif step.isascii() and step.isdigit() and len(step) <= _MOST_DIGITS:
            value = value[int(step)] if int(step) < len(value) else _NOTHING
        else:
            inner = [_reach(item, steps[place:]) for item in value if isinstance(item, dict)]
            return _flat(inner) if any(item is not _NOTHING for item in inner) else _NOTHING
    return value


def _flat(values: Sequence[Any]) -> Items:
    items = Items()
    for value in values:
        items += value if isinstance(value, Items) else [] if value in (None, _NOTHING) else [value]
    return items
