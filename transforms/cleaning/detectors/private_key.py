r"""Private keys in PEM, OpenSSH and OpenPGP armor (RFC 7468, RFC 9580), also as they stand in JSON, code and comments."""

from __future__ import annotations

import re
from collections.abc import Iterator

_HEADER = re.compile(r"-{4,5} ?BEGIN (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)? ?-{4,5}")
_END = re.compile(r"-{4,5} ?END (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)? ?-{4,5}")
# What may stand between two lines: a line break or its escape, indentation, quotes and a plus of a text in several
# pieces, signs of a comment or a quotation, an entity, the dots of a key that was shortened.
_GAP = r"(?:[\s\"'`,;>|#*()]|\\+(?!/)[nrt]?|\+(?=\s)|/{2}(?=\s)|&#(?:x[0-9A-Fa-f]{1,2}|\d{1,2});|<br ?/?>|\.{3}|…)*+"
_BREAK = re.compile(_GAP)
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}: ?[^\n\\\"]{0,200}")  # Proc-Type: 4,ENCRYPTED
_MOST_FIELDS = 10
_LINE = re.compile(r"(?:[A-Za-z0-9+/]|\\/){16,}+={0,2}(?![\w:@$%~?!=]|\.(?!\.\.)|-(?!-))")  # no path, no name
_REST = re.compile(rf"(?:[A-Za-z0-9+/]|\\/){{1,15}}+={{0,2}}(?:{_GAP}=[A-Za-z0-9+/]{{4}}(?![A-Za-z0-9+/]))?")
_CHECKSUM = re.compile(r"=[A-Za-z0-9+/]{4}(?![A-Za-z0-9+/])")
_FEWEST_CHARS = 40  # in one line, where no end shows that it is a key
_FEWEST_DISTINCT = 10
_KINDS_OF_CHARS = (re.compile("[A-Z]"), re.compile("[a-z]"), re.compile("[0-9]"))


def find(text: str) -> Iterator[tuple[int, int]]:
    """Yield where private keys stand: a header, lines of base64 and an end; a key may be cut off.

    A header that is only mentioned is none, nor one before prose, dots or a made-up body (``MIIE...``).
    """
    if "PRIVATE KEY" not in text:
        return
    done = 0
    for header in _HEADER.finditer(text):
        if header.start() >= done:
            end = _end(text, header.end())
            if end is not None:
                yield header.start(), end
                done = end


def _end(text: str, start: int) -> int | None:
    """Where a key ends whose header ends at ``start``; None if no key follows."""
    first = position = _body(text, start)
    chars = longest = 0
    last = first  # end of the last whole line
    while line := _LINE.match(text, position):
        chars += len(line[0])
        longest = max(longest, len(line[0]))
        last = line.end()
        position = _after_gap(text, last)
    if chars < _FEWEST_CHARS or not _is_base64(text[first:last]):
        return None
    rest = _REST.match(text, position) or _CHECKSUM.match(text, position)
    if rest:
        position = _after_gap(text, rest.end())
    if end := _END.match(text, position):
        return end.end()
    if longest < _FEWEST_CHARS:
        return None
    # Cut off: what follows the last whole line is a part of the key only if nothing follows it.
    return rest.end() if rest and (position == len(text) or rest[0].endswith("=")) else last


def _body(text: str, start: int) -> int:
    """Where the base64 begins, behind the fields that armor may have."""
    position = _after_gap(text, start)
    for _ in range(_MOST_FIELDS):
        field = _FIELD.match(text, position)
        if not field:
            break
        position = _after_gap(text, field.end())
    return position


def _after_gap(text: str, position: int) -> int:
    gap = _BREAK.match(text, position)
    return gap.end() if gap else position


def _is_base64(body: str) -> bool:
    """Tell encoded bytes from a word, a digest in hex digits, and ``xxxx``."""
    return (
        len(set(body)) >= _FEWEST_DISTINCT and all(kind.search(body) for kind in _KINDS_OF_CHARS) and not _is_hex(body)
    )


def _is_hex(body: str) -> bool:
    return re.fullmatch(r"[0-9A-Fa-f\s]+", body) is not None
