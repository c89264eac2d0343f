"""Our turns as chat templates take them."""

from __future__ import annotations

import pytest
from versatune.transforms.reading.template_turns import template_turns

CALLS = '[{"name":"f","arguments":{"a":1}},{"name":"g","arguments":{}}]'


def test_plain_turns_are_objects_with_role_and_content() -> None:
    turns, tools = template_turns([("system", "S"), ("user", "Why?"), ("assistant", "Because.")])
    assert turns == [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "Because."},
    ]
    assert tools is None


def test_calls_join_what_the_assistant_said_and_results_name_their_calls() -> None:
    messages = [
        ("user", "Why?"), ("assistant", "Let me see."), ("tool_call", CALLS), ("tool", "1"), ("tool", "2"), ("tool", "3"),
        ("tool_call", '[{"name":"h","arguments":{}}]'), ("tool", "4"), ("assistant", "Because."),
    ]  # fmt: skip
    turns, tools = template_turns(messages, '[{"type":"function","function":{"name":"f"}}]')
    assert [turn["role"] for turn in turns] == [
        "user",
        "assistant",
        "tool",
        "tool",
        "tool",
        "assistant",
        "tool",
        "assistant",
    ]
    assert turns[1]["content"] == "Let me see."
    assert [call["function"] for call in turns[1]["tool_calls"]] == [
        {"name": "f", "arguments": {"a": 1}},
        {"name": "g", "arguments": {}},
    ]
    assert turns[5]["content"] == ""
    ids = [turn["tool_call_id"] for turn in turns if turn["role"] == "tool"]
    assert ids == ["call00000", "call00001", "call00001", "call00002"]
    assert [turn["name"] for turn in turns if turn["role"] == "tool"] == ["f", "g", "g", "h"]
    assert tools == [{"type": "function", "function": {"name": "f"}}]


def test_a_document_has_no_turns() -> None:
    with pytest.raises(ValueError, match="document"):
        template_turns([("text", "A document.")])
