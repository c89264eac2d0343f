"""Markup of chat templates that was left in a text (``<|im_end|>``, ``[INST]``, ``<eoh>``)."""

from __future__ import annotations

import re
from collections import Counter

from versatune.transforms.cleaning.texts import map_texts, replaced, texts
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
_SENTENCE_START = re.compile(r"\A\s*<s>")
_SENTENCE_END = re.compile(r"</s>\s*\Z")
# Short names that could be elements of XML: one that is closed anywhere in the text is.
_ELEMENT_LIKE = re.compile(r"<(eo[hmtcra]|[be]os|pad|unk)>")
_QUOTES = frozenset("\"'`")


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
    """Return a text without template markup."""
    while spans := _spans(text):  # what is taken out may join what stood around it to another tag
        text = replaced(text, spans, "")
    return text


def _spans(text: str) -> list[tuple[int, int]]:
    """Where markup stands, in order. A tag in quotes or backticks is talked about, not left over."""
    if "<" not in text and "INST]" not in text:
        return []
    found: list[tuple[int, int]] = []
    for pattern in (_PIPED, _TURN, _INSTRUCTION, *_sentence_marks(text)):
        found += [match.span() for match in pattern.finditer(text)]
    found += [match.span() for match in _ELEMENT_LIKE.finditer(text) if f"</{match[1]}>" not in text]
    return sorted(span for span in found if not _is_quoted(text, *span))


def _sentence_marks(text: str) -> list[re.Pattern[str]]:
    """Which ``<s>`` and ``</s>`` are marks of a sentence: ``<s>old price</s>`` is HTML, struck through.

    Beside ``[INST]`` all of them are; else a lone ``<s>`` that begins the text, or a lone ``</s>`` that ends it.
    """
    if _INSTRUCTION.search(text):
        return [_SENTENCE]
    opens, closes = "<s>" in text, "</s>" in text
    return [_SENTENCE_START] * (opens and not closes) + [_SENTENCE_END] * (closes and not opens)


def _is_quoted(text: str, start: int, end: int) -> bool:
    first = start + len(text[start:end]) - len(text[start:end].lstrip())
    last = start + len(text[start:end].rstrip())
    return text[first - 1 : first] in _QUOTES and text[last : last + 1] in _QUOTES
