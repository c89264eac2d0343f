"""Plain text: a file is one document."""

from __future__ import annotations

from collections.abc import Iterator

from versatune.transforms.formats.blocks import Blocks
from versatune.transforms.formats.encoding import UNDECODABLE, dump_row
from versatune.transforms.formats.fault import HEAD_BYTES, too_large
from versatune.transforms.transport.batch import RowFault


def rows(blocks: Blocks, max_row_bytes: int) -> Iterator[bytes | RowFault]:
    """Yield the file as one row, ``{"text": ...}``; a blank file has none."""
    parts: list[bytes] = []
    size = 0
    for block in blocks:
        size += len(block)
        if size <= max_row_bytes:
            parts.append(block)
        else:
            parts = [b"".join([*parts, block])[:HEAD_BYTES]]
    text = b"".join(parts)
    if size > max_row_bytes:
        yield too_large(size, max_row_bytes, text)
    elif not text.isspace() and text:
        yield dump_row({"text": text.decode("utf-8", UNDECODABLE)})
