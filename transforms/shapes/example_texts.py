"""Looks for texts of a row in the examples that it gave."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import orjson

from versatune.transforms.shapes.base import REASONING, Example
from versatune.transforms.shapes.prose import words_in

_MAX_TEXTS = 1000
_MAX_SEARCHES = 256
_COMPARED = 64
_SEARCHED_CHARS = 2**18
_MARK_CHARS = 64
_TELLING_CHARS = 8
_MARKS = 2  # a speaker's before a turn and one at its end
_TEMPLATE_CHARS = 240  # Alpaca's template has 200


class ExampleTexts:
    """The texts of a row's examples, in which others are looked for; the cost is bounded by the row's size."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples
        self._searches_left = _MAX_SEARCHES
        self._found: list[str] = []
        self._text = ""

    @property
    def _contents(self) -> list[str]:
        if not self._found:  # of most rows nobody asks
            for messages, tools, rejected, *_ in self._examples[:_MAX_TEXTS]:
                self._found += [content for _, content in messages]
                self._found += [side for side in (tools, rejected) if side is not None]
        return self._found

    @property
    def _joined(self) -> str:
        if not self._text:
            self._text = "\0".join(self._contents)[:_SEARCHED_CHARS]
        return self._text

    def holds(self, text: str, *, in_marks: bool = False) -> bool:
        """Say whether an example holds a text: as it is, or written as JSON; with ``in_marks`` also without the marks around it.

        True too where that cannot be told in bounded time: what is said of a field must be right.
        """
        text = text.strip()
        joined = self._joined
        self._searches_left -= 1
        if self._searches_left < 0 or len(text) > _SEARCHED_CHARS or len(joined) == _SEARCHED_CHARS:
            return True
        if text in joined or (in_marks and self._holds_bare(text)):
            return True
        if not text.isascii() and unicodedata.normalize("NFC", text) in joined:
            return True
        return "\\" in joined and orjson.dumps(text)[1:-1].decode() in joined

    def is_one(self, text: str) -> bool:
        """Say whether a text is one of those of the first examples."""
        return text.strip() in self._contents[:_COMPARED]

    def _holds_bare(self, text: str) -> bool:
        return any(
            len(text) - _MARK_CHARS <= len(content) < len(text)
            and len(content) >= _TELLING_CHARS
            and content in text
            and words_in(text.replace(content, " ", 1)) <= _MARKS
            for content in self._contents[:_COMPARED]
        )

    def repeats(self, text: str) -> bool:
        """Say whether a text says nothing but what the examples say: it is part of one, or a template around all of one's texts, with its thoughts or without."""
        if self._searches_left > 0 and self.holds(text):
            return True
        messages = self._examples[0].messages
        contents = [content for role, content in messages if role != REASONING]
        if _frames(text, contents):
            return True
        return len(contents) < len(messages) and _frames(text, [content for _, content in messages])


def _frames(text: str, contents: Sequence[str]) -> bool:
    """Say whether a text is these and a template around them."""
    size = sum(map(len, contents))
    return size <= len(text) <= size + _TEMPLATE_CHARS and all(content in text for content in contents)
