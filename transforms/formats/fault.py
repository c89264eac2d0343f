"""What a reader says about a file, or a row, that it cannot give."""

from __future__ import annotations

from versatune.transforms.transport.batch import RowFault

HEAD_BYTES = 4096
"""What the fault of a large row keeps of it."""


class FormatError(Exception):
    """What was found in a file, what was expected, what to do; the reader adds which file."""


def too_large(size: int, max_row_bytes: int, head: bytes) -> RowFault:
    """Return the fault of a row of ``size`` bytes that begins with ``head``."""
    detail = f"the row has {size:,} bytes; at most {max_row_bytes:,} are read (build.max_row_bytes)"
    return RowFault("too_large", detail, head[:HEAD_BYTES])


def bounded(row: bytes, max_row_bytes: int) -> bytes | RowFault:
    """Return the row, or the fault of one that is too large."""
    return row if len(row) <= max_row_bytes else too_large(len(row), max_row_bytes, row)
