"""How delimited text is written: what stands between cells and how a quoted cell writes a quote; and its records, read so."""

from __future__ import annotations

import csv
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from versatune.transforms.formats.encoding import UNDECODABLE
from versatune.transforms.formats.fault import HEAD_BYTES, FormatError
from versatune.transforms.transport.batch import RowFault

_DELIMITERS = ",\t;|"
_QUOTINGS = ("double", "backslash", "none")
_SNIFFED_ROWS = 50
_MOST_LINES = 100_000  # in one row; each costs more memory than its text
_MOST_AGAIN = 4  # times the text that was read
_NULL = "\\N"  # of MySQL, Hive and PostgreSQL
csv.field_size_limit(2**31 - 1)  # of the process; here a record is bounded before the parser sees it


class Dialect(NamedTuple):
    """How a file of delimited text is written."""

    delimiter: str
    quoting: str
    r"""double: ``""`` in a quoted cell is a quote. backslash: so is ``\"``, and ``\\`` is a backslash. none: quotes are text."""
    spaced: bool = False
    """Blanks after a delimiter are none of the cell (``"a", "b"``)."""


def find_dialect(text: str, named: str, delimiter: str | None, quoting: str, *, whole: bool) -> Dialect:
    r"""Tell a file's dialect from its beginning.

    The delimiter is the one of ``, \t ; |`` that gives most rows the same number of cells. Quoting is the one under which
    fewest rows are broken; quotes are doubled (RFC 4180) where nothing speaks against it, and are text only where more
    cells begin with a quote that does not close them than are quoted as a whole.

    Args:
        text: the beginning, whole lines.
        named: the delimiter that the file's name promises; wins a tie.
        delimiter: the one to use; None finds it out.
        quoting: auto finds it out.
        whole: the text is all of the file.
    """
    known = [quoting] if quoting != "auto" else ["double", "none"] if '"' in text else ["double"]
    if delimiter is None:
        delimiter = max(
            [named, *_DELIMITERS], key=lambda mark: max(_fit(text, Dialect(mark, way), named) for way in known)
        )
    if quoting == "auto":
        quoting = _quoting(text, delimiter, whole=whole)
    return _spaced(text, Dialect(delimiter, quoting), whole=whole)


def sample(text: str, dialect: Dialect) -> list[list[str]]:
    """Return the first records of a text."""
    lines = (f"{line}\n" for line in text.split("\n"))
    found = records(lines, len(text) + 1, dialect)
    return [record for record in islice(found, _SNIFFED_ROWS) if isinstance(record, list)]


def records(source: Iterable[str | RowFault], max_chars: int, dialect: Dialect) -> Iterator[list[str] | RowFault]:
    """Yield the cells of each record of some lines; blank lines have none.

    Where a quoted cell is never closed, or text follows the quote that closes it, the record's first line is a fault,
    ``bad_quotes``, and reading goes on with the very next line: no row is swallowed by a stray quote.

    Raises:
        FormatError: so many records are broken that reading on would take more than linear time.
    """
    feed = _Feed(source, max_chars, dialect)
    reader = _reader(feed, dialect)
    while True:
        feed.start()
        try:
            record = next(reader)
        except StopIteration:
            return
        except (_StopError, csv.Error):
            reader = _reader(feed, dialect)  # the old one is still inside a cell
            if feed.taken:
                yield _bad_quotes(feed.back())
            elif fault := feed.fault():
                yield fault
            continue
        if record:
            yield record if _NULL not in record else ["" if cell == _NULL else cell for cell in record]


def _fit(text: str, dialect: Dialect, named: str) -> tuple[bool, bool, bool, int]:
    """Say how well a delimiter fits: to most rows, to the first one too (a header holds no punctuation), to the file's name, for how many cells."""
    counts = [len(row) for row in sample(text, dialect)]
    usual, rows = Counter(counts).most_common(1)[0] if counts else (0, 0)
    if usual < 2:
        return (False, False, False, 0)
    return (rows >= 0.9 * len(counts), counts[0] == usual, dialect.delimiter == named, usual)


def _quoting(text: str, delimiter: str, *, whole: bool) -> str:
    if '"' not in text:
        return "double"
    ways = [way for way in _QUOTINGS if way != "backslash" or '\\"' in text]
    return min(ways, key=lambda way: _broken(text, Dialect(delimiter, way), whole=whole))


