"""Files that belong together line by line: line n of each gives row n."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

from versatune.transforms.formats.blocks import Blocks, text_lines
from versatune.transforms.formats.encoding import dump_row
from versatune.transforms.formats.fault import FormatError, bounded
from versatune.transforms.transport.batch import RowFault


class Side(NamedTuple):
    """One of the files."""

    field: str
    """What its lines are called in the rows."""
    location: str
    blocks: Blocks


def rows(sides: Sequence[Side], max_row_bytes: int) -> Iterator[bytes | RowFault]:
    r"""Yield an object of the n-th line of each file, for every n. Only ``\n`` ends a line, with or without ``\r`` before it.

    A blank line is a line like others, so that none is shifted; its row has an empty field.

    Raises:
        FormatError: the files differ in their numbers of lines.
    """
    counts = [0] * len(sides)
    for found in zip_longest(*(text_lines(side.blocks, max_row_bytes) for side in sides)):
        for at, line in enumerate(found):
            counts[at] += line is not None
        if None in found:
            continue  # only counted
        fault = next((line for line in found if isinstance(line, RowFault)), None)
        row = {side.field: str(line).rstrip("\r\n") for side, line in zip(sides, found, strict=True)}
        yield fault or bounded(dump_row(row), max_row_bytes)
    if len(set(counts)) > 1:
        told = " and ".join(f"{count:,} lines in {side.location}" for count, side in zip(counts, sides, strict=True))
        raise FormatError(
            f"found {told}. Line n of one file has to belong to line n of the other: mend them, or align them anew"
        )
