"""Where JSON values begin and end in a stream, by their brackets and quotes alone.

What stands between the brackets is not looked at, so that one malformed row does not cost the others; whoever parses the row
finds that out. Bytes are dropped as soon as they are passed.
"""

from __future__ import annotations

import re

from versatune.transforms.formats.blocks import Blocks
from versatune.transforms.formats.fault import HEAD_BYTES, FormatError, too_large
from versatune.transforms.transport.batch import RowFault

_MARK = re.compile(rb'[{}\[\]"]')
_NOT_BLANK = re.compile(rb"[^ \t\r\n]")
_END_OF_SCALAR = re.compile(rb'[ \t\r\n,:{}\[\]"]')
_BACKSLASH, _OPENING = 0x5C, b"{["


class CutShortError(FormatError):
    """The file ends inside a value."""


class Scanner:
    """A cursor over JSON text."""

    def __init__(self, blocks: Blocks, max_row_bytes: int) -> None:
        self._blocks = blocks
        self._max = max_row_bytes
        self._buffer = b""
        self._at = 0
        self._lines_passed = 0

    def peek(self) -> bytes:
        """Return the next byte that is no white space, not passing it; none at the end."""
        while True:
            found = _NOT_BLANK.search(self._buffer, self._at)
            if found:
                self._at = found.start()
                return found.group()
            self._at = len(self._buffer)
            if not self._grow():
                return b""

    def skip(self, byte: bytes) -> bool:
        """Pass this byte if it is the next one; say whether it was."""
        if self.peek() != byte:
            return False
        self._at += 1
        return True

    def expect(self, byte: bytes) -> None:
        """Pass this byte, which must be the next one."""
        if not self.skip(byte):
            raise self.error(f"'{byte.decode()}'")

    def value(self) -> bytes | RowFault:
        """Pass the next value and return it; one that is too large comes out as a fault."""
        end = self._end(self._max)
        if end is None:
            return self._skip_large()
        value = self._buffer[self._at : end]
        self._at = end
        return value

    def ahead(self) -> tuple[bytes, bool]:
        """Return the next value and True, not passing it; the beginning of one that is too large, and False."""
        self.peek()
        end = self._end(self._max)
        return self._buffer[self._at : end], end is not None

    def rest(self, max_bytes: int) -> bytes | None:
        """Return all that is left, or None if that is more than ``max_bytes``."""
        parts = [self._buffer[self._at :]]
        size = len(parts[0])
        for block in self._blocks:
            parts.append(block)
            size += len(block)
            if size > max_bytes:
                return None
        return b"".join(parts)

    def error(self, expected: str) -> FormatError:
        """Return the error for what comes next."""
        line = self._lines_passed + self._buffer.count(b"\n", 0, self._at) + 1
        found = self.peek()
        if not found:
            return CutShortError(
                f"found the end of the file at line {line:,}, where {expected} was expected. The file is cut short or"
                " damaged: fetch it again"
            )
        shown = f"'{found.decode()}'" if b"!" <= found <= b"~" else f"the byte 0x{found.hex()}"
        return FormatError(
            f"found {shown} at line {line:,}, where {expected} was expected. The file is damaged, or not JSON: fetch it"
            " again, or write it as JSON Lines"
        )

    def _grow(self) -> bool:
        """Put another block behind what is not passed yet; say whether there was one."""
        block = next(self._blocks, None)
        if block is None:
            return False
        self._lines_passed += self._buffer.count(b"\n", 0, self._at)
        self._buffer = self._buffer[self._at :] + block
        self._at = 0
        return True

    def _end(self, max_bytes: int) -> int | None:
        """Return where the value ends that begins here; None if it has more than ``max_bytes``."""
        first = self.peek()
        if not first or first in b",:]}":
            raise self.error("a value")
        depth = 0
        done = 0  # bytes of the value that are done with; positions move when the buffer grows
        while True:
            depth, end, done = self._walk(depth, self._at + done, scalar=first not in b'{["')
            if end is not None:
                return end if end - self._at <= max_bytes else None
            if len(self._buffer) - self._at > max_bytes:
                return None
            if not self._grow():
                if first not in b'{["':
                    return len(self._buffer)  # a number at the end of the file
                raise self._cut_short()

    def _walk(self, depth: int, at: int, *, scalar: bool) -> tuple[int, int | None, int]:
        """Go on through the buffer; return the depth, the value's end if it is there, and else how much is done with."""
        buffer = self._buffer
        if scalar:
            found = _END_OF_SCALAR.search(buffer, at)
            return 0, (found.start() if found else None), len(buffer) - self._at
        search = _MARK.search
        while found := search(buffer, at):
            mark = found.group()
            at = found.start()
            if mark == b'"':
                end = _end_of_string(buffer, at + 1)
                if end is None:
                    return depth, None, at - self._at
                at = end
            else:
                depth += 1 if mark in _OPENING else -1
                at += 1
            if depth <= 0:
                return depth, at, 0
        return depth, None, len(buffer) - self._at

    def _skip_large(self) -> RowFault:
        """Pass a value that is too large, holding a block of it at a time."""
        head = self._buffer[self._at : self._at + HEAD_BYTES]
        scalar = head[:1] not in b'{["'
        size = 0
        depth = 0
        done = 0
        while True:
            depth, end, done = self._walk(depth, self._at + done, scalar=scalar)
            if end is not None:
                size += end - self._at
                self._at = end
                return too_large(size, self._max, head)
            self._at, size, done = *self._drop(done, size), 0
            if not self._grow():
                if scalar:
                    return too_large(size, self._max, head)
                raise self._cut_short()

    def _drop(self, done: int, size: int) -> tuple[int, int]:
        """Forget what is done with, and of a string that goes on all but what its end depends on."""
        at = self._at + done
        size += done
        open_string = self._buffer[at:]
        if not open_string:
            return at, size
        kept = b'"' + (b"\\" if _backslashes_before(open_string, len(open_string)) % 2 else b"")
        self._lines_passed += self._buffer.count(b"\n")
        self._buffer = kept
        return 0, size + len(open_string) - len(kept)

    def _cut_short(self) -> CutShortError:
        line = self._lines_passed + self._buffer.count(b"\n") + 1
        return CutShortError(
            f"found the end of the file at line {line:,}, inside a value whose brackets or quotes are still open. The file is"
            " cut short or damaged: fetch it again"
        )


def _end_of_string(buffer: bytes, at: int) -> int | None:
    """Return the position after the quote that ends the string whose content begins at ``at``."""
    while True:
        at = buffer.find(b'"', at) + 1
        if not at:
            return None
        if buffer[at - 2] != _BACKSLASH or _backslashes_before(buffer, at - 1) % 2 == 0:
            return at


def _backslashes_before(buffer: bytes, at: int) -> int:
    start = at
    while start and buffer[start - 1] == _BACKSLASH:
        start -= 1
    return at - start
