"""Which fields of the rows went into examples, and which texts did not: counted, so that nothing is lost without a word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import orjson

from versatune.schemas.config import FieldMap
from versatune.transforms.shapes.base import Example
from versatune.transforms.shapes.example_texts import ExampleTexts
from versatune.transforms.shapes.field_paths import has_path, paths_of
from versatune.transforms.shapes.noted_row import NotedRow
from versatune.transforms.shapes.prose import reads_as_prose
from versatune.transforms.transport.field_counts import PROSE, UNUSED, USED, FieldCounts

_MAX_DEPTH = 8
_MAX_LEAVES = 1000
_TEXTS_OF_PATH = 8
_ITEMS_NAMED = 4
_MAX_TOGETHER = 64
_TURN_KEYS = frozenset(("role", "from", "content", "value"))


class FieldAudit:
    """Counts the fields of rows.

    A field is used in a row if its value was read by the shape (or the field map) that gave the row's examples, or if what
    it says stands in them anyway; it is unused if it holds text and is not used. The same holds of texts inside a field that
    was read: those of several words are looked for in the examples, and counted by path (``messages[].thinking``).
    A row that gave no example is not counted: it is in the books, with a reason.
    """

    def __init__(self, fields: FieldMap | None = None) -> None:
        self._counts = FieldCounts()
        self._used: dict[tuple[str, ...], int] = {}
        self._mapped = paths_of(fields) if fields is not None else []

    def noted(self, row: dict[str, Any]) -> NotedRow:
        """Return a row that notes what is read of it; count which mapped fields it has."""
        if self._mapped:
            mapped = self._counts.mapped
            for path in self._mapped:
                here = has_path(row, path)
                mapped[path] = mapped.get(path, 0) + here
                if not here:
                    for name in islice(_paths(row), _MAX_LEAVES):
                        self._counts.name(name)
        return NotedRow(row)

    def counted(self) -> FieldCounts:
        """Return what was counted."""
        self._count_used()
        self._counts.prune()
        return self._counts

    def add(self, row: NotedRow, examples: Sequence[Example]) -> None:
        """Count the fields of a row that gave these examples."""
        read, said = row.fields_read, None
        used: list[str] = []
        for name, value in row.written():
            kind = type(value)
            nested = kind is list or kind is dict
            if name in read:
                if value is not None and value != "":
                    used.append(name)
                    if nested:
                        said = said or ExampleTexts(examples)
                        self._inside(name, value, said)
            elif nested or (kind is str and value and not value.isspace()):
                said = said or ExampleTexts(examples)
                (self._unread_inside if nested else self._unread)(name, value, said)
        together = tuple(used)  # most rows use the same fields
        self._used[together] = self._used.get(together, 0) + 1
        if len(self._used) > _MAX_TOGETHER:
            self._count_used()

    def _count_used(self) -> None:
        for names, rows in self._used.items():
            for name in names:
                self._counts.count(name, USED, rows)
        self._used.clear()

    def _unread(self, name: str, text: str, said: ExampleTexts) -> None:
        prose = reads_as_prose(text)
        if prose and said.repeats(text):
            self._counts.count(name, USED)
        else:
            self._unused(name, prose=prose)

    def _unread_inside(self, name: str, value: Any, said: ExampleTexts) -> None:
        texts = [text for _, text in islice(_texts(value, name, _MAX_DEPTH), _MAX_LEAVES)]
        if texts:
            looked_at = texts[:_TEXTS_OF_PATH]
            prose = [text for text in looked_at if reads_as_prose(text)]
            # Of a list of names one or the other has several words.
            says_something = 2 * sum(map(len, prose)) >= sum(map(len, looked_at))
            self._unused(name, prose=says_something and not any(map(said.holds, prose)))

    def _unused(self, name: str, *, prose: bool) -> None:
        self._counts.count(name, UNUSED)
        if prose:
            self._counts.count(name, PROSE)

    def _inside(self, name: str, value: Any, said: ExampleTexts) -> None:
        found: dict[str, list[bool]] = {}
        for path, text in islice(_texts_beside_turns(value, name), _MAX_LEAVES):
            tried = found.setdefault(path, [])
            if True in tried:
                continue
            if said.is_one(text):
                tried.append(True)
            elif len(tried) < _TEXTS_OF_PATH and reads_as_prose(text):
                tried.append(said.holds(text, in_marks=True))
        for path, tried in found.items():
            if path != name and tried and True not in tried:
                self._unused(path, prose=True)


def _texts_beside_turns(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield the texts in a value; of turns, whose content is text, those beside speaker and content."""
    if type(value) is not list:
        yield from _texts(value, path, _MAX_DEPTH)
        return
    for item in value:
        if type(item) is dict and _is_turn(item):
            if len(item) > 2:
                beside = {key: inner for key, inner in item.items() if key not in _TURN_KEYS and inner}
                yield from _texts([beside], path, _MAX_DEPTH)
        else:
            yield from _texts([item], path, _MAX_DEPTH)


def _is_turn(item: dict[str, Any]) -> bool:
    return ("role" in item and type(item.get("content")) is str) or ("from" in item and type(item.get("value")) is str)


def _texts(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield the texts in a value with their paths; texts that are JSON are looked into."""
    if isinstance(value, str):
        if not value or value.isspace():
            return
        inner = _json(value) if depth else None
        if inner is None:
            yield path, value
        else:
            yield from _texts(inner, path, depth - 1)
    elif depth and isinstance(value, list):
        step = path if path.endswith("[]") else f"{path}[]"
        for item in value:
            if type(item) is str and item[:1].isalnum():  # no JSON: the common item, without a generator of its own
                yield step, item
            else:
                yield from _texts(item, step, depth - 1)
    elif depth and isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, _below(path, name, inner), depth - 1)


def _below(path: str, name: str, value: Any) -> str:
    """Return the path of a field of an object. Objects that are numbered by name, or lie in their like, are the items of one list."""
    if isinstance(value, dict) and name[-1:].isdigit():
        name = name.rstrip("0123456789") + "*"
    return path if isinstance(value, list) and path.endswith(f"{name}[]") else f"{path}.{name}"


def _json(text: str) -> Any:
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _paths(value: Any, prefix: str = "", depth: int = 3) -> Iterator[str]:
    """Yield the paths that a field map may name, in the first objects of lists too."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield prefix + name
            if depth and isinstance(inner, dict | list):
                yield from _paths(inner, f"{prefix}{name}.", depth - 1)
    else:
        for item in value[:_ITEMS_NAMED]:
            if isinstance(item, dict):
                yield from _paths(item, prefix, depth - 1)
