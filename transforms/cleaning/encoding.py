"""Mojibake: UTF-8 that was once decoded as another encoding (``cafÃ©``)."""

from __future__ import annotations

from collections import Counter

from ftfy import TextFixerConfig, fix_text
from ftfy.badness import is_bad

from versatune.transforms.cleaning.texts import map_texts
from versatune.transforms.shapes.base import Example

# Nothing but the encoding: quotes, widths, ligatures, line breaks, entities and escapes stay as the author wrote them.
# replace_lossy_sequences is off because what it writes (U+FFFD) is no repair.
_MOJIBAKE_ONLY = TextFixerConfig(
    unescape_html=False,
    remove_terminal_escapes=False,
    fix_encoding=True,
    restore_byte_a0=True,
    replace_lossy_sequences=False,
    decode_inconsistent_utf8=True,
    fix_c1_controls=True,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    fix_surrogates=False,
    remove_control_chars=False,
    normalization=None,
    explain=False,
)
_MAX_ROUNDS = 4  # texts have been found decoded wrongly three times over


def repair_encoding(example: Example, counts: Counter[str]) -> Example:
    """Undo mojibake in every text, with ftfy; count the example if it changed."""
    repaired = map_texts(example, repaired_text)
    if repaired is not example:
        counts["clean.encoding_repaired"] += 1
    return repaired


def repaired_text(text: str) -> str:
    """Return a text with its mojibake undone; one without any comes back as it is."""
    if text.isascii():
        return text
    for _ in range(_MAX_ROUNDS):
        if not is_bad(text):
            break
        fixed = fix_text(text, _MOJIBAKE_ONLY)
        if fixed == text:
            break
        text = fixed
    return text
