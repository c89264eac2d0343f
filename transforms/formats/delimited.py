"""CSV and its kin: any of four delimiters, with a header row or without, quoted cells that may hold line breaks."""

from __future__ import annotations

import csv
import re
from collections import Counter, deque
from collections.abc import Iterator
from itertools import islice

from versatune.transforms.formats.blocks import Blocks, lines, peek
from versatune.transforms.formats.encoding import UNDECODABLE, dump_row
from versatune.transforms.formats.fault import HEAD_BYTES, FormatError, bounded
from versatune.transforms.transport.batch import RowFault

CELLS_KEY = "__cells__"
HEADER_KEY = "__header__"
_DELIMITERS = ",\t;|"
_SNIFFED_BYTES = 1 << 18
_SNIFFED_ROWS = 50
_MOST_COLUMNS = 1000
_MOST_LINES = 100_000  # in one row; each costs more memory than its text
_SURELY_NAMES = frozenset(
    """
    id idx index text label question answer prompt completion instruction input output response context query category
    topic title content system user assistant source target name class type domain subject options choices explanation
    date timestamp url description summary message messages conversation sentence document lang language score
    """.split()  # noqa: SIM905
)
_NUMBER = re.compile(r"[-+]?[\d.,]*\d[\d.,]*(e[-+]?\d+)?%?", re.IGNORECASE)
_LONGEST_NAME = 64
csv.field_size_limit(2**31 - 1)  # of the process; here a record is bounded before the parser sees it


def rows(blocks: Blocks, max_row_bytes: int, *, delimiter: str) -> Iterator[bytes | RowFault]:
    r"""Yield each row as a JSON object of strings by column name.

    The delimiter is the one of ``, \t ; |`` that gives most rows the same number of cells; ``delimiter`` where that tells
    nothing. The first row is a header unless it looks like data (:func:`has_header`); columns without a name are called
    ``column_0``, ``column_1`` by their place, and a name that comes again gets ``_2``, ``_3``, since a file is not
    unusable for it and a field map can name either column. Blank lines are not rows; empty cells beyond the last column
    are nothing.

    A row with more or fewer cells than there are columns is a fault, ``wrong_cell_count``, that holds all its cells. So
    is a line with a stray quote: where a quoted cell is never closed, or is closed in the middle of another row's cell,
    reading goes on with the very next line, and no row is swallowed by the quote.

    Raises:
        FormatError: a header that is not UTF-8; a quoted cell of several lines with more than ``max_row_bytes``, of which
            nobody can tell whether its quote is stray.
    """
    head, blocks = peek(blocks, _SNIFFED_BYTES)
    ends = b"\n" if b"\n" in head or b"\r" not in head else b"\r"  # old spreadsheet programs on the Mac
    text = head.decode("utf-8", UNDECODABLE).replace("\r\n", "\n").replace("\r", "\n")
    if len(head) == _SNIFFED_BYTES:
        text = text.rpartition("\n")[0] or text
    delimiter = _sniffed(text, delimiter)
    records = _records(_lines(blocks, max_row_bytes, ends), max_row_bytes, delimiter)
    sample = _sample(text, delimiter)
    if not sample:
        header: list[str] = []
    elif has_header(sample):
        first = next(records)
        if isinstance(first, RowFault):
            raise FormatError("found a header row that is too long, or has a quote that is not closed. Write it anew")
        header = _names(first)
    else:
        header = _names([""] * Counter(map(len, sample)).most_common(1)[0][0])
    for record in records:
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


def has_header(sample: list[list[str]]) -> bool:
    """Say whether the first of some rows names the columns.

    It does if a cell is a name that columns usually have (``question``), or the cells count from 0. It does not if a
    cell is a number, a sentence, long, empty (the first may be: an index) or holds a line break, or if it comes again in
    the same column. Otherwise it does.
    """
    first = [cell.strip() for cell in sample[0]]
    if any(cell.casefold() in _SURELY_NAMES for cell in first) or first == list(map(str, range(len(first)))):
        return True
    while first and not first[-1]:
        first.pop()
    for place, cell in enumerate(first):
        looks_like_data = (
            (not cell and place > 0)
            or _NUMBER.fullmatch(cell)
            or len(cell) > _LONGEST_NAME
            or "\n" in cell
            or cell.endswith((".", "!", "?", "。", "！", "？"))
        )
        if looks_like_data or (cell and any(row[place : place + 1] == [sample[0][place]] for row in sample[1:])):
            return False
    return True


