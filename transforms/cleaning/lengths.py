"""Bounds on the number of characters (Unicode code points)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from versatune.schemas.config import CleanConfig
from versatune.transforms.cleaning.texts import texts
from versatune.transforms.shapes.base import Example, RowError


def length_filter(clean: CleanConfig) -> Callable[[Example, Counter[str]], Example]:
    """Return the step that keeps examples within the bounds of the configuration."""
    shortest = {"user": clean.min_prompt_chars, "assistant": clean.min_answer_chars}
    reasons = {"user": "short_prompt", "assistant": "short_answer"}

    def keep_within(example: Example, _counts: Counter[str]) -> Example:
        for role, content in example.messages:
            if len(content) < shortest.get(role, 0):
                raise RowError(reasons[role], f"{len(content)} characters; at least {shortest[role]} are asked for")
        total = sum(map(len, texts(example)))
        if clean.max_chars is not None and total > clean.max_chars:
            raise RowError("too_long", f"{total} characters; at most {clean.max_chars} are asked for")
        return example

    return keep_within
