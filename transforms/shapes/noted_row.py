"""A row that notes which of its fields were read."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, ValuesView
from typing import Any, NamedTuple

from versatune.transforms.shapes.base import Row


class Renaming(NamedTuple):
    """Other names for the fields of rows that all have the same; of two fields that get one name the last stays."""

    names: dict[str, str]
    """By the name that is written."""
    written: dict[str, str]
    """By the other name."""

    @classmethod
    def by(cls, rename: Callable[[str], str], names: Iterable[str]) -> Renaming:
        """Apply a function to each name."""
        other = {name: rename(name) for name in names}
        return cls(other, {renamed: name for name, renamed in other.items()})


class NotedRow(dict[str, Any]):
    """A row that notes the name of every field whose value is asked for.

    To ask whether a field is there, or to go through the names, notes nothing. To take all values, or to copy the row,
    notes all names.
    """

    __slots__ = ("_read", "_renaming")

    def __init__(self, row: dict[str, Any]) -> None:
        super().__init__(row)
        self._read: set[str] = set()
        self._renaming: Renaming | None = None

    @property
    def fields_read(self) -> set[str]:
        """The names of the fields that were read, as they are written in the row."""
        if self._renaming is None:
            return self._read
        written = self._renaming.written
        return {written[name] for name in self._read if name in written}

    def written(self) -> ItemsView[str, Any]:
        """Return everything without a note."""
        return dict.items(self)

    def renamed(self, renaming: Renaming) -> NotedRow:
        """Return the row under other names; what it notes is noted here too."""
        self._renaming, names = renaming, renaming.names
        other = NotedRow({names[name]: value for name, value in dict.items(self)})
        other._read = self._read
        return other

    def forget(self) -> None:
        """Note anew: whoever read so far made no use of it."""
        self._read.clear()

    def __getitem__(self, name: str) -> Any:
        self._read.add(name)
        return dict.__getitem__(self, name)

    def __iter__(self) -> Iterator[str]:  # without it a copy would take the values past __getitem__
        return dict.__iter__(self)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field's value, noted."""
        self._read.add(name)
        return dict.get(self, name, default)

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]  # typeshed's own kind of view has no public name
        """Return everything, noted."""
        self._read.update(self)
        return dict.items(self)

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        """Return all values, noted."""
        self._read.update(self)
        return dict.values(self)


def renamed(row: Row, renaming: Renaming) -> Row:
    """Return a row under other names."""
    if isinstance(row, NotedRow):
        return row.renamed(renaming)
    return {renaming.names[name]: value for name, value in row.items()}


def forget(row: Row) -> None:
    """Forget what was read of a row that notes it."""
    if isinstance(row, NotedRow):
        row.forget()
