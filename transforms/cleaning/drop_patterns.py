"""The user's own regular expressions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import regex

from versatune.schemas.errors import ConfigError, RunError
from versatune.transforms.cleaning.search import Search, UndecidedError
from versatune.transforms.cleaning.texts import texts
from versatune.transforms.shapes.base import Example, RowError


def pattern_filter(patterns: Sequence[str]) -> Callable[[Example, Counter[str]], Example]:
    """Return the step that rejects an example if a pattern matches anywhere in one of its texts.

    The step raises RunError where that cannot be told in time, see :class:`versatune.transforms.cleaning.search.Search`: to reject the row,
    or to keep it, would make the dataset depend on how fast the machine is.

    Raises:
        ConfigError: a pattern is no regular expression.
    """
    searches = [_compiled(pattern) for pattern in patterns]

    def drop_matches(example: Example, _counts: Counter[str]) -> Example:
        for number, search in enumerate(searches):
            try:
                found = any(search.is_in(text) for text in texts(example))
            except UndecidedError:
                raise RunError(_undecided(number, search.pattern, example)) from None
            if found:
                raise RowError("drop_pattern", f"build.clean.drop_patterns[{number}] matches")
        return example

    return drop_matches


def _compiled(pattern: str) -> Search:
    try:
        return Search(pattern)
    except (re.error, regex.error, OverflowError, RecursionError) as error:
        raise ConfigError(
            f"build.clean.drop_patterns: '{pattern}' is no regular expression ({error}); write one in the syntax of"
            " Python's re module, and in YAML put it in single quotes"
        ) from None


def _undecided(number: int, pattern: str, example: Example) -> str:
    longest = max(map(len, texts(example)))
    return (
        f"build.clean.drop_patterns[{number}]: {pattern!r} can be tried in so many ways on this row, whose longest text has"
        f" {longest:,} characters, that no engine could decide it in time. Write it without looking around ((?=), (?<=), \\b),"
        " without references back, and without a repetition inside a repetition such as (a+)+; or have such rows rejected before it,"
        " with build.clean.max_chars"
    )
