"""Which language a conversation is in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from versatune.schemas.errors import ConfigError, nearest
from versatune.transforms.shapes.base import REASONING, Example, RowError

_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_READ_CHARS = 1000  # more changes no verdict and costs time
_FEWEST_LETTERS = 8
_ISO_639_1 = 2  # letters
_NO_LANGUAGE = "zxx"
_FEWEST_CHARS = 50  # of a text that is judged by itself
_SPOKEN = ("user", REASONING, "assistant", "text")
_PART = {
    "user": "prompt", "assistant": "answer", "text": "document", REASONING: "thoughts", "rejected": "worse answer", "whole": "texts",
}  # fmt: skip
_SURE = 0.6  # then 1 % of texts of 20 to 50 characters are told wrongly, and 0.1 % of longer ones


def language_filter(languages: Sequence[str]) -> Callable[[Example, Counter[str]], Example]:
    """Return the step that keeps conversations in these languages, and those too short or too mixed to tell.

    Every turn of user and assistant, its thoughts, every document and a worse answer is judged by itself where it is long enough to
    tell; where none is, all are judged together. So a prompt in one of the languages does not let through an answer in
    another, and a translation stays only if both of its languages are asked for.

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
        said = [(role, content) for role, content in example.messages if role in _SPOKEN]
        if example.rejected is not None:
            said.append(("rejected", example.rejected))
        found = [(role, identify(content)) for role, content in said if len(content) >= _FEWEST_CHARS]
        if not any(language for _, language in found):
            found = [("whole", identify(" ".join(content for _, content in said)))]
        for role, language in found:
            if language is not None and language not in wanted:
                raise RowError(
                    "other_language",
                    f"the language of its {_PART.get(role, role)} is '{language}'; kept are {', '.join(sorted(wanted))}",
                )
        if not any(language for _, language in found):
            counts["clean.language_undetermined"] += 1
        return example

    return keep_languages


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
