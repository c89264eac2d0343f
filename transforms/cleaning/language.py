"""Which language a conversation is in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from versatune.schemas.errors import ConfigError, nearest
from versatune.transforms.shapes.base import Example, RowError

_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_READ_CHARS = 1000  # more changes no verdict and costs time
_FEWEST_LETTERS = 8
_ISO_639_1 = 2  # letters
_NO_LANGUAGE = "zxx"
_SURE = 0.6  # then 1 % of texts of 20 to 50 characters are told wrongly, and 0.1 % of longer ones


def language_filter(languages: Sequence[str]) -> Callable[[Example, Counter[str]], Example]:
    """Return the step that keeps conversations in one of these languages, and those too short or too mixed to tell.

    Args:
        languages: ISO 639-1 codes.

    Raises:
        ConfigError: a code that the identifier does not know.
    """
    known = set(_identifier().labels) - {_NO_LANGUAGE}
    for code in languages:
        if code not in known:
            raise ConfigError(f"build.clean.languages: '{code}' is no ISO 639-1 code{nearest(code, known)}")
    wanted = frozenset(languages)

    def keep_languages(example: Example, counts: Counter[str]) -> Example:
        language = identify(" ".join(content for role, content in example.messages if role in _SPOKEN))
        if language is None:
            counts["clean.language_undetermined"] += 1
        elif language not in wanted:
            raise RowError("other_language", f"the language is '{language}'; kept are {', '.join(sorted(wanted))}")
        return example

    return keep_languages


_SPOKEN = ("user", "assistant", "text")


def identify(text: str) -> str | None:
    """Return the ISO 639-1 code of a text's language, or None if it is too short, too mixed or code.

    Fenced code does not count; the first 1,000 characters are read. The method is langid.py's (Lui and Baldwin 2012):
    naive Bayes over byte n-grams.
    """
    if "```" in text:
        text = _CODE.sub(" ", text)
    text = text[:_READ_CHARS]
    if sum(map(str.isalpha, text[:200])) < _FEWEST_LETTERS:
        return None
    label, probability = _identifier().classify(text)
    return str(label) if probability >= _SURE and label != _NO_LANGUAGE else None


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    # Pidgin and Wu, which have three letters, would take short texts from English and Chinese.
    identifier.set_languages(
        [label for label in identifier.labels if len(label) == _ISO_639_1 or label == _NO_LANGUAGE]
    )
    return identifier
