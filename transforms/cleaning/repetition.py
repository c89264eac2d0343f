"""How much of a text repeats itself, as in Gopher's quality filters (arXiv 2112.11446, table A1)."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from functools import cache

from versatune.transforms.cleaning.texts import learned
from versatune.transforms.shapes.base import Example, RowError

_HAN_OR_KANA = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# Thai, Lao, Burmese, Khmer, Tai Le, Tai Tham, Balinese, Javanese, Tai Viet put no blanks between words either.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u1b00-\u1b7f\ua980-\ua9ff\uaa60-\uaadf"
_ASCII_WORD = re.compile(r"\w+")
_WORDS_IN_NGRAM = 5
_ALONE = re.compile(f"[{_HAN_OR_KANA}{_UNSPACED}]")
# In a script without blanks a sign counts as a word; so many of them make one, about.
_SIGNS_IN_WORD = ((re.compile(f"[{_HAN_OR_KANA}]"), 2), (re.compile(f"[{_UNSPACED}]"), 3))
_FEWEST_WORDS = 50  # Gopher keeps no shorter text at all; the repetition of one formula or query means nothing

_LOOP_CHARS = 256  # what 50 words have about; shorter ones are laughter, the rule of a table, the dots of a form
_LONGEST_PERIOD = 32
_STEP = _LOOP_CHARS // 2
_RULE_SIGNS = frozenset("-_=*#~.+|:/\\ \t\n─━═…·")


def repetition_filter(limit: float) -> Callable[[Example, Counter[str]], Example]:
    """Return the step that rejects an example if an answer's or a thought's repetition is above ``limit``."""

    def keep_varied(example: Example, _counts: Counter[str]) -> Example:
        for text in learned(example):
            share = repetition(text)
            if share > limit:
                raise RowError("repetition", f"{share:.2f} of an answer repeats itself; at most {limit:g} is asked for")
        return example

    return keep_varied


def repetition(text: str) -> float:
    """Return the share of characters that lie in repeated word n-grams, or in loops if that is larger.

    Words are runs of letters, digits and the marks that belong to them, upper and lower case alike; where a script puts
    no blanks between words, a character with its marks is a word of its own. With words w[0..m) of which n-gram i is
    w[i..i+n), let R be the words of all n-grams that occurred before, at some j < i. The share is the characters of R
    divided by those of all words; overlapping n-grams count once. n is 5, or where most words are single characters,
    10 (Chinese, Japanese) or 15 (Thai, Lao, Khmer, Burmese). A text of fewer than 50 words has none.

    A loop is a piece of at most 32 characters that is said over and over, without a break, for at least 256
    characters: no words need be in it. Its share is that of all characters but blanks.
    """
    return max(_repeated_words(text), _looped(text) if len(text) >= _LOOP_CHARS else 0.0)


def _repeated_words(text: str) -> float:
    folded = text.casefold()
    if text.isascii():
        words, n = _ASCII_WORD.findall(folded), _WORDS_IN_NGRAM
    elif not _ALONE.search(text):
        words, n = _word().findall(folded), _WORDS_IN_NGRAM
    else:
        words = _word_or_sign().findall(folded)
        n = _WORDS_IN_NGRAM * _signs_in_word(words)
    if len(words) < _FEWEST_WORDS:
        return 0.0
    seen: set[tuple[str, ...]] = set()
    repeated = covered_to = 0
    for start, ngram in enumerate(zip(*(words[k:] for k in range(n)), strict=False)):
        if ngram in seen:
            repeated += sum(map(len, words[max(start, covered_to) : start + n]))
            covered_to = start + n
        else:
            seen.add(ngram)
    return repeated / sum(map(len, words))


def _signs_in_word(words: list[str]) -> int:
    """How many of these words make up one, in the script of most of them."""
    for sign, number in _SIGNS_IN_WORD:
        if 2 * sum(map(bool, map(sign.match, words))) > len(words):
            return number
    return 1


@cache
def _marks() -> str:
    """Return the class of marks that belong to the letter before them (to Python they are no part of a word).

    Those of the basic plane: beyond lie historic scripts and few others, and an expression with such a class is thirty times as slow.
    """
    marks = [chr(code) for code in range(0x300, 0xFE10) if unicodedata.category(chr(code)) in ("Mn", "Mc")]
    return f"[{''.join(marks)}\u200c\u200d\ufe0f]*+"


@cache
def _word() -> re.Pattern[str]:
    return re.compile(rf"(?:\w++{_marks()})+")


@cache
def _word_or_sign() -> re.Pattern[str]:
    letter = rf"[^\W{_HAN_OR_KANA}{_UNSPACED}]"
    return re.compile(rf"[{_HAN_OR_KANA}]{_marks()}|(?![\W_])[{_UNSPACED}]{_marks()}|(?:{letter}++{_marks()})+")


def _looped(text: str) -> float:
    """Return the share of characters in loops. Rules of tables count only where they are most of the text."""
    looped = ruled = done = 0
    for at in range(0, len(text) - 2 * _LONGEST_PERIOD, _STEP):  # each loop has such a place in its first half
        if at >= done and (period := _period(text, at)):
            start, done = _extent(text, at, period, done)
            piece = text[at : at + period]
            if done - start >= _LOOP_CHARS and not piece.isspace():
                size = _visible(text[start + period : done])  # the first time is no repetition
                looped, ruled = (looped, ruled + size) if _RULE_SIGNS.issuperset(piece) else (looped + size, ruled)
    if not looped and not ruled:
        return 0.0
    visible = _visible(text)
    return (looped + (ruled if 2 * ruled >= visible else 0)) / visible


def _period(text: str, at: int) -> int:
    """After how many characters the text at this place comes again; 0 if it does not soon."""
    again = text.find(text[at : at + _LONGEST_PERIOD], at + 1, at + 2 * _LONGEST_PERIOD)
    return max(0, again - at)


def _extent(text: str, at: int, period: int, least: int) -> tuple[int, int]:
    """Where a loop that holds the place ``at`` begins and ends."""
    start, end = at, at + period
    while start > max(least, at - _STEP) and text[start - 1] == text[start - 1 + period]:
        start -= 1
    while end < len(text) and text[end] == text[end - period]:
        end += 1
    return start, end


def _visible(text: str) -> int:
    return sum(map(len, text.split()))
