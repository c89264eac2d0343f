"""Which result belongs to which call: by the call's id, then by the tool's name, by place only where neither is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from versatune.transforms.shapes import exact_json
from versatune.transforms.shapes.base import Message, Row, RowError, first_field, plain_role

_IDS = ("tool_call_id", "call_id", "tool_use_id", "toolCallId", "callId", "toolUseId")
_NAMES = ("name", "tool_name", "toolName")


class Origin(NamedTuple):
    """What a result says of its call; empty where it says nothing."""

    call_id: str
    name: str
    own_id: str = ""
    """The turn's own ``id``: it names a call only where a call of the round has it."""


def origin(turn: Row) -> Origin:
    """Return what the turn of a result says of its call."""
    name = turn.get(first_field(turn, _NAMES) or "")
    call_id = written_id(turn.get(first_field(turn, _IDS) or ""))
    return Origin(call_id, name if isinstance(name, str) else "", written_id(turn.get("id")))


def written_id(value: Any) -> str:
    """Return an id as text, a number too."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def in_order_of_calls(messages: list[Message], origins: Sequence[Origin], where: str) -> list[Message]:
    """Put the results of each round into the order of its calls, so that the n-th result is that of the n-th call.

    A round's results stay as they are where none of them names its call, and at the end of a conversation, where they are
    left out. An id counts before a name; of several calls of one name the first without a result takes it.

    Args:
        messages: the turns.
        origins: of each result among them, in their order.
        where: names the turns in errors.

    Raises:
        RowError: tool_order: a result of a call that is not there, two of one, or a call without one.
    """
    ordered: list[Message] = []
    said = iter(origins)
    at = 0
    while at < len(messages):
        end = at
        while end < len(messages) and messages[end][0] == "tool":
            end += 1
        if end == at:
            ordered.append(messages[at])
            at += 1
            continue
        results = [(content, next(said)) for _, content in messages[at:end]]
        follows_calls = bool(ordered) and plain_role(ordered[-1][0]) == "tool_call"
        calls = []
        if follows_calls and end < len(messages) and any(any(named) for _, named in results):
            calls = exact_json.loads(ordered[-1][1])
            results = [(content, _naming(named, calls)) for content, named in results]
        if calls and any(any(named) for _, named in results):
            found = _bound(calls, results, f"{where}, turns {at} to {end - 1}")
            ordered += [("tool", content) for content in found]
        else:
            ordered += messages[at:end]
        at = end
    return ordered


def _naming(named: Origin, calls: list[dict[str, Any]]) -> Origin:
    """Return what names the call; a result's own ``id`` does where a call has it, else it is the turn's."""
    is_own = not named.call_id and any(call.get("id") == named.own_id for call in calls)
    return Origin(named.own_id if is_own else named.call_id, named.name)


def _bound(calls: list[dict[str, Any]], results: list[tuple[str, Origin]], where: str) -> list[str]:
    """Return the contents of a round's results in the order of its calls."""
    with_ids = any("id" in call for call in calls)
    found: dict[int, str] = {}
    waiting: list[list[tuple[str, str, str, str]]] = [[], [], []]
    for content, (call_id, name, _) in results:
        if call_id and with_ids:
            waiting[0].append((content, "id", call_id, name))
        elif name:
            waiting[1].append((content, "name", name, name))
        elif call_id and len(calls) > 1:
            raise RowError("tool_order", f"{where}: a result names its call by an id, and the calls have none")
        else:
            waiting[2].append((content, "", "", ""))
    for content, key, value, name in (result for group in waiting for result in group):
        same = [number for number, call in enumerate(calls) if not key or call.get(key) == value]
        free = [number for number in same if number not in found]
        free.sort(key=lambda number: calls[number]["name"] != name)  # where calls share an id, the name tells
        if not free:
            why = "more results than calls" if not key else "two results of one call" if same else "a result of no call"
            raise RowError("tool_order", f"{where}: {why}{f' (by its {key})' if key else ''}")
        found[free[0]] = content
    if len(found) < len(calls):
        raise RowError("tool_order", f"{where}: {len(calls) - len(found)} of {len(calls)} calls have no result")
    return [found[number] for number in range(len(calls))]
