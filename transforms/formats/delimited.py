"""CSV and TSV with a header row; quoted cells may hold line breaks."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from transforms.formats.encoding import UNDECODABLE, dump_row, refuse_other_formats
from transforms.formats.fault import FormatError

CELLS_KEY = "__cells__"
HEADER_KEY = "__header__"
_MAX_CELL_CHARS = 16 * 2**20  # an unclosed quote swallows the rest of the file; stop it here
csv.field_size_limit(_MAX_CELL_CHARS)


def rows(stream: io.BufferedReader, *, delimiter: str) -> Iterator[bytes]:
    """Yield each row as a JSON object of strings by column name.

    A row whose number of cells is not the header's comes out as ``{"__cells__": [...], "__header__": [...]}``.

    Raises:
        FormatError: no text, no usable header, a quote that is never closed.
    """
    refuse_other_formats(stream.peek(), "text with a header row")
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors=UNDECODABLE, newline="")
    reader = csv.reader(text, delimiter=delimiter)
    try:
        header = next((cells for cells in reader if cells), None)
        if header is None:
            return
        _check_header(header)
        for cells in reader:
            if len(cells) == len(header):
                yield dump_row(dict(zip(header, cells, strict=True)))
            elif cells:
                yield dump_row({CELLS_KEY: cells, HEADER_KEY: header})
    except csv.Error as error:
        raise FormatError(
            f"found {error} at line {reader.line_num}. Expected quotes that are closed and cells of at most"
            f" {_MAX_CELL_CHARS:,} characters; longer texts can come as JSON Lines"
        ) from None


def _check_header(header: list[str]) -> None:
    try:
        "".join(header).encode()
    except UnicodeEncodeError:
        raise FormatError("found a header row that is not UTF-8. Convert the file: iconv -f OLD -t UTF-8") from None
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise FormatError(f"found two columns named '{twice[:40]}'. Expected one each; rename one")
