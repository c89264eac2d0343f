"""Markup of chat templates that was left in a text (``<|im_end|>``, ``[INST]``, ``<eoh>``)."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from versatune.transforms.cleaning.texts import map_texts, texts
from versatune.transforms.shapes.base import Example, RowError

# With each tag goes what the template writes beside it: the speaker's name, a colon, the line break.
_PIPED = re.compile(
    r"<\|im_start\|>[ \t]*(?:system|user|assistant|tool)?\b[ \t]*\n?"
    r"|<\|start_header_id\|>[^<\n]{0,30}<\|end_header_id\|>\n{0,2}"
    r"|<\|(?:Human|MOSS|Inner Thoughts|Commands|Results)\|>[ \t]*:?[ \t]*"
    r"|<\|[A-Za-z][A-Za-z0-9_]{1,39}\|>"
    r"|<｜[^｜<>\n]{1,40}｜>"
)
_TURN = re.compile(r"<start_of_turn>(?:[ \t]*(?:user|model|system)\b)?[ \t]*\n?|<end_of_turn>")
_INSTRUCTION = re.compile(r"\[/?INST\]|<</?SYS>>")
_SENTENCE = re.compile(r"</?s>")
_SENTENCE_STARTS = re.compile(r"\A(?:\s*<s>)+")
# Short names that could be elements of XML: one that is closed anywhere in the text is.
_ELEMENT_LIKE = re.compile(r"<(eo[hmtcra]|[be]os|pad|unk)>")
_QUOTES = frozenset("\"'`")
_LONGEST_TAG = 100  # characters; none of the patterns needs more
_MOST_ROUNDS = 8


def strip_control_tags(example: Example, counts: Counter[str]) -> Example:
    """Take template markup out of every text; count the example if it changed.

    Raises:
        RowError: a text held nothing else.
    """
    stripped = map_texts(example, without_control_tags)
    if stripped is not example:
        counts["clean.control_tags_stripped"] += 1
    return stripped


def drop_control_tags(example: Example, _counts: Counter[str]) -> Example:
    """Reject an example that has template markup in any text.

    Raises:
        RowError: it has.
    """
    if any(_spans(text) for text in texts(example)):
        raise RowError("control_tags", "markup of a chat template is left in a text")
    return example


def without_control_tags(text: str) -> str:
    """Return a text without template markup, in time that grows with its length alone.

    Raises:
        RowError: after several rounds there is still some.
    """
    for _ in range(_MOST_ROUNDS):  # once no tag is left, a </s> before it may end the text
        spans = _spans(text)
        if not spans:
            return text
        text = _cut(text, spans)
    raise RowError("control_tags", "markup of a chat template is left in a text, nested too deep to take out")


def _cut(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """Take out spans, and tags that come to be where what stood around one is joined; only the joints are looked at again."""
    patterns = _patterns(text)
    kept = io.StringIO()
    for piece in _between(text, spans):
        begin = 0
        while True:
            size = kept.tell()
            kept.seek(max(0, size - _LONGEST_TAG))
            before = kept.read()
            span = _tag_over(before + piece[begin : begin + _LONGEST_TAG], len(before), patterns)
            if span is None:
                break
            kept.seek(size - len(before) + span[0])
            kept.truncate()
            begin += span[1] - len(before)
        kept.write(piece[begin:])
    return kept.getvalue()


def _between(text: str, spans: Sequence[tuple[int, int]]) -> Iterator[str]:
    done = 0
    for start, end in spans:
        if start >= done:
            yield text[done:start]
        done = max(done, end)
    yield text[done:]


def _tag_over(window: str, joint: int, patterns: Sequence[re.Pattern[str]]) -> tuple[int, int] | None:
    """Where a tag lies that begins before the joint and ends behind it."""
    if not 0 < joint < len(window) or not ("<" in window or "[" in window):
        return None
    for pattern in patterns:
        for match in pattern.finditer(window):
            if match.start() < joint < match.end() and not _is_quoted(window, *match.span()):
                return match.span()
    return None


def _spans(text: str) -> list[tuple[int, int]]:
    """Where markup stands, in order. A tag in quotes or backticks is talked about, not left over."""
    if "<" not in text and "INST]" not in text:
        return []
    found = [match.span() for pattern in _patterns(text) for match in pattern.finditer(text)]
    found += _lone_sentence_marks(text)
    return sorted(span for span in found if not _is_quoted(text, *span))


def _patterns(text: str) -> list[re.Pattern[str]]:
    """Return what is markup in this text: beside ``[INST]`` also every ``<s>`` and ``</s>``."""
    elements = {match[1] for match in _ELEMENT_LIKE.finditer(text)}
    tags = [name for name in sorted(elements) if f"</{name}>" not in text]
    return [
        _PIPED,
        _TURN,
        _INSTRUCTION,
        *([_SENTENCE] if _INSTRUCTION.search(text) else []),
        *([re.compile(f"<(?:{'|'.join(tags)})>")] if tags else []),
    ]


def _lone_sentence_marks(text: str) -> Iterator[tuple[int, int]]:
    """Yield ``<s>`` that begin a text without ``</s>``, and ``</s>`` that end one without ``<s>``.

    Others are HTML: ``<s>old price</s>`` is struck through.
    """
    opens, closes = "<s>" in text, "</s>" in text
    if opens and not closes and (start := _SENTENCE_STARTS.match(text)):
        yield start.span()
    if closes and not opens:
        begin = len(text)
        end = len(text.rstrip())
        while text.endswith("</s>", 0, end):
            begin = end = end - len("</s>")
            while end and text[end - 1].isspace():
                end -= 1
        if begin < len(text):
            yield begin, len(text)


def _is_quoted(text: str, start: int, end: int) -> bool:
    first = start + len(text[start:end]) - len(text[start:end].lstrip())
    last = start + len(text[start:end].rstrip())
    return text[first - 1 : first] in _QUOTES and text[last : last + 1] in _QUOTES
