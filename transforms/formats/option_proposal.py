"""Options that a file seems to need: proposed with reasons, for a person to paste into the source."""

from __future__ import annotations

import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from versatune.transforms.formats.blocks import HEAD
from versatune.transforms.formats.delimited import beginning, stated_delimiter, whole_lines
from versatune.transforms.formats.detect import DELIMITED, extensions, text_kind
from versatune.transforms.formats.dialect import find_dialect, sample
from versatune.transforms.formats.fault import FormatError
from versatune.transforms.formats.header import SURE_EVIDENCE, header_evidence
from versatune.transforms.formats.options import head_of
from versatune.transforms.formats.text_encoding import find_encoding
from versatune.transforms.transport.batch import InputSplit, ReadOptions

_DELIMITERS = "\t;|,"
_MARKER = re.compile(r"[^\w\s]\S{0,9}(?=\s)|[A-Za-z][A-Za-z ]{0,14}\d*[.:)](?=\s)|[A-H](?=\s)")
_LETTER = re.compile(r"[A-H][.:)]?")
_MOST_LINES = 400
_FEWEST_BLOCKS = 2
_MOST_LINES_OF_A_BLOCK = 12


class Proposal(NamedTuple):
    """An option of a source."""

    options: dict[str, Any]
    """As it is written in the configuration."""
    reason: str
    """What was seen in the file."""
    sure: bool = False
    """Whether the file is of no use without them; otherwise its owner decides."""

    def __str__(self) -> str:
        if self.sure:
            return self.reason
        # JSON is YAML too, on one line, whatever the value holds.
        shown = ", ".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in self.options.items())
        return f"{self.reason} To say so, write in its source: {shown}"


def propose_options(split: InputSplit) -> list[Proposal]:
    """Look at a file's beginning and propose the options that it seems to need; none where all is clear, or it cannot be opened.

    Proposed are ``header`` where the first row may be either, ``delimiter`` for plain text that is a table, ``quoting`` where
    backslashes stand before quotes and both readings are possible, ``encoding`` where text is not UTF-8, and ``pattern`` for
    blocks of lines that begin alike.

    Args:
        split: a file; what its options say already is not proposed again.
    """
    name, given = split.member or split.location, split.options
    try:
        head, whole = head_of(split)
        kind = text_kind(head, name, whole=whole, options=given)
    except (FormatError, OSError, ValueError, RuntimeError, zipfile.BadZipFile):
        return []
    if kind not in {"delimited", "text"} or split.parallel:
        return []
    found = [] if given.encoding else list(_encoding(head, whole=whole))
    text = whole_lines(head)
    if kind == "delimited":
        found += _of_table(text, DELIMITED.get(extensions(name)[0], ","), given, whole=whole)
    elif given.pattern is None:
        found += list(_delimiter(text)) or list(_pattern(text))
    return found


def _encoding(head: bytes, *, whole: bool) -> Iterator[Proposal]:
    if head.isascii():
        return
    first = next(at for at, byte in enumerate(head) if byte > 0x7F)
    encoding = find_encoding(head[first:], whole=whole)
    if encoding is not None:
        yield Proposal(
            {"encoding": encoding}, f"The text is not UTF-8 and was read as {encoding}, by its commonest characters."
        )
        return
    try:
        head[: len(head) if whole else HEAD - 4].decode()
    except UnicodeDecodeError:
        yield Proposal(
            {"encoding": "cp1250"},
            "The text is not UTF-8, and its bytes do not show what it is; name its encoding if you know it.",
        )


def _of_table(text: str, named: str, given: ReadOptions, *, whole: bool) -> Iterator[Proposal]:
    stated = stated_delimiter(text)
    dialect = find_dialect(text, named, given.delimiter or stated, given.quoting, whole=whole)
    above, rows = beginning(text, dialect, stated=stated is not None)
    if rows and given.header is None:
        evidence = header_evidence(rows)
        if abs(evidence) < SURE_EVIDENCE:
            taken = "the names of its columns" if evidence > 0 else "a row"
            yield Proposal({"header": evidence <= 0}, f"The first row was taken as {taken}, and may be the other.")
    if given.quoting == "auto" and dialect.quoting == "double" and '\\"' in text:
        other = sample(text, dialect._replace(quoting="backslash"))[above:]
        if other != rows and len(other) == len(rows):
            yield Proposal({"quoting": "backslash"}, "Backslashes stand before quotes, and were taken as text.")


def _delimiter(text: str) -> Iterator[Proposal]:
    """Propose the character that all lines have equally often."""
    lines = [line for line in text.split("\n")[:_MOST_LINES] if line.strip()]
    for mark in _DELIMITERS:
        counts = Counter(line.count(mark) for line in lines)
        usual, number = counts.most_common(1)[0] if counts else (0, 0)
        needed = 2 if mark == "\t" else 5  # commas and semicolons stand in prose
        if usual and number >= needed and number == len(lines) and (usual > 1 or mark in "\t|"):
            yield Proposal(
                {"delimiter": mark},
                f"Every line has {usual + 1} cells between {mark!r}: it looks like a table.",
                sure=True,
            )
            return


def _pattern(text: str) -> Iterator[Proposal]:
    """Propose a pattern for blocks of lines that begin with the same marks."""
    blocks = [_marks(block) for block in re.split(r"\n[ \t]*\n", text)[:_MOST_LINES] if block.strip()]
    known = [marks for marks in blocks if marks]
    if len(known) < _FEWEST_BLOCKS or 10 * len(known) < 8 * len(blocks):
        return
    order = list(dict.fromkeys(mark for marks in sorted(known, key=len, reverse=True) for mark in marks))
    if len(order) < 2 or len(order) > _MOST_LINES_OF_A_BLOCK or any(marks[0] != order[0] for marks in known):
        return
    names = _names(order)
    parts = []
    for at, (mark, name) in enumerate(zip(order, names, strict=True)):
        line = rf"{re.escape(mark)}[ \t]+(?P<{name}>.+)"
        everywhere = all(mark in marks for marks in known)
        parts.append(rf"^{line}" if at == 0 else rf"\n{line}" if everywhere else rf"(?:\n{line})?")
    yield Proposal(
        {"pattern": "".join(parts)},
        f"Blocks of lines begin with {' '.join(order)}: each block can be a row.",
        sure=True,
    )


def _marks(block: str) -> list[str]:
    """Return the mark at the beginning of each line of a block; none if a line has none, or two have the same."""
    found = [_MARKER.match(line) for line in block.strip("\n").split("\n")]
    marks = [match.group() for match in found if match]
    return marks if len(marks) == len(found) == len(set(marks)) <= _MOST_LINES_OF_A_BLOCK else []


def _names(marks: Sequence[str]) -> list[str]:
    """Name what stands behind marks: by their letters, and question and answer where they say so."""
    words = [re.sub(r"\W+", "", mark) for mark in marks]
    quiz = sum(bool(_LETTER.fullmatch(mark)) for mark in marks) > 1
    names: list[str] = []
    for at, word in enumerate(words):
        folded = word.casefold()
        name = "question" if folded in {"q", "question", "frage"} else word if word.isidentifier() else f"field_{at}"
        if folded in {"answer", "antwort", "ans"} or (folded == "a" and not quiz) or marks[at] == "^":
            name = "answer"
        names.append(name if name not in names else f"{name}_{at}")
    return names
