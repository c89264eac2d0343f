"""Our turns in the form that chat templates take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from versatune.transforms.shapes import exact_json
from versatune.transforms.shapes.base import Message


def template_turns(
    messages: Sequence[Message], tools: str | None = None, *, own_ids: bool = True
) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
    """Return messages and tools as ``apply_chat_template`` takes them.

    A tool call becomes an assistant's message with ``tool_calls``; where the assistant spoke before it in the same turn,
    both are one message. Calls keep the ids of their source if all of a conversation have one; else they are numbered
    through it (``call00000``: nine letters and digits, as Mistral's templates demand). Each result carries the id and the
    name of its call, in order.

    Args:
        messages: (role, content) pairs, checked.
        tools: JSON list of tools, or None.
        own_ids: False numbers the calls in any case.

    Raises:
        ValueError: a document (role ``text``) has no turns.
    """
    turns: list[dict[str, Any]] = []
    rounds = [exact_json.loads(content) for role, content in messages if role == "tool_call"]
    own_ids = own_ids and all("id" in call for calls in rounds for call in calls)
    open_calls: list[dict[str, Any]] = []
    count = 0
    for role, content in messages:
        if role == "text":
            raise ValueError(
                "a message of role 'text' is a document; it is tokenised as it is, without a chat template"
            )
        if role == "tool_call":
            calls = _calls(exact_json.loads(content), count, own_ids=own_ids)
            count += len(calls)
            open_calls = list(calls)
            if not turns or turns[-1]["role"] != "assistant" or "tool_calls" in turns[-1]:
                turns.append({"role": "assistant", "content": ""})
            turns[-1]["tool_calls"] = calls
        elif role == "tool":
            call = open_calls.pop(0) if len(open_calls) > 1 else open_calls[0]
            turns.append(
                {"role": "tool", "content": content, "tool_call_id": call["id"], "name": call["function"]["name"]}
            )
        else:
            turns.append({"role": role, "content": content})
    return turns, exact_json.loads(tools) if tools is not None else None


def _calls(calls: list[dict[str, Any]], first: int, *, own_ids: bool) -> list[dict[str, Any]]:
    return [
        {
            "id": call["id"] if own_ids else f"call{number:05d}",
            "type": "function",
            "function": {"name": call["name"], "arguments": call["arguments"]},
        }
        for number, call in enumerate(calls, first)
    ]
