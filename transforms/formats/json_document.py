"""JSON that is no JSON Lines: an array, an object that holds rows in one of several layouts, values one after the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from versatune.transforms.formats.blocks import Blocks
from versatune.transforms.formats.encoding import dump_row
from versatune.transforms.formats.fault import FormatError, bounded
from versatune.transforms.formats.json_scan import CutShortError, Scanner
from versatune.transforms.formats.splits import ALL, TRAIN, is_split_word, split_name
from versatune.transforms.shapes import exact_json
from versatune.transforms.shapes.column_table import is_table
from versatune.transforms.shapes.registry import has_shape
from versatune.transforms.transport.batch import RowFault

COLUMNS_BYTES = 128 * 2**20
"""The largest column-oriented document that is read: its first row is whole only when its last column is there."""

_WRAPPERS = frozenset(
    """
    data rows row records record items examples example samples instances entries dataset documents docs articles results
    questions conversations dialogs dialogues train training validation valid val dev test
    """.split()  # noqa: SIM905
)
_OF_A_ROW = frozenset(
    """
    instruction question prompt input output answer completion response text context query
    """.split()  # noqa: SIM905
)
_SPEAKER = frozenset({"role", "from", "speaker", "author"})
_LOOKED_AT = 20  # rows that tell for the others


class Layout(NamedTuple):
    """What one JSON object is."""

    kind: str
    """row, keyed (its values are the rows), wrapped (one list is), splits (each list or object is a split), or columns, indexed_columns, split (tables by column)."""
    key: str = ""
    """Of the list of rows in a wrapped one."""


def rows(
    blocks: Blocks, max_row_bytes: int, split: str | None = None, note: Callable[[str], None] = lambda _: None
) -> Iterator[bytes | RowFault]:
    """Yield each row as the bytes that stand in the file; rows of column-oriented documents are written anew.

    Args:
        blocks: the text.
        max_row_bytes: a larger row comes out as a fault.
        split: of an object whose keys are splits, which to read: a name, ``all``, or None for the training split alone.
        note: told which splits are left out.

    Raises:
        FormatError: not JSON, cut short, an object of which it cannot be told what its rows are, or without such a split.
    """
    scanner = Scanner(blocks, max_row_bytes)
    if scanner.peek() == b"[":
        _refuse_split(split)
        yield from _items(scanner)
        if scanner.peek():
            raise scanner.error("the end of the file, since its first value, a list, ends here,")
        return
    if scanner.peek() != b"{":
        raise scanner.error("JSON (an object a line, a list of objects, or an object of objects)")
    beginning, whole = scanner.ahead()
    if whole:
        scanner.value()
        if not scanner.peek():
            yield from _rows_of(beginning, max_row_bytes, split, note)
            return
        _refuse_split(split)
        yield beginning
        yield from _values(scanner)
        return
    layout = layout_of(_prefix(beginning), whole=False)
    if layout.kind == "splits":
        yield from _of_split(scanner, split, note, max_row_bytes)
        return
    _refuse_split(split)
    if layout.kind in {"columns", "indexed_columns", "split"}:
        text = scanner.rest(COLUMNS_BYTES)
        if text is None:
            raise FormatError(
                f"found a table by column of more than {COLUMNS_BYTES // 2**20} MiB, which cannot be read row by row."
                " Write it as JSON Lines, e.g. pandas.read_json(FILE).to_json(OUT, orient='records', lines=True)"
            )
        yield from _table(text, layout, max_row_bytes)
    elif layout.kind in {"keyed", "wrapped"}:
        yield from _members(scanner, layout)
        if scanner.peek():
            raise scanner.error("the end of the file, since its first value, an object of rows, ends here,")
    else:
        yield from _values(scanner)


def layout_of(value: dict[str, Any], *, whole: bool) -> Layout:
    """Say what an object is by its keys and the types of its values; what is large tells by its beginning.

    Raises:
        FormatError: more than one list could be that of the rows.
    """
    values = list(value.values())
    if _are_splits(value, whole=whole):
        return Layout("splits")
    wrapper = _wrapper(value, whole=whole)
    if wrapper is not None:
        return Layout("wrapped", wrapper)
    if _all_lists(value.get("data")) and isinstance(value.get("columns"), list):
        return Layout("split")
    if values and all(isinstance(column, list) and not _turns(column) for column in values):
        lengths = {len(column) for column in (values if whole else values[:-1])}
        if (len(lengths) == 1 and lengths != {0}) or (not whole and not lengths):
            return Layout("columns" if not whole or has_shape(tuple(value)) else "row")
    objects = [row for row in values if isinstance(row, dict)]
    if not objects or 10 * len(objects) < 9 * len(values):
        return Layout("row")
    if len(objects) == len(values) and _same_numbered_keys(objects, whole=whole):
        return Layout("indexed_columns")
    return Layout("keyed" if _alike(value, objects, whole=whole) else "row")


def _are_splits(value: dict[str, Any], *, whole: bool) -> bool:
    """Say whether an object holds lists of rows by the names of splits; of a large one the other splits may come later."""
    kind = list if not whole or any(isinstance(rows, list) for rows in value.values()) else dict
    names = [key for key, rows in value.items() if is_split_word(key) and isinstance(rows, kind)]
    if len(names) < (2 if whole else 1) or (whole and TRAIN not in map(split_name, names)):
        return False
    if any(isinstance(rows, dict | list) for key, rows in value.items() if key not in names):
        return False
    lists = [value[name] for name in names]
    if kind is dict:  # of rows by their ids, or of columns
        return all(_all(dict, [*rows.values()]) or _all(list, [*rows.values()]) for rows in lists)
    return all((_all(dict, rows) and not _turns(rows)) or _all(list, rows) for rows in lists)


def _wrapper(value: dict[str, Any], *, whole: bool) -> str | None:
    """Return the key of the one list of rows."""
    tables = [key for key, rows in value.items() if _is_table(rows)]
    if not tables and len(value) == 1 and next(iter(value.values())) == []:
        return next(key for key in value) if next(iter(value)).casefold() in _WRAPPERS else None
    named = [key for key in tables if key.casefold() in _WRAPPERS]
    if len(named) > 1:
        raise _ambiguous(named)
    if len(tables) != 1:
        return None
    row_like = any(key.casefold() in _OF_A_ROW for key in value)
    if len(value) == 1 or (named and not row_like) or not whole:
        return tables[0]
    return None


def _ambiguous(keys: list[str]) -> FormatError:
    names = ", ".join(f"'{key[:40]}'" for key in keys[:5])
    return FormatError(
        f"found an object with several lists of objects ({names}). Expected one list of rows; write each list to a file"
        " of its own"
    )


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and not _turns(value) and _all(dict, value)


def _all_lists(value: Any) -> bool:
    return isinstance(value, list) and _all(list, value)


def _all(kind: type, values: list[Any]) -> bool:
    return all(isinstance(item, kind) for item in values[:_LOOKED_AT])


def _turns(value: list[Any]) -> bool:
    """Say whether a list is one conversation, and not rows."""
    return bool(value) and all(isinstance(turn, dict) and _SPEAKER & turn.keys() for turn in value[:_LOOKED_AT])


def _same_numbered_keys(columns: list[dict[str, Any]], *, whole: bool) -> bool:
    """Say whether these are pandas' columns: objects of cells by row number."""
    first = columns[0].keys()
    if not first or not all(key.isdecimal() for key in islice(first, _LOOKED_AT)):
        return False
    cells = (cell for column in columns[:_LOOKED_AT] for cell in islice(column.values(), _LOOKED_AT))
    if all(isinstance(cell, dict) for cell in cells):
        return False  # rows by number, by the name of their part
    others = columns[1:] if whole else columns[1:-1]
    return all(column.keys() == first for column in others)


