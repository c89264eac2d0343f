"""Why a whole file cannot be read."""

from __future__ import annotations


class FormatError(Exception):
    """What was found in a file, what was expected, what to do; the reader adds which file."""
