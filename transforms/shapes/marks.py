"""What a source says beside a turn about whether it is to be learned, and the values by which data says yes or no."""

from __future__ import annotations

import math
from typing import Any

from versatune.transforms.shapes.base import MARKED, UNLEARNED, WEIGHT_NOT_APPLIED, Message, Row, RowError, type_name

_LEARNED = (
    "weight", "loss_weight", "loss_scale", "loss", "with_loss", "has_loss", "use_loss", "compute_loss", "calculate_loss",
    "output_with_loss", "loss_mask", "train", "training", "trainable", "is_trainable", "should_train", "do_train",
    "train_turn", "train_on_turn", "train_on", "learn", "learnable", "supervise", "supervised",
)  # fmt: skip
_NOT_LEARNED = (
    "mask", "masked", "is_masked", "mask_loss", "loss_masked", "ignore", "ignore_loss", "no_loss", "skip_loss",
    "exclude_from_loss", "no_train", "skip_train", "skip_training", "context_only",
)  # fmt: skip
MARKS = {
    spelling: name
    for name in (*_LEARNED, *_NOT_LEARNED)
    for words in (name.split("_"),)
    for spelling in (
        name, "-".join(words), " ".join(words), name.upper(), name.title(), name.capitalize(), " ".join(words).capitalize(),
        words[0] + "".join(map(str.capitalize, words[1:])), "".join(map(str.capitalize, words)),
    )
}  # fmt: skip
"""Fields of a turn that say whether it is learned, in each of the usual spellings (``lossWeight``, ``loss-weight``)."""
_WORDS = {
    "true": 1.0,
    "yes": 1.0,
    "on": 1.0,
    "false": 0.0,
    "no": 0.0,
    "off": 0.0,
    "t": 1.0,
    "y": 1.0,
    "f": 0.0,
    "n": 0.0,
}


def amount(value: Any) -> float | None:
    """Return what a value of a mark or verdict amounts to: 0 for every form of no, 1 for yes, a number itself; else None.

    Text is read as what it writes (``"0"``, ``"0.0"``, ``"False"``): a CSV file has nothing else.
    """
    if isinstance(value, str):
        word = value.strip().lower()
        try:
            number = _WORDS[word] if word in _WORDS else float(word)
        except ValueError:
            return None
    elif isinstance(value, int | float):
        number = float(value)
    else:
        return None
    return number if math.isfinite(number) else None


def marked(messages: list[Message], turn: Row, where: str) -> list[Message]:
    """Return one turn's messages, those of the assistant with the mark that its source gives them.

    One mark that says no is enough. Marks on what others say change nothing, for nobody learns it.

    Raises:
        RowError: bad_mark.
    """
    given = sorted(name for name in MARKS.keys() & turn.keys() if turn[name] is not None and turn[name] != "")
    marks = {_mark(name, turn[name], where) for name in given}
    mark = UNLEARNED if UNLEARNED in marks else max(marks, default="")
    return [(f"{role}/{mark}" if f"{role}/{mark}" in MARKED else role, content) for role, content in messages]


def _mark(field: str, value: Any, where: str) -> str:
    """Return UNLEARNED, WEIGHT_NOT_APPLIED, or nothing for an ordinary turn."""
    number, known = amount(value), MARKS[field]
    if known in _NOT_LEARNED:
        if number in (0, 1) and (known != "mask" or isinstance(value, bool)):  # a mask of numbers may mean either
            return UNLEARNED if number else ""
        raise RowError("bad_mark", f"'{field}' of {where} is {_shown(value)}; expected true or false")
    if number is None or number < 0:
        raise RowError("bad_mark", f"'{field}' of {where} is {_shown(value)}; expected true, false, or a number from 0")
    return UNLEARNED if number == 0 else "" if number == 1 else WEIGHT_NOT_APPLIED


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else type_name(value)