def _alike(value: dict[str, Any], objects: list[dict[str, Any]], *, whole: bool) -> bool:
    """Say whether objects are rows: their keys look like ids, or they share fields."""
    if all(any(map(str.isdecimal, key)) for key in islice(value, _LOOKED_AT)):
        return True
    if len(objects) == 1:
        return not whole
    first = objects[0].keys()
    others = objects[1:_LOOKED_AT]
    return 2 * sum(bool(first & row.keys()) or first == row.keys() for row in others) >= len(others)


def _items(scanner: Scanner) -> Iterator[bytes | RowFault]:
    """Yield the items of the list that comes next."""
    scanner.expect(b"[")
    while not scanner.skip(b"]"):
        yield scanner.value()
        if not scanner.skip(b","):
            scanner.expect(b"]")
            return


def _values(scanner: Scanner) -> Iterator[bytes | RowFault]:
    """Yield values one after the other, each on as many lines as it likes; commas may stand between."""
    while scanner.peek():
        if not scanner.skip(b","):
            yield scanner.value()


def _of_split(
    scanner: Scanner, split: str | None, note: Callable[[str], None], max_row_bytes: int
) -> Iterator[bytes | RowFault]:
    """Yield the rows of one split, or of all, of the object that comes next."""
    read, left_out = [], []
    for key in _entries(scanner):
        name = _text(key)
        if not is_split_word(name) or scanner.peek() not in {b"[", b"{"}:
            scanner.value()
        elif split == ALL or split_name(name) == split_name(split or TRAIN):
            read.append(name)
            yield from _items(scanner) if scanner.peek() == b"[" else _of_inner(scanner.value(), max_row_bytes)
        else:
            left_out.append(name)
            for _ in _items(scanner) if scanner.peek() == b"[" else [scanner.value()]:
                pass
    if not read:
        raise FormatError(
            f"found the splits {', '.join(left_out)} and not '{split or TRAIN}'. Name one of them, or all, as the source's 'split'"
        )
    if left_out:
        note(
            f"read the split {', '.join(read)}; left out {', '.join(left_out)}. To read another, or every one, add to the source:"
            " split: NAME, or split: all"
        )