def _sniffed(text: str, named: str) -> str:
    """Return the delimiter under which most rows have as many cells as the first; the named one wins a tie."""

    def fit(delimiter: str) -> tuple[bool, bool, int]:
        counts = [len(row) for row in _sample(text, delimiter)]
        if not counts or counts[0] < 2:
            return (False, False, 0)
        same = counts.count(counts[0]) / len(counts)
        return (same >= 0.9, delimiter == named, counts[0])

    return max([named, *_DELIMITERS], key=fit)


def _sample(text: str, delimiter: str) -> list[list[str]]:
    reader = csv.reader((f"{line}\n" for line in text.split("\n")), delimiter=delimiter)
    try:
        return [row for row in islice(reader, _SNIFFED_ROWS) if row]
    except csv.Error:
        return []


def _names(header: list[str]) -> list[str]:
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
        names.append(name)
    return names


def _wrong_count(cells: list[str], header: list[str]) -> RowFault:
    detail = f"the row has {len(cells)} cells; the file has {len(header)} columns"
    return RowFault("wrong_cell_count", detail, dump_row({CELLS_KEY: cells, HEADER_KEY: header}))


def _lines(blocks: Blocks, max_row_bytes: int, ends: bytes) -> Iterator[str | RowFault]:
    if ends == b"\r":
        blocks = (block.replace(b"\r", b"\n") for block in blocks)
    for found in lines(blocks, max_row_bytes):
        for line in found:
            yield line if isinstance(line, RowFault) else line.decode("utf-8", UNDECODABLE) + "\n"


class _TooLongError(Exception):
    """A record is open and the next line is too long to be held."""


class _Feed:
    """Lines for the parser, and a memory of those it took for the record it is at."""

    def __init__(self, source: Iterator[str | RowFault], max_row_bytes: int) -> None:
        self._source = source
        self._again: deque[str | RowFault] = deque()
        self._max = max_row_bytes
        self._chars = 0
        self.taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._source)
        self._chars += len(line)
        if isinstance(line, RowFault):
            self._again.appendleft(line)
            raise _TooLongError
        if self.taken and (self._chars > self._max or len(self.taken) > _MOST_LINES):
            raise FormatError(
                f"found a quoted cell that is still open after {self._chars:,} characters. If a quote is stray, quote the cell and"
                ' double the quote (""); if the cell is so long, raise build.max_row_bytes'
            )
        self.taken.append(line)
        return line

    def start(self) -> None:
        """Forget the lines of a record that is done."""
        self.taken.clear()
        self._chars = 0

    def fault(self) -> RowFault | None:
        """Return the line that is too long, if it comes next."""
        if self._again and isinstance(self._again[0], RowFault):
            return self._again.popleft()  # type: ignore[return-value]
        return None

    def back(self) -> str:
        """Return the record's first line and give the others again; those in between hold no quote that opens a cell."""
        first, *others = self.taken
        self._again.extendleft(reversed(others))
        return first


def _records(source: Iterator[str | RowFault], max_row_bytes: int, delimiter: str) -> Iterator[list[str] | RowFault]:
    feed = _Feed(source, max_row_bytes)
    reader = csv.reader(feed, delimiter=delimiter)
    while True:
        feed.start()
        try:
            record = next(reader)
        except StopIteration:
            return
        except (_TooLongError, csv.Error):
            reader = csv.reader(feed, delimiter=delimiter)  # the old one is still inside a cell
            if feed.taken:
                yield _stray_quote(feed.back())
            else:
                fault = feed.fault()
                if fault is not None:
                    yield fault
            continue
        if len(feed.taken) > 1 and not _well_quoted(feed.taken, delimiter):
            yield _stray_quote(feed.back())
        elif record:
            yield record


def _well_quoted(taken: list[str], delimiter: str) -> bool:
    try:
        return len(list(csv.reader(taken, delimiter=delimiter, strict=True))) == 1
    except csv.Error:
        return False


def _stray_quote(line: str) -> RowFault:
    head = line.rstrip("\r\n").encode("utf-8", UNDECODABLE)[:HEAD_BYTES]
    return RowFault("wrong_cell_count", "a quote is not closed, or a line break stands outside quotes", head)
