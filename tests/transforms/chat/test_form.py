"""Our turns as chat templates take them."""

from __future__ import annotations

from typing import Any

import pytest

from versatune.transforms.chat.form import Form, conversation
from versatune.transforms.shapes.base import Message

CALLS = '[{"name":"f","arguments":{"a":1}},{"name":"g","arguments":{}}]'
WITH_CALLS = [
    ("user", "Why?"), ("assistant", "Let me see."), ("tool_call", CALLS), ("tool", "1"), ("tool", "2"), ("tool", "3"),
    ("tool_call", '[{"name":"h","arguments":{}}]'), ("tool", "4"), ("assistant", "Because."),
]  # fmt: skip


PLAIN = Form()


def passed(turns: list[Message], form: Form = PLAIN, **options: bool) -> list[dict[str, Any]]:
    return form.messages(conversation(turns, form), **options)


def test_plain_turns_are_objects_with_role_and_content() -> None:
    assert passed([("system", "S"), ("user", "Why?"), ("assistant", "Because.")]) == [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "Because."},
    ]


def test_calls_join_what_the_assistant_said_and_results_name_their_calls() -> None:
    turns = passed(WITH_CALLS)
    roles = ["user", "assistant", "tool", "tool", "tool", "assistant", "tool", "assistant"]
    assert [turn["role"] for turn in turns] == roles
    assert turns[1]["content"] == "Let me see."
    functions = [call["function"] for call in turns[1]["tool_calls"]]
    assert functions == [{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {}}]
    assert turns[5]["content"] == ""
    results = [turn for turn in turns if turn["role"] == "tool"]
    assert [turn["tool_call_id"] for turn in results] == ["call00000", "call00001", "call00001", "call00002"]
    assert [turn["name"] for turn in results] == ["f", "g", "g", "h"]


def test_each_message_knows_its_turns() -> None:
    assert [message.numbers for message in conversation(WITH_CALLS, Form())] == [
        (0,), (1, 2), (3,), (4,), (5,), (6,), (7,), (8,),
    ]  # fmt: skip


def test_own_ids_are_kept_where_every_call_has_one() -> None:
    calls = '[{"name":"f","arguments":{},"id":"x1"}]'
    turns: list[Message] = [("user", "Why?"), ("tool_call", calls), ("tool", "1"), ("assistant", "So.")]
    assert passed(turns)[2]["tool_call_id"] == "x1"
    assert passed(turns, own_ids=False)[2]["tool_call_id"] == "call00000"
    other: list[Message] = [*turns, ("user", "And?"), ("tool_call", '[{"name":"g","arguments":{}}]')]
    assert passed(other)[2]["tool_call_id"] == "call00000"


@pytest.mark.parametrize(("own", "shown"), [("functions.f:7", "functions.f:7"), ("x1", "functions.f:0")])
def test_where_an_id_names_the_call_it_holds_the_name(own: str, shown: str) -> None:
    calls = f'[{{"name":"f","arguments":{{}},"id":"{own}"}}]'
    turns = passed([("user", "Why?"), ("tool_call", calls), ("tool", "1")], Form(ids_name=True))
    assert (turns[1]["tool_calls"][0]["id"], turns[2]["tool_call_id"]) == (shown, shown)


def test_contents_arguments_and_empty_contents_take_the_templates_form() -> None:
    turns = passed(WITH_CALLS, Form(parts=True, text_arguments=True, null_content=True))
    assert turns[0]["content"] == [{"type": "text", "text": "Why?"}]
    assert turns[1]["tool_calls"][0]["function"]["arguments"] == '{"a": 1}'
    assert turns[5]["content"] is None


def test_arguments_as_text_keep_the_digits_that_were_written() -> None:
    calls = '[{"name":"f","arguments":{"a":1.10,"b":12345678901234567890123}}]'
    (_, turn) = passed([("user", "Why?"), ("tool_call", calls)], Form(text_arguments=True))
    assert turn["tool_calls"][0]["function"]["arguments"] == '{"a": 1.10, "b": 12345678901234567890123}'


THOUGHT: list[Message] = [("user", "Why?"), ("reasoning", "Hm."), ("assistant", "Because.")]
INLINE: list[Message] = [("user", "Why?"), ("assistant", "<think>\nHm.\n</think>\n\nBecause.")]


@pytest.mark.parametrize("turns", [THOUGHT, INLINE], ids=["own turn", "inline"])
@pytest.mark.parametrize("field", ["reasoning_content", "thinking", "reasoning"])
def test_thoughts_go_into_the_templates_field(turns: list[Message], field: str) -> None:
    assert passed(turns, Form(thoughts=field))[1] == {"role": "assistant", field: "Hm.", "content": "Because."}


def test_without_a_field_thoughts_stay_where_the_source_wrote_them() -> None:
    assert passed(INLINE, Form())[1]["content"] == INLINE[1][1]
    assert passed(THOUGHT, Form())[1] == {"role": "assistant", "content": "Because."}
    assert passed(THOUGHT, Form(thoughts="inline"))[1]["content"] == INLINE[1][1]


def test_thoughts_text_and_call_are_one_message() -> None:
    turns: list[Message] = [("user", "Why?"), ("reasoning", "Hm."), ("assistant", "Let me see."), ("tool_call", CALLS)]
    (_, message) = conversation(turns, Form())
    assert (message.thoughts, message.content, len(message.calls), message.numbers) == (
        "Hm.",
        "Let me see.",
        2,
        (1, 2, 3),
    )
