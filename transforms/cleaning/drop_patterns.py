"""The user's own regular expressions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from versatune.schemas.errors import ConfigError
from versatune.transforms.cleaning.texts import texts
from versatune.transforms.shapes.base import Example, RowError


def pattern_filter(patterns: Sequence[str]) -> Callable[[Example, Counter[str]], Example]:
    """Return the step that rejects an example if a pattern matches anywhere in one of its texts.

    Raises:
        ConfigError: a pattern is no regular expression.
    """
    compiled = [_compiled(pattern) for pattern in patterns]

    def drop_matches(example: Example, _counts: Counter[str]) -> Example:
        for number, pattern in enumerate(compiled):
            if any(pattern.search(text) for text in texts(example)):
                raise RowError("drop_pattern", f"build.clean.drop_patterns[{number}] matches")
        return example

    return drop_matches


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"build.clean.drop_patterns: '{pattern}' is no regular expression ({error}); write one in the syntax of"
            " Python's re module, and in YAML put it in single quotes"
        ) from None
