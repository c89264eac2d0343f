"""A user's regular expression, searched for in a time that no text can make long, and with the same answer on every machine."""

from __future__ import annotations

import re
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc
import regex

from versatune.transforms.cleaning.translation import for_re2, for_regex

_SOON_S = 0.05
_AT_LAST_S = 20.0
"""Of this process's processor time."""


class UndecidedError(Exception):
    """No engine could say in time whether a pattern is in a text."""


class Search:
    """A pattern in the syntax, and with the meaning, of Python's ``re``; asked only whether it is anywhere in a text.

    First ``regex`` is asked, which is fast and gives up on the few texts in which a pattern can be tried in very many ways. Those are given
    to RE2, whose time grows with the text alone (pyarrow brings it; it is slow to set up). Both give the answer that ``re`` would give. RE2
    finds too much where the pattern looks around or refers back: such texts are left to ``regex`` for much longer.
    """

    def __init__(self, pattern: str) -> None:
        """Compile a pattern.

        Raises:
            re.error: it is none.
        """
        re.compile(pattern)  # what re refuses only when it compiles, such as a look-behind of no fixed width
        self.pattern = pattern
        self._regex = regex.compile(for_regex(pattern))

    def is_in(self, text: str) -> bool:
        """Say whether the pattern matches anywhere.

        Raises:
            UndecidedError: it cannot be told in time.
        """
        try:
            return self._regex.search(text, timeout=_SOON_S) is not None
        except TimeoutError:
            return self._surely_in(text)

    def _surely_in(self, text: str) -> bool:
        pattern, exact = _for_re2(self.pattern)  # most patterns never get here
        try:
            found = bool(pc.match_substring_regex(pa.array([text]), pattern)[0].as_py())
        except pa.ArrowInvalid:  # it is too large for RE2
            found, exact = True, False
        if exact or not found:
            return found
        try:
            return self._regex.search(text, timeout=_AT_LAST_S) is not None
        except TimeoutError:
            raise UndecidedError from None


@lru_cache(maxsize=32)
def _for_re2(pattern: str) -> tuple[str, bool]:
    return for_re2(pattern)