def _spaced(text: str, dialect: Dialect, *, whole: bool) -> Dialect:
    """Return the dialect with blanks before quotes where at least half of the rows have such, and no more are broken by it."""
    if dialect.quoting == "none" or f'{dialect.delimiter} "' not in text:
        return dialect
    rows, spaced = sample(text, dialect), dialect._replace(spaced=True)
    such = sum(any(cell.lstrip(" ")[:1] == '"' and cell[0] == " " for cell in row) for row in rows)
    better = _broken(text, spaced, whole=whole) <= _broken(text, dialect, whole=whole)
    return spaced if 2 * such >= len(rows) - 1 and such and better else dialect


def _broken(text: str, dialect: Dialect, *, whole: bool) -> int:
    """Count what speaks against a dialect: rows that it breaks and, where quotes are to be text, cells that are quoted as a whole."""
    found = list(records((f"{line}\n" for line in text.split("\n")), len(text) + 1, dialect))
    rows = [record for record in found if isinstance(record, list) and any(cell.strip() for cell in record)]
    counts = Counter(map(len, rows))
    usual = counts.most_common(1)[0][0] if counts else 0
    broken = len(found) - len(rows) + sum(rows for count, rows in counts.items() if count != usual)
    if not whole:
        broken = max(0, broken - 1)  # the last record is cut
    if dialect.quoting == "none":
        broken += sum(_is_quoted(cell) for row in rows for cell in row)
    return broken


def _is_quoted(cell: str) -> bool:
    cell = cell.strip()
    return len(cell) > 1 and cell[0] == '"' == cell[-1] and '"' not in cell[1:-1].replace('""', "")


def _reader(feed: Iterator[str], dialect: Dialect) -> Iterator[list[str]]:
    if dialect.quoting == "none":
        return csv.reader(feed, delimiter=dialect.delimiter, quoting=csv.QUOTE_NONE, strict=True)
    escape = "\\" if dialect.quoting == "backslash" else None
    return csv.reader(
        feed, delimiter=dialect.delimiter, escapechar=escape, skipinitialspace=dialect.spaced, strict=True
    )


def _bad_quotes(line: str) -> RowFault:
    if "\r" in line.rstrip("\r\n") and '"' not in line:
        detail = "a carriage return stands in the middle of a row, outside quotes"
    else:
        detail = (
            "a quoted cell is not closed, or text follows the quote that closes it. If quotes are escaped by a backslash, or are"
            " text, give the source quoting: backslash, or quoting: none"
        )
    return RowFault("bad_quotes", detail, line.rstrip("\r\n").encode("utf-8", UNDECODABLE)[:HEAD_BYTES])


_BLANK_LINES = frozenset({"\n", "\r\n"})


class _StopError(Exception):
    """The next line is too long to be held, or a record goes on for too long."""


class _Feed:
    """Lines for the parser, and a memory of those it took for the record it is at."""

    def __init__(self, source: Iterable[str | RowFault], max_chars: int, dialect: Dialect) -> None:
        self._source = iter(source)
        self._again: deque[str | RowFault] = deque()
        self._max = max_chars
        self._chars = self._read = self._reread = 0
        # The parser drops every backslash; one that escapes nothing is text, so it is escaped itself.
        escapes = re.compile(rf'\\(["\\\r\n{re.escape(dialect.delimiter)}])|\\')
        self._escapes = escapes if dialect.quoting == "backslash" else None
        self.taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._again:
            line = self._again.popleft()
        else:
            line = next(self._source)
            while line in _BLANK_LINES and not self.taken:  # between two records, where there may be billions
                line = next(self._source)
            self._read += len(line)
        self._chars += len(line)
        if isinstance(line, RowFault) or (self.taken and (self._chars > self._max or len(self.taken) > _MOST_LINES)):
            self._again.appendleft(line)
            raise _StopError
        self.taken.append(line)
        if self._escapes is None or "\\" not in line:
            return line
        return self._escapes.sub(lambda found: found[0] if found[1] else "\\\\", line)

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
        """Return the record's first line and give the others again.

        Mostly those in between hold no quote, and are never taken back a second time.
        """
        first, *others = self.taken
        self._again.extendleft(reversed(others))
        self._reread += sum(map(len, others))
        if self._reread > _MOST_AGAIN * (self._read + self._max):
            raise FormatError(
                "found quotes that open cells and do not close them, again and again. If quotes are escaped by a backslash, or"
                " are text, give the source quoting: backslash, or quoting: none"
            )
        return first
