"""A file as a sequence of byte blocks of any size: hashing, looking ahead, decoding, cutting into lines."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

from versatune.transforms.formats.encoding import UNDECODABLE
from versatune.transforms.formats.fault import HEAD_BYTES, FormatError, too_large
from versatune.transforms.transport.batch import RowFault

Blocks = Iterator[bytes]
BLOCK_BYTES = 1 << 20
HEAD = 1 << 20
"""How much of a file is looked at before it is decided what it holds."""

_MARKS = {  # UTF-32 first: its little-endian mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class Tap:
    """Reads a binary file, and counts and hashes what passes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.count = 0

    def read(self, size: int = BLOCK_BYTES) -> bytes:
        """Return at most ``size`` bytes; none at the end."""
        block = self._file.read(size)
        self._sha256.update(block)
        self.count += len(block)
        return block

    def blocks(self) -> Blocks:
        """Yield what is left."""
        return iter(self.read, b"")

    def digest(self) -> str:
        """Pass what is left; return the whole file's sha256 in hex."""
        for _ in self.blocks():
            pass
        return self._sha256.hexdigest()


def peek(blocks: Blocks, size: int = HEAD) -> tuple[bytes, Blocks]:
    """Return the first ``size`` bytes, fewer only where the file has fewer, and the blocks with these bytes among them."""
    taken: list[bytes] = []
    length = 0
    for block in blocks:
        taken.append(block)
        length += len(block)
        if length >= size:
            break
    whole = b"".join(taken)
    return whole[:size], chain([whole] if whole else [], blocks)


def without_blank_beginning(blocks: Blocks) -> Blocks:
    """Pass over blank blocks, and the blanks at the beginning of the first one that holds more."""
    for block in blocks:
        if text := block.lstrip():
            return chain([text], blocks)
    return iter(())


def utf8(blocks: Blocks, encoding: str | None = None) -> Blocks:
    """Take away a byte-order mark; transcode UTF-16 and UTF-32 that have one, and text without a mark from ``encoding``.

    Lone surrogates come out as bytes that are not UTF-8, so that only their row is rejected.

    Raises:
        FormatError: UTF-16 or UTF-32 that is cut short or no such text.
    """
    head, blocks = peek(blocks, 4)
    marked = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    if marked is not None:
        return _wide(blocks, marked)
    if head.startswith(codecs.BOM_UTF8):
        return chain([next(blocks).removeprefix(codecs.BOM_UTF8)], blocks)
    if encoding is None:
        return blocks
    name = codecs.lookup(encoding).name
    if name.startswith(("utf-16", "utf-32")):
        return _wide(blocks, encoding)
    return blocks if name in {"utf-8", "utf-8-sig"} else transcoded(blocks, encoding)


def transcoded(blocks: Blocks, encoding: str) -> Blocks:
    """Transcode text to UTF-8; bytes that are no text in its encoding survive, so that only their row is rejected."""
    decoder = codecs.getincrementaldecoder(encoding)(UNDECODABLE)
    for block in blocks:
        yield decoder.decode(block).encode("utf-8", UNDECODABLE)
    yield decoder.decode(b"", final=True).encode("utf-8", UNDECODABLE)


def text_lines(blocks: Blocks, max_bytes: int) -> Iterator[str | RowFault]:
    r"""Yield lines as text, each with the ``\n`` that ends it; ``\r`` ends lines where the file's first MiB has no ``\n``."""
    head, blocks = peek(blocks)
    if b"\n" not in head and b"\r" in head:  # old spreadsheet programs on the Mac
        blocks = (block.replace(b"\r", b"\n") for block in blocks)
    for found in lines(blocks, max_bytes):
        for line in found:
            yield "\n" if not line else line if isinstance(line, RowFault) else line.decode("utf-8", UNDECODABLE) + "\n"


def _wide(blocks: Blocks, encoding: str) -> Blocks:
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    try:
        for block in blocks:
            yield decoder.decode(block).encode("utf-8", "surrogatepass")
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise FormatError(
            f"found {encoding.upper()}, by its byte-order mark or as the source says, and bytes that are not ({error.reason}). The file is"
            f" damaged or cut short: fetch it again, or convert it to UTF-8"
        ) from None


def line_range(file: BinaryIO, start: int, end: int) -> Blocks:
    """Yield the lines that begin in the bytes ``start`` to ``end`` (exclusive) of a file."""
    at = max(0, start - 1)
    file.seek(at)
    block = file.read(BLOCK_BYTES)
    if start:
        while block and b"\n" not in block:
            at += len(block)
            block = file.read(BLOCK_BYTES)
        first = block.find(b"\n") + 1
        at += first
        if at >= end or not block:
            return
        block = block[first:] or file.read(BLOCK_BYTES)
    while block:
        last = block.find(b"\n", max(0, end - 1 - at)) + 1  # the first line end that has the next line begin outside
        if at + len(block) >= end and last:
            yield block[:last]
            return
        yield block
        at += len(block)
        block = file.read(BLOCK_BYTES)


def lines(blocks: Blocks, max_bytes: int) -> Iterator[list[bytes | RowFault]]:
    r"""Yield lines, those that end in one block together, without the ``\n`` that ends them (nothing else does).

    A line of more than ``max_bytes`` comes out as a fault and is never held.
    """
    parts: list[bytes] = []  # of the line that no block has ended yet
    size = 0
    for block in blocks:
        first, *rest = block.split(b"\n")
        size += len(first)
        if size <= max_bytes:
            parts.append(first)
        else:
            parts = [b"".join([*parts, first])[:HEAD_BYTES]]
        if not rest:
            continue
        out: list[bytes | RowFault] = [_line(parts, size, max_bytes)]
        parts = [rest.pop()]
        size = len(parts[0])
        if len(block) > max_bytes and rest and max(map(len, rest)) > max_bytes:
            out += [_line([line], len(line), max_bytes) for line in rest]
        else:
            out += rest
        yield out
        del out, first, rest  # a block at a time
    if size:
        yield [_line(parts, size, max_bytes)]


def _line(parts: list[bytes], size: int, max_bytes: int) -> bytes | RowFault:
    line = b"".join(parts)
    return line if size <= max_bytes else too_large(size, max_bytes, line)
