"""Which fields of the rows went into examples, and which texts did not: counted, so that nothing is lost without a word."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

import orjson

from versatune.schemas.config import FieldMap
from versatune.transforms.shapes.base import Example
from versatune.transforms.shapes.field_paths import has_path, paths_of
from versatune.transforms.shapes.noted_row import NotedRow
from versatune.transforms.shapes.prose import reads_as_prose, words_in
from versatune.transforms.transport.field_counts import PROSE, UNUSED, USED, FieldCounts

_MAX_DEPTH = 8
_MAX_LEAVES = 1000
_MAX_SEARCHES = 256
_SEARCHED_CHARS = 2**18
_TEXTS_OF_PATH = 8
_MARK_CHARS = 64
_TEMPLATE_CHARS = 240  # Alpaca's template has 200
_TELLING_CHARS = 8
_MARKS = 2  # a speaker's before a turn and one at its end
_ITEMS_NAMED = 4


class FieldAudit:
    """Counts the fields of rows.

    A field is used in a row if its value was read by the shape (or the field map) that gave the row's examples, or if what
    it says stands in them anyway; it is unused if it holds text and is not used. The same holds of texts inside a field that
    was read: those of several words are looked for in the examples, and counted by path (``messages[].thinking``).
    A row that gave no example is not counted: it is in the books, with a reason.
    """

    def __init__(self, fields: FieldMap | None = None) -> None:
        self._counts = FieldCounts()
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
        self._counts.prune()
        return self._counts

    def add(self, row: NotedRow, examples: Sequence[Example]) -> None:
        """Count the fields of a row that gave these examples."""
        count, read, said = self._counts.count, row.fields_read, _Said(examples)
        for name, value in row.written():
            kind = type(value)
            if name in read:
                if kind is list or kind is dict:
                    count(name, USED)
                    self._inside(name, value, said)
                elif value is not None and value != "":
                    count(name, USED)
            elif kind is str:
                if value and not value.isspace():
                    self._unread(name, value, said)
            elif kind is list or kind is dict:
                self._unread_inside(name, value, said)

    def _unread(self, name: str, text: str, said: _Said) -> None:
        prose = reads_as_prose(text)
        if prose and said.repeats(text):
            self._counts.count(name, USED)
        else:
            self._unused(name, prose=prose)

    def _unread_inside(self, name: str, value: Any, said: _Said) -> None:
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

    def _inside(self, name: str, value: Any, said: _Said) -> None:
        if type(value) is list and all(map(_is_plain_turn, value)):
            return
        found: dict[str, list[bool]] = {}
        for path, text in islice(_texts(value, name, _MAX_DEPTH), _MAX_LEAVES):
            tried = found.setdefault(path, [])
            if True in tried:
                continue
            if said.is_one(text):
                tried.append(True)
            elif len(tried) < _TEXTS_OF_PATH and reads_as_prose(text):
                tried.append(said.holds(text))
        for path, tried in found.items():
            if path != name and tried and True not in tried:
                self._unused(path, prose=True)


class _Said:
    """The texts of a row's examples, in which others are looked for; the cost is bounded by the row's size."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples
        self._left = _MAX_SEARCHES

    @cached_property
    def _contents(self) -> list[str]:
        return list(islice(self._all(), _MAX_LEAVES))

    def _all(self) -> Iterator[str]:
        for messages, tools, rejected, *_ in self._examples:
            yield from (content for _, content in messages)
            yield from (side for side in (tools, rejected) if side is not None)

    @cached_property
    def _exact(self) -> set[str]:
        return set(self._contents)

    @cached_property
    def _joined(self) -> str:
        return "\0".join(self._contents)[:_SEARCHED_CHARS]

    def is_one(self, text: str) -> bool:
        """Say whether a text is one of those of the examples."""
        return text.strip() in self._exact

    def holds(self, text: str) -> bool:
        """Say whether an example holds a text, as it is, written as JSON, or without the marks around it.

        True too where that cannot be told in bounded time: what is said of a field must be right.
        """
        if self.is_one(text):
            return True
        text = text.strip()
        self._left -= 1
        if self._left < 0 or len(text) > _SEARCHED_CHARS or len(self._joined) == _SEARCHED_CHARS:
            return True
        forms = (text, unicodedata.normalize("NFC", text), orjson.dumps(text)[1:-1].decode())
        return any(form in self._joined for form in dict.fromkeys(forms)) or self._holds_bare(text)

    def _holds_bare(self, text: str) -> bool:
        return any(
            len(text) - _MARK_CHARS <= len(content) < len(text)
            and len(content) >= _TELLING_CHARS
            and content in text
            and words_in(text.replace(content, " ", 1)) <= _MARKS
            for content in self._contents
        )

    def repeats(self, text: str) -> bool:
        """Say whether a text says nothing but what the examples say: it is part of one, or a template around all of one's texts."""
        if self._left > 0 and self.holds(text):
            return True
        contents = [content for _, content in self._examples[0].messages]
        size = sum(map(len, contents))
        return size <= len(text) <= size + _TEMPLATE_CHARS and all(content in text for content in contents)


def _is_plain_turn(turn: Any) -> bool:
    return type(turn) is dict and len(turn) == 2 and ("role" in turn or "from" in turn)


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