def _of_inner(text: bytes | RowFault, max_row_bytes: int) -> Iterator[bytes | RowFault]:
    """Yield the rows of a split that is an object itself."""
    if isinstance(text, RowFault):
        yield text
    else:
        yield from _rows_of(text, max_row_bytes, None, lambda _: None)


def _refuse_split(split: str | None) -> None:
    """Raise FormatError where a split is asked for and there are none."""
    if split not in {None, ALL}:
        raise FormatError(f"found no object of splits, and the source's 'split' asks for '{split}'. Take 'split' out")


def _entries(scanner: Scanner) -> Iterator[bytes | RowFault]:
    """Yield the keys of the object that comes next; the caller passes the values."""
    scanner.expect(b"{")
    while not scanner.skip(b"}"):
        if scanner.peek() != b'"':
            raise scanner.error("a key in quotes")
        key = scanner.value()
        scanner.expect(b":")
        yield key
        if not scanner.skip(b","):
            scanner.expect(b"}")
            return


def _members(scanner: Scanner, layout: Layout) -> Iterator[bytes | RowFault]:
    """Yield the rows of an object that is too large to be one."""
    for key in _entries(scanner):
        if layout.kind == "keyed":
            yield scanner.value()
        elif scanner.peek() == b"[" and _text(key) == layout.key:
            yield from _items(scanner)
        else:
            passed = scanner.value()
            if isinstance(passed, RowFault) or _is_table(_parsed(passed)):
                raise _ambiguous([layout.key, _text(key)])


def _rows_of(
    text: bytes, max_row_bytes: int, split: str | None, note: Callable[[str], None]
) -> Iterator[bytes | RowFault]:
    """Yield the rows of an object that is the whole file."""
    value = _parsed(text)
    layout = layout_of(value, whole=True) if isinstance(value, dict) else Layout("row")
    if layout.kind == "splits":
        yield from _of_split(Scanner(iter([text]), max_row_bytes), split, note, max_row_bytes)
        return
    _refuse_split(split)
    if layout.kind == "row":
        yield text
    elif layout.kind in {"keyed", "wrapped"}:
        yield from _members(Scanner(iter([text]), max_row_bytes), layout)
    else:
        yield from _table(text, layout, max_row_bytes)


def _table(text: bytes, layout: Layout, max_row_bytes: int) -> Iterator[bytes | RowFault]:
    """Yield the rows of a table that is written by column."""
    value = _parsed(text)
    if isinstance(value, dict) and layout.kind == "columns" and is_table(value) and not has_shape(tuple(value)):
        names = ", ".join(f"'{name[:40]}'" for name in islice(value, 5))
        raise FormatError(
            f"found an object of equally long lists ({names}) whose names fit no known shape. If they are a table's columns, write"
            " it as JSON Lines, e.g. pandas.read_json(FILE).to_json(OUT, orient='records', lines=True)"
        )
    if not isinstance(value, dict) or layout_of(value, whole=True).kind != layout.kind:
        raise FormatError(
            "found a table by column that is cut short, damaged, or has columns of different lengths: fetch the file"
            " again, or write it as JSON Lines"
        )
    if layout.kind == "split":
        names, table = value["columns"], value["data"]
        found = (dict(zip(map(str, names), cells, strict=False)) for cells in table)
    else:
        columns = [list(column.values()) if isinstance(column, dict) else column for column in value.values()]
        found = (dict(zip(value, cells, strict=True)) for cells in zip(*columns, strict=True))
    for row in found:
        yield bounded(dump_row(row), max_row_bytes)


def _prefix(beginning: bytes) -> dict[str, Any]:
    """Return what is whole in the beginning of an object: its members, and the items of the last one."""
    scanner = Scanner(iter([beginning]), len(beginning))
    value: dict[str, Any] = {}
    try:
        for key in _entries(scanner):
            opening = scanner.peek()
            name = _text(key)
            value[name] = {} if opening == b"{" else [] if opening == b"[" else None
            member, is_whole = _try_ahead(scanner)
            if is_whole:
                value[name] = _parsed(member)
                scanner.value()
            elif opening == b"[":
                value[name] = []
                for item in islice(_items(scanner), _LOOKED_AT):
                    value[name].append(_parsed(item))
                break
            elif opening == b"{":
                for inner in islice(_entries(scanner), _LOOKED_AT):
                    value[name][_text(inner)] = _parsed(scanner.value())
                break
            else:
                break
    except CutShortError:
        pass  # the rest has not been looked at
    return value


def _try_ahead(scanner: Scanner) -> tuple[bytes, bool]:
    try:
        return scanner.ahead()
    except CutShortError:
        return b"", False


def _text(key: bytes | RowFault) -> str:
    parsed = _parsed(key)
    return parsed if isinstance(parsed, str) else ""


def _parsed(text: bytes | RowFault) -> Any:
    """Parse leniently; what cannot be parsed is None."""
    if isinstance(text, RowFault):
        return None
    try:
        return json.loads(
            text.decode("utf-8", "surrogateescape"),
            strict=False,
            parse_float=exact_json.number,
            parse_int=exact_json.integer,
        )
    except (ValueError, RecursionError):
        return None
