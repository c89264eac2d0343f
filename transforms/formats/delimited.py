"""CSV and its kin: any delimiter, with a header row or without, quoted cells that may hold line breaks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, islice

from versatune.transforms.formats.blocks import HEAD, Blocks, peek, text_lines
from versatune.transforms.formats.dialect import Dialect, find_dialect, records, sample
from versatune.transforms.formats.encoding import UNDECODABLE, dump_row
from versatune.transforms.formats.fault import FormatError, bounded
from versatune.transforms.formats.header import SURE_EVIDENCE, header_evidence
from versatune.transforms.transport.batch import ReadOptions, RowFault

CELLS_KEY = "__cells__"
HEADER_KEY = "__header__"
_MOST_COLUMNS = 1000
_NO_OPTIONS = ReadOptions()
_SHOWN_NAMES = 8
_STATED = re.compile(r"sep=([,;|\t])\n")


def rows(
    blocks: Blocks,
    max_row_bytes: int,
    *,
    delimiter: str,
    options: ReadOptions = _NO_OPTIONS,
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[bytes | RowFault]:
    r"""Yield each row as a JSON object of strings by column name.

    How the file is written is found out from its first MiB (:func:`versatune.transforms.formats.dialect.find_dialect`), and so is
    whether its first row names the columns (:func:`versatune.transforms.formats.header.header_evidence`); where nobody can
    tell, it is a row, which is said. A first line that states the delimiter (``sep=;``) is no row; lines of one cell above a
    table are faults. Columns without a name are called ``column_0``, ``column_1`` by their place, and a
    name that comes again gets ``_2``, ``_3``, since a file is not unusable for it and a field map can name either column.
    Blank lines are not rows; empty cells beyond the last column are nothing.

    A row with more or fewer cells than there are columns is a fault, ``wrong_cell_count``, that holds all its cells; one
    whose quotes do not pair is ``bad_quotes``.

    Args:
        blocks: the file, as UTF-8.
        max_row_bytes: a larger row is a fault, ``too_large``.
        delimiter: the one that the file's name promises.
        options: what the source says of header, delimiter and quoting.
        note: is told what was decided without being sure.

    Raises:
        FormatError: a header that is not UTF-8, too long or broken; quotes that break rows without end.
    """
    head, blocks = peek(blocks)
    text = whole_lines(head)
    stated = stated_delimiter(text)
    dialect = find_dialect(text, delimiter, options.delimiter or stated, options.quoting, whole=len(head) < HEAD)
    found = records(text_lines(blocks, max_row_bytes), max_row_bytes, dialect)
    above, first_rows = beginning(text, dialect, stated=stated is not None)
    before = list(islice(found, above))[stated is not None :]
    header = _header(first_rows, found, options.header, note)
    for record in chain(before, found):
        if isinstance(record, RowFault):
            yield record
        elif len(record) == 1 and len(header) > 1 and not record[0].strip():
            continue  # a blank line
        elif len(record) == len(header):
            yield bounded(dump_row(dict(zip(header, record, strict=True))), max_row_bytes)
        elif len(record) > len(header) and not any(record[len(header) :]):
            yield bounded(dump_row(dict(zip(header, record, strict=False))), max_row_bytes)
        else:
            yield _wrong_count(record, header)


def stated_delimiter(text: str) -> str | None:
    """Return the delimiter that a file states in its first line, as spreadsheets read it (``sep=;``)."""
    stated = _STATED.match(text)
    return stated[1] if stated else None


def beginning(text: str, dialect: Dialect, *, stated: bool) -> tuple[int, list[list[str]]]:
    """Return how many records stand above a file's table (a stated delimiter, titles of one cell), and the first of the table."""
    first = sample(text, dialect)
    above = int(stated)
    usual = Counter(map(len, first)).most_common(1)[0][0] if first else 0
    while above + 1 < len(first) and len(first[above]) == 1 < usual:
        above += 1
    return above, first[above:]


def whole_lines(head: bytes) -> str:
    """Return the beginning of a file as text in whole lines that end with a line feed, as a sample to decide by."""
    text = head.decode("utf-8", UNDECODABLE).replace("\r\n", "\n").replace("\r", "\n")
    return text.rpartition("\n")[0] or text if len(head) == HEAD else text


def _header(
    first_rows: list[list[str]],
    found: Iterator[list[str] | RowFault],
    named: bool | None,
    note: Callable[[str], None],
) -> list[str]:
    """Return the names of the columns; takes the row that has them out of those found."""
    if not first_rows:
        return []
    evidence = header_evidence(first_rows) if named is None else 0.0
    if named is None and abs(evidence) < SURE_EVIDENCE:
        shown = " | ".join(" ".join(cell.split())[:40] for cell in first_rows[0][:_SHOWN_NAMES])
        note(
            f"its first row ({shown}) may name the columns or not; it was taken as "
            + ("names, which header: false changes" if evidence > 0 else "a row, which header: true changes")
        )
    if named or evidence > 0:
        first = next(found)
        if isinstance(first, RowFault):
            raise FormatError("found a header row that is too long, or has a quote that is not closed. Write it anew")
        return _names(first, note)
    return _names([""] * Counter(map(len, first_rows)).most_common(1)[0][0], note)


def _names(header: list[str], note: Callable[[str], None]) -> list[str]:
    try:
        "".join(header).encode()
    except UnicodeEncodeError:
        raise FormatError("found a header row that is not UTF-8. Convert the file: iconv -f OLD -t UTF-8") from None
    header = list(header)
    if any(cell.strip() for cell in header):
        while not header[-1].strip():  # spreadsheets write empty columns
            header.pop()
    if len(header) > _MOST_COLUMNS:
        raise FormatError(
            f"found {len(header):,} columns in the first row. Expected at most {_MOST_COLUMNS:,}; if the file is a table, write"
            " it as JSON Lines"
        )
    names: list[str] = []
    for place, cell in enumerate(header):
        name = base = cell.strip() or f"column_{place}"
        number = 1
        while name in names:
            number += 1
            name = f"{base}_{number}"
        if name != base:
            note(f"it has several columns called '{base[:40]}'; column {place + 1} is read as '{name[:40]}'")
        names.append(name)
    return names


def _wrong_count(cells: list[str], header: list[str]) -> RowFault:
    detail = f"the row has {len(cells)} cells; the file has {len(header)} columns"
    return RowFault("wrong_cell_count", detail, dump_row({CELLS_KEY: cells, HEADER_KEY: header}))
