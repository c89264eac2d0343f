"""Rows for training a classifier: a text beside its class. Nowhere do they say what is asked, so they are not read by themselves."""

from __future__ import annotations

from functools import lru_cache

from versatune.transforms.shapes.base import Row, plain_name

_CLASSES = frozenset(
    """
    label labels lbl class classes sentiment sentiments intent intents emotion emotions polarity stance
    spam toxic toxicity hate offensive sarcasm subjectivity y
    """.split()  # noqa: SIM905
)
_NOTES = frozenset(
    """
    category categories topic topics type types tag tags genre genres rating ratings stars is department
    """.split()  # noqa: SIM905
)
DOCUMENT_CHARS = 1000
"""From this length on a text beside a category or the like is a document with a note, and no example of its class."""
_LABEL_CHARS = 40
_LABEL_WORDS = 3


def class_field(row: Row, content: str) -> str | None:
    """Return the field that holds the class of a text, or None.

    A label, class, sentiment, intent or emotion always does. A category, topic, type, tag, genre or rating, or a name
    that begins with ``is``, does beside a short text; a long one is a document.
    """
    classes, notes = _class_names(tuple(row))
    for name in (*classes, *(notes if len(content) < DOCUMENT_CHARS else ())):
        if row[name] is not None and row[name] not in ("", []):
            return name
    return None


@lru_cache(maxsize=4096)
def _class_names(names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names that are, begin or end with such a word: ``intent``, ``label_text``, ``News Category``."""
    split = {name: plain_name(name).split("_") for name in names}
    words = {name: {parts[0], parts[-1]} for name, parts in split.items()}
    return (
        tuple(name for name in names if words[name] & _CLASSES),
        tuple(name for name in names if words[name] & _NOTES and not words[name] & _CLASSES),
    )


def is_class(content: str, asked: str) -> bool:
    """Say whether the second text of a pair without names looks like the class of the first, and not like its answer.

    A class is short (40 characters, three words) and no sentence. An answer to a question may be short too: there only
    small letters make a class (``delivery``, ``card_arrival``).
    """
    content = content.strip()
    if len(content) > _LABEL_CHARS or len(content.split()) > _LABEL_WORDS or content[-1:] in tuple(".!?:。！？："):
        return False
    if asked.rstrip()[-1:] in tuple("?？"):
        return "_" in content or content.islower()
    return True


def class_detail(text_field: str, label_field: str) -> str:
    """Say why a text beside its class is not read."""
    return (
        f"'{label_field}' looks like a class of '{text_field}', and nothing says what is asked. To learn to answer with it all"
        f" the same: fields: {{prompt: {text_field}, completion: {label_field}}}; to learn the texts alone: fields: {{text: {text_field}}}"
    )
