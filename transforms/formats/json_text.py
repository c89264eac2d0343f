"""JSON in any of the layouts that files named .json and .jsonl really have; the content decides, not the name."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Generator, Iterator

from transforms.formats.encoding import UNDECODABLE, refuse_other_formats
from transforms.formats.fault import FormatError

_EXPECTED = "JSON: one object per line, an array of objects, or an object of objects"
_BOM = b"\xef\xbb\xbf"
_SNIFFED_LINES = 100
_BLANK = re.compile(r"[ \t\r\n]*")
# Lenient (raw control characters, NaN): this only finds where rows end. What is wrong inside a row rejects that row.
_DECODER = json.JSONDecoder(strict=False)


def rows(stream: io.BufferedReader, *, named_lines: bool) -> Iterator[bytes]:
    """Yield each row as the bytes that stand in the file.

    One value per line is streamed. An array, an object of objects (its values are the rows) and values written over
    several lines are held in memory whole, as text.

    Args:
        stream: the file, decompressed.
        named_lines: the name promises one value per line; decides where the content does not.

    Raises:
        FormatError: not JSON, or JSON that is cut short.
    """
    head = stream.peek().removeprefix(_BOM)
    refuse_other_formats(head, _EXPECTED)
    lines = [line for line in head.split(b"\n", _SNIFFED_LINES)[:_SNIFFED_LINES] if not line.isspace() and line]
    one_long_line = named_lines and b"\n" not in head and head.lstrip()[:1] == b"{"
    if not lines or one_long_line or _is_by_line(lines, named_lines):
        return _line_rows(stream)
    return _document_rows(stream)


def _is_by_line(lines: list[bytes], named_lines: bool) -> bool:
    first = lines[0].lstrip()
    if _parses(first) and (len(lines) > 1 or (named_lines and first[:1] == b"{")):
        return True
    if first[:1] == b"[" or (first[:1] == b"{" and not named_lines):
        return False
    if any(_parses(line) for line in lines[1:]):
        return True  # the first line is broken; the others tell
    if first[:1] == b"{":
        return False
    raise FormatError(f"found neither '{{' nor '[' at the beginning of any line. Expected {_EXPECTED}")


def _parses(line: bytes) -> bool:
    try:
        return isinstance(_DECODER.decode(line.decode("utf-8", UNDECODABLE)), dict | list)
    except (ValueError, RecursionError):
        return False


def _line_rows(stream: io.BufferedReader) -> Iterator[bytes]:
    # A binary file ends its lines at b"\n" only; U+2028, form feeds and the like stay inside their row.
    for number, line in enumerate(stream):
        row = line.rstrip(b"\r\n")
        if number == 0:
            row = row.removeprefix(_BOM)
        if row and not row.isspace():
            yield row


def _document_rows(stream: io.BufferedReader) -> Iterator[bytes]:
    text = stream.read().removeprefix(_BOM).decode("utf-8", UNDECODABLE)
    try:
        for start, end in _spans(text):
            yield text[start:end].encode("utf-8", UNDECODABLE)
    except json.JSONDecodeError as error:
        raise FormatError(
            f"found {error.msg.lower()} at line {error.lineno} column {error.colno} of {text.count(chr(10)) + 1} lines."
            f" Expected {_EXPECTED}. The file is damaged or cut short: fetch it again"
        ) from None
    except RecursionError:
        raise FormatError(f"found values nested too deep to read. Expected {_EXPECTED}") from None


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each row begins and ends."""
    at = _after_blanks(text, 0)
    if text[at] == "[":
        end = yield from _items(text, at, "]")
        if end != len(text):
            raise json.JSONDecodeError("Extra data", text, end)
        return
    value, end = _DECODER.raw_decode(text, at)
    if _after_blanks(text, end) == len(text) and _is_object_of_objects(value):
        yield from _items(text, at, "}")
        return
    while at < len(text):  # one value after the other, each on as many lines as it likes
        end = _DECODER.raw_decode(text, at)[1]
        yield at, end
        at = _after_blanks(text, end)


def _is_object_of_objects(value: object) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(row, dict) for row in value.values())


def _items(text: str, at: int, closing: str) -> Generator[tuple[int, int], None, int]:
    """Yield the spans of an array's items or of an object's values; return the position after the whole."""
    at = _after_blanks(text, at + 1)
    if text[at : at + 1] == closing:
        return _after_blanks(text, at + 1)
    while True:
        if closing == "}":
            at = _after_key(text, at)
        end = _DECODER.raw_decode(text, at)[1]
        yield at, end
        at = _after_blanks(text, end)
        if text[at : at + 1] == closing:
            return _after_blanks(text, at + 1)
        if text[at : at + 1] != ",":
            raise json.JSONDecodeError(f"No ',' or '{closing}'", text, at)
        at = _after_blanks(text, at + 1)


def _after_key(text: str, at: int) -> int:
    end = _after_blanks(text, _DECODER.raw_decode(text, at)[1])
    return _after_blanks(text, end + 1)


def _after_blanks(text: str, at: int) -> int:
    return _BLANK.match(text, at).end()  # type: ignore[union-attr]  # the pattern matches the empty string too
