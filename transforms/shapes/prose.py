"""Does a text say something, or is it an id, a label, an address, a number?"""

from __future__ import annotations

import re
from itertools import islice

_LOOKED_AT = 400
"""Characters of a text's beginning that tell what it is."""
_WORDS = 4
_TOKENS = 50
_PUNCTUATION = ".,;:!?()[]{}<>\"'`*_#|…“”‘’«»„、。，？！（）।؟"
_LETTERS = 8
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
    """Count the words that blanks separate, up to four: letters with no more than punctuation around them."""
    words = 0
    for token in text.split(None, _TOKENS):
        words += _is_word(token)
        if words == _WORDS:
            break
    return words


def _is_word(token: str) -> bool:
    """Say whether a token is no part of a path, an address, a code or an id."""
    bare = token.strip(_PUNCTUATION)
    if len(bare) < 2 or bare.isalpha():
        return len(bare) >= 2
    if bare.isascii():
        return bare.replace("'", "").replace("-", "").isalpha()
    # Marks of Indic scripts, and apostrophes of typography, are no letters.
    return not any(char.isascii() and not char.isalpha() for char in bare) and any(map(str.isalpha, bare))
