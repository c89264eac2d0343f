"""Pairs of texts without names: ``["How much?", "Nothing."]``, or lists of such pairs by topic.

Tried where no field name is known: here the names are topics, or the places in a list. Where the second texts look like
classes of the first (``["My parcel is late", "delivery"]``), nothing says what is asked, and the row is refused.
"""

from __future__ import annotations

from typing import Any

from versatune.transforms.shapes.base import Example, Row, RowError
from versatune.transforms.shapes.labels import is_class

NAME = "qa_pairs"
_PLACES = ("0", "1")
_MAX_DEPTH = 8


def pair_examples(row: Row) -> list[Example] | None:
    """Return an example for each pair, in their order, or None if the row holds anything but pairs, or lists of them.

    Raises:
        RowError: most of the pairs look like a text and its class.
    """
    pairs: list[list[str]] = []
    alone = tuple(row) == _PLACES
    if alone:
        pairs = [[row["0"], row["1"]]] if _is_pair([row["0"], row["1"]]) else []
    elif not _collect(row, pairs, 0):
        return None
    if 2 * sum(is_class(answer, asked) for asked, answer in pairs) > len(pairs):
        how = (
            'fields: {prompt: "0", completion: "1"}'
            if alone
            else 'a row for each, such as {"prompt": TEXT, "completion": TEXT}'
        )
        raise RowError(
            "unknown_shape",
            f"the second text of {'the pair' if alone else 'most pairs'} looks like a class of the first, and nothing says what is"
            f" asked; if it is the answer, say so: {how}",
        )
    return [Example([("user", asked), ("assistant", answer)]) for asked, answer in pairs] or None


def _collect(value: Any, found: list[list[str]], depth: int) -> bool:
    if depth > _MAX_DEPTH:
        return False
    if isinstance(value, dict):
        return all(_collect(inner, found, depth + 1) for inner in value.values())
    if not isinstance(value, list) or not all(_is_pair(item) for item in value):
        return False
    found += value
    return True


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], str)
