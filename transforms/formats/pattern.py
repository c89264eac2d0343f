"""Plain text in which a pattern finds the rows: blocks of a quiz, lines of pairs."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator

import regex

from versatune.schemas.errors import RunError
from versatune.transforms.formats.blocks import Blocks
from versatune.transforms.formats.encoding import UNDECODABLE, dump_row
from versatune.transforms.formats.fault import HEAD_BYTES, bounded
from versatune.transforms.transport.batch import RowFault

_WINDOW_CHARS = 1 << 20  # of one match
_BEHIND_CHARS = 1024  # what ^ and a look-behind see of the text before
_TIMEOUT_S = 30.0


def rows(blocks: Blocks, max_row_bytes: int, *, pattern: str) -> Iterator[bytes | RowFault]:
    r"""Yield each match as an object of its named groups, those that took part in it.

    Lines end with ``\n`` however the file ends them; ``^`` and ``$`` stand at the ends of lines and ``.`` is no line end,
    unless the pattern says otherwise (``(?s)``, ``(?i)``, ``(?x)`` at its beginning). Text beside the matches that is not
    blank is a fault, ``no_match``, one for each stretch of it. A match of more than a million characters is ``too_large``.
    Memory is bounded by twice as much, and what is found does not depend on how the file is cut into blocks.

    Raises:
        RunError: one search takes so long that the pattern must be at fault.
    """
    finder = regex.compile(pattern, regex.MULTILINE)
    source, gap = _Characters(blocks), _Gap()
    text, at = "", 0
    while True:
        behind = max(0, at - _BEHIND_CHARS)
        text, at = text[behind:], at - behind
        text += source.read(at + 2 * _WINDOW_CHARS - len(text))
        stop = len(text) if source.ended else at + _WINDOW_CHARS
        while at < stop:
            found = _search(finder, text, at, gap)
            if found is None or found.start() >= stop:
                gap.add(text[at:stop])
                at = stop
            elif not found.group():  # a match of nothing
                gap.add(text[at : found.end() + 1])
                at = found.end() + 1
            else:
                gap.add(text[at : found.start()])
                yield from gap.close()
                yield _row(found, max_row_bytes)
                gap.skip(found.group())
                at = found.end()
        if source.ended:
            yield from gap.close()
            return


def _search(finder: regex.Pattern[str], text: str, at: int, gap: _Gap) -> regex.Match[str] | None:
    try:
        return finder.search(text, at, timeout=_TIMEOUT_S)
    except TimeoutError:
        raise RunError(
            f"pattern {finder.pattern!r}: the search from line {gap.line:,} on took more than {_TIMEOUT_S:g} s. The pattern can match the same text in"
            r" very many ways: write [^\n]* for .*, and no repetition inside a repetition, such as (a+)+"
        ) from None


def _row(found: regex.Match[str], max_row_bytes: int) -> bytes | RowFault:
    size = len(found.group())
    if size > _WINDOW_CHARS:
        detail = f"a match of the source's pattern has {size:,} characters or more; at most {_WINDOW_CHARS:,} are read"
        return RowFault("too_large", detail, found.group()[:HEAD_BYTES].encode("utf-8", UNDECODABLE)[:HEAD_BYTES])
    return bounded(
        dump_row({name: text for name, text in found.groupdict().items() if text is not None}), max_row_bytes
    )


class _Characters:
    """Text a given number of characters at a time, whatever the sizes of the blocks."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        # The one that io has would cut a character that lies in two blocks.
        utf8 = codecs.getincrementaldecoder("utf-8")(UNDECODABLE)
        self._decoder = io.IncrementalNewlineDecoder(utf8, translate=True)
        self._left = ""
        self.ended = False

    def read(self, size: int) -> str:
        """Return so many characters, fewer only at the end."""
        parts, length = [self._left], len(self._left)
        while length < size and not self.ended:
            block = next(self._blocks, None)
            self.ended = block is None
            parts.append(self._decoder.decode(block or b"", final=self.ended))
            length += len(parts[-1])
        whole = "".join(parts)
        self._left = whole[size:]
        self.ended = self.ended and not self._left
        return whole[:size]


class _Gap:
    """Text that no match covers, since the last match."""

    def __init__(self) -> None:
        self._line = self._first = 1
        self._head = ""

    @property
    def line(self) -> int:
        """Number of the line that comes next."""
        return self._line

    def add(self, text: str) -> None:
        """Take more of it."""
        if not self._head:
            self.skip(text[: len(text) - len(text.lstrip())])
            text = text.lstrip()
            self._first = self._line
        if len(self._head) < HEAD_BYTES:
            self._head += text[:HEAD_BYTES]
        self.skip(text)

    def skip(self, text: str) -> None:
        """Count the lines of text that is no gap."""
        self._line += text.count("\n")

    def close(self) -> Iterator[RowFault]:
        """Yield the fault of the gap, if there is one."""
        if self._head:
            detail = f"the text from line {self._first:,} on, up to the next match, is matched by nothing; see the source's pattern"
            yield RowFault("no_match", detail, self._head.rstrip().encode("utf-8", UNDECODABLE)[:HEAD_BYTES])
        self._head = ""
