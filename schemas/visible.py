"""Text from anybody, for a page or a card: what cannot be seen, or moves what can, is shown by its number."""

from __future__ import annotations

import unicodedata

_KEPT = "\n\t\u200c\u200d"  # the joiners are part of how some scripts are spelled


def visible(text: str) -> str:
    """Return text in which every character can be seen: control characters and invisible ones as [U+001B].

    Line breaks, tabs, blanks and the joiners that some scripts need stay as they are.
    """
    return text if text.isascii() and text.isprintable() else "".join(map(_visible, text))


def _visible(char: str) -> str:
    if char.isprintable() or char in _KEPT or unicodedata.category(char) == "Zs":
        return char
    return f"[U+{ord(char):04X}]"
