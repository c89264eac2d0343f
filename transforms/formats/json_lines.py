"""JSON Lines: one JSON value a line."""

from __future__ import annotations

import json
from collections.abc import Iterator

from versatune.transforms.formats.blocks import Blocks, lines
from versatune.transforms.transport.batch import RowFault

_SNIFFED_LINES = 20
_BLANK = b" \t\r\n"
# Lenient (raw control characters, NaN): what is wrong inside a row rejects that row only.
_DECODER = json.JSONDecoder(strict=False)


def rows(blocks: Blocks, max_row_bytes: int) -> Iterator[list[bytes | RowFault]]:
    """Yield each line that is not blank, as it stands in the file; those of one block together."""
    for found in lines(blocks, max_row_bytes):
        try:
            yield [row for line in found if line and (row := line.strip(_BLANK))]  # type: ignore[union-attr]
        except AttributeError:  # rare: a fault among them
            stripped = (line if isinstance(line, RowFault) else line.strip(_BLANK) for line in found)
            yield [row for row in stripped if row]


def is_by_line(head: bytes, *, whole: bool, named_lines: bool) -> bool:
    """Say whether a file that begins with a brace or bracket, or should, has one value a line.

    Args:
        head: the beginning of the file.
        whole: the head is all of it.
        named_lines: the name promises lines; decides where the content does not.
    """
    found = head.split(b"\n")
    if not whole and len(found) > 1:
        del found[-1]
    sample = [line for line in (line.strip(_BLANK) for line in found[:1000]) if line][:_SNIFFED_LINES]
    if not sample:
        return True
    opens = sample[0][:1] == b"{"
    if len(sample) == 1:  # of a document on one line, or of rows
        return named_lines and opens
    if parses(sample[0]):
        return True
    if sample[0][:1] == b"[":
        return False
    parsed = sum(map(parses, sample))
    if 2 * parsed >= len(sample):  # the first line is broken, the others tell
        return True
    if any(parses(line.rstrip(b",")) for line in sample):  # rows with commas between
        return False
    return named_lines and 2 * sum(line[:1] == b"{" for line in sample) > len(sample)


def parses(line: bytes) -> bool:
    """Say whether a line is one JSON object or list."""
    if line[:1] not in {b"{", b"["}:
        return False
    try:
        return isinstance(_DECODER.decode(line.decode("utf-8", "surrogateescape")), dict | list)
    except (ValueError, RecursionError):
        return False
