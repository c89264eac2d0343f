"""A row that notes which of its fields were read."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, ValuesView
from typing import Any

from versatune.transforms.shapes.base import Row


class NotedRow(dict[str, Any]):
    """A row that notes the name of every field whose value is asked for.

    To ask whether a field is there, or to go through the names, notes nothing. To take all values, or to copy the row,
    notes all names.
    """

    __slots__ = ("_names", "_read")

    def __init__(self, row: dict[str, Any]) -> None:
        super().__init__(row)
        self._read: set[str] = set()
        self._names: dict[str, str] | None = None

    @property
    def fields_read(self) -> set[str]:
        """The names of the fields that were read, as they are written in the row."""
        names = self._names
        return self._read if names is None else {names[name] for name in self._read if name in names}

    def written(self) -> ItemsView[str, Any]:
        """Return everything without a note."""
        return dict.items(self)

    def renamed(self, rename: Callable[[str], str]) -> NotedRow:
        """Return the row under other names (of two fields that get one name the last stays); what it notes is noted here too."""
        self._names = {rename(name): name for name in self}
        other = NotedRow({rename(name): value for name, value in dict.items(self)})
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


def renamed(row: Row, rename: Callable[[str], str]) -> Row:
    """Return a row under other names; of two fields that get one name the last stays."""
    if isinstance(row, NotedRow):
        return row.renamed(rename)
    return {rename(name): value for name, value in row.items()}


def forget(row: Row) -> None:
    """Forget what was read of a row that notes it."""
    if isinstance(row, NotedRow):
        row.forget()
