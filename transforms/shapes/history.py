"""Earlier turns of a row: pairs, or texts with a speaker's mark."""

from __future__ import annotations

import re
from typing import Any

from versatune.transforms.shapes.base import Message, RowError, text, type_name
from versatune.transforms.shapes.turns import ROLES, turns

_MARK = re.compile(r"\s*(?:\[([^\[\]\n]{1,20})\]|【([^【】\n]{1,20})】|([^\W\d_]{1,12})(?=[:：]))[:：]?\s*")
_SPEAKERS = {
    **ROLES,
    "客户": "user", "患者": "user", "病人": "user", "patient": "user", "client": "user", "customer": "user", "q": "user",
    "律师": "assistant", "医生": "assistant", "客服": "assistant", "doctor": "assistant", "lawyer": "assistant",
    "agent": "assistant", "a": "assistant",
}  # fmt: skip


def history_turns(value: Any, field: str = "history") -> list[Message]:
    """Return the turns of a history.

    Read are pairs of prompt and answer, turns with speakers, and texts: by the speaker's mark at their beginning
    (``[客户] ...``, ``User: ...``) if every text has a known one, else the user's first and then in turn.

    Raises:
        RowError: none of these.
    """
    if not value:
        return []
    if not isinstance(value, list):
        raise RowError("wrong_type", f"field '{field}' holds {type_name(value)}; expected a list of pairs")
    if all(isinstance(item, dict) for item in value):
        return turns(value, field)
    if all(isinstance(item, str) for item in value):
        return _marked(value) or turns(value, field)
    messages: list[Message] = []
    for number, pair in enumerate(value):
        where = f"{field}.{number}"
        if not isinstance(pair, list) or len(pair) != 2:
            raise RowError("wrong_type", f"{where} is {type_name(pair)}; expected a pair of prompt and answer")
        messages += [("user", text(pair[0], "prompt", where)), ("assistant", text(pair[1], "answer", where))]
    return messages


def _marked(texts: list[str]) -> list[Message] | None:
    messages: list[Message] = []
    for said in texts:
        mark = _MARK.match(said)
        role = _SPEAKERS.get((mark[1] or mark[2] or mark[3]).strip().lower()) if mark else None
        if mark is None or role not in ("user", "assistant"):
            return None
        messages.append((role, said[mark.end() :]))
    return messages
