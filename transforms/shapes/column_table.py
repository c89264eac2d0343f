"""Tables by column inside a row: ``{"question": ["a", "c"], "answer": ["b", "d"]}``, also by task or topic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from versatune.transforms.shapes.base import Row

_MAX_DEPTH = 4


def column_rows(row: Row) -> list[dict[str, Any]] | None:
    """Return the rows of a row that is a table by column, or holds nothing but such tables; else None."""
    found = list(_rows(dict(row), 0))
    return None if None in found else [item for item in found if item is not None] or None


def is_table(row: Row) -> bool:
    """Say whether all fields are lists, and as long as each other."""
    lengths = {len(column) if isinstance(column, list) else 0 for column in row.values()}
    return len(lengths) == 1 and lengths != {0} and len(row) > 1


def _rows(value: Any, depth: int) -> Iterator[dict[str, Any] | None]:
    """Yield rows, and None for what is no table."""
    if isinstance(value, dict) and is_table(value):
        yield from (dict(zip(value, cells, strict=True)) for cells in zip(*value.values(), strict=True))
    elif isinstance(value, dict) and value and depth < _MAX_DEPTH:
        for inner in value.values():
            yield from _rows(inner, depth + 1)
    else:
        yield None
