"""Does a text say something, or is it an id, a label, an address, a number?"""

from __future__ import annotations

import re
from itertools import islice

_LOOKED_AT = 400
"""Characters of a text's beginning that tell what it is."""
_WORDS = 4
_LETTERS = 8
# Letters with no more than punctuation around them: no part of a path, an address, a code or an id.
_WORD = re.compile(r"(?<!\S)[^\w\s]*[^\W\d_]{2,}(?:['’\-][^\W\d_]+)*[^\w\s]*(?!\S)")
_FILE_NAME = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}\Z")
_ENDS = (".", "?", "!", "…", '."', ".”", "。", "？", "！", "।", "؟", "۔")
# Scripts that set no blanks between words: Thai, Lao, Burmese, Khmer, kana, Han.
_UNSPACED = re.compile(r"[\u0e01-\u0e4e\u0e81-\u0ecd\u1000-\u109f\u1780-\u17d3\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")  # fmt: skip


def reads_as_prose(text: str) -> bool:
    """Say whether a text has several words: four, or two that end as a sentence does, or eight letters of a script without blanks.

    A label, a language's code, a title of three words, a date, a number, a hash, an address or a file's name has not.
    """
    text = text[:_LOOKED_AT].strip()
    if not text.isascii() and len(list(islice(_UNSPACED.finditer(text), _LETTERS))) == _LETTERS:
        return True
    if " " not in text and "\n" not in text:
        return False
    if _FILE_NAME.search(text):
        return False
    words = words_in(text)
    return words == _WORDS or (words >= 2 and text.endswith(_ENDS))


def words_in(text: str) -> int:
    """Count the words that blanks separate, up to four."""
    return len(list(islice(_WORD.finditer(text), _WORDS)))
