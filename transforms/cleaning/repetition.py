"""How much of a text repeats itself, as in Gopher's quality filters (arXiv 2112.11446, table A1)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from versatune.transforms.cleaning.texts import answers
from versatune.transforms.shapes.base import Example, RowError

_HAN_OR_KANA = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_HAN_OR_KANA}]|[^\W{_HAN_OR_KANA}]+")
_WORDS_IN_NGRAM = 5
_FEWEST_WORDS = 50  # Gopher keeps no shorter text at all; the repetition of one formula or query means nothing
_CHARACTERS_IN_NGRAM = 10  # a Chinese word is about two characters


def repetition_filter(limit: float) -> Callable[[Example, Counter[str]], Example]:
    """Return the step that rejects an example if an answer's repetition is above ``limit``."""

    def keep_varied(example: Example, _counts: Counter[str]) -> Example:
        for text in answers(example):
            share = repetition(text)
            if share > limit:
                raise RowError("repetition", f"{share:.2f} of an answer repeats itself; at most {limit:g} is asked for")
        return example

    return keep_varied


def repetition(text: str) -> float:
    """Return the share of characters that lie in repeated word n-grams.

    Words are runs of letters and digits, upper and lower case alike; a Han or Kana character is a word of its own.
    With words w[0..m) of which n-gram i is w[i..i+n), let R be the words of all n-grams that occurred before, at some
    j < i. The share is the characters of R divided by those of all words; overlapping n-grams count once. n is 5, or
    10 where most words are Han or Kana characters. A text of fewer than 50
    words has none.
    """
    words = _WORD.findall(text.casefold())
    if len(words) < _FEWEST_WORDS:
        return 0.0
    n = _WORDS_IN_NGRAM
    if not text.isascii() and 2 * sum(word[0] > "\u303f" for word in words) > len(words):
        n = _CHARACTERS_IN_NGRAM
    seen: set[tuple[str, ...]] = set()
    repeated = covered_to = 0
    for start, ngram in enumerate(zip(*(words[k:] for k in range(n)), strict=False)):
        if ngram in seen:
            repeated += sum(map(len, words[max(start, covered_to) : start + n]))
            covered_to = start + n
        else:
            seen.add(ngram)
    return repeated / sum(map(len, words))
