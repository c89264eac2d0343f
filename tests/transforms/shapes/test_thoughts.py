"""Thoughts stand before the act that they lead to, wherever a source keeps them."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from versatune.schemas.arrow import NORMALIZED
from versatune.schemas.config import FieldMap
from versatune.transforms.shapes.base import Example, Message, RowError
from versatune.transforms.shapes.conversation import check_turns, example_id, read_examples
from versatune.transforms.transport.batch import example_payloads

FIELDS = ["reasoning_content", "reasoning", "thinking", "thought", "thoughts"]
U, R, A = ("user", "Q"), ("reasoning", "50 and 35."), ("assistant", "85")
CALL, RESULT = ("tool_call", '[{"name":"f","arguments":{}}]'), ("tool", "4")
USER, FUNCTION = {"role": "user", "content": "Q"}, {"name": "f", "arguments": {}}


def read(row: dict[str, Any], fields: FieldMap | None = None) -> Example:
    (example,) = read_examples(orjson.dumps(row), fields)
    return example


def said(*turns: dict[str, Any]) -> list[Message]:
    return read({"messages": [USER, *turns]}).messages


def reason(*turns: dict[str, Any]) -> str:
    with pytest.raises(RowError) as caught:
        said(*turns)
    return caught.value.reason


@pytest.mark.parametrize("field", FIELDS)
def test_thoughts_beside_what_the_assistant_does_stand_before_it(field: str) -> None:
    thinks = {"role": "assistant", field: " 50 and 35.\r\n"}
    assert said({**thinks, "content": "85"}) == [U, R, A]
    assert said({**thinks, "content": None, "tool_calls": [FUNCTION]}) == [U, R, CALL]
    assert said({**thinks, "content": "85", "tool_calls": [FUNCTION]}) == [U, R, A, CALL]
    assert said({**thinks, "tool_calls": [FUNCTION]}, {"role": "tool", "content": "4"}, {**thinks, "content": "85"}) == [
        U, R, CALL, RESULT, R, A,
    ]  # fmt: skip
    turns = [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "85", field: "50 and 35."}]
    assert read({"conversations": turns}).messages == [U, R, A]
    turns[1] = {"from": "function_call", "value": '{"name": "f", "arguments": {}}', field: "50 and 35."}
    assert read({"conversations": turns}).messages == [U, R, CALL]


@pytest.mark.parametrize("nothing", [None, "", " \n", "\u200b", True, 7, [], {"effort": "high"}])
@pytest.mark.parametrize("field", FIELDS)
def test_what_is_no_text_is_no_thought(field: str, nothing: Any) -> None:
    assert said({"role": "assistant", "content": "85", field: nothing}) == [U, A]


def test_of_several_fields_the_first_that_holds_text_counts() -> None:
    assert said({"role": "assistant", "content": "85", "thinking": "50 and 35.", "reasoning_content": None}) == [
        U,
        R,
        A,
    ]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "thinking", "thinking": "50 and 35.", "signature": "x"},
        {"type": "thinking", "thinking": [{"type": "text", "text": "50 and 35."}], "closed": True},
        {"type": "reasoning", "text": "50 and 35."},
        {"type": "reasoning", "reasoning": "50 and 35."},
    ],
)
def test_a_part_of_the_content_may_be_a_thought(part: dict[str, Any]) -> None:
    assert said({"role": "assistant", "content": [part, {"type": "text", "text": "85"}]}) == [U, R, A]
    assert said({"role": "assistant", "content": [part], "tool_calls": [FUNCTION]}) == [U, R, CALL]
    assert said({"role": "assistant", "content": [part, part, "85"]})[1] == ("reasoning", "50 and 35.\n50 and 35.")


def test_a_thought_behind_what_is_said_has_no_place() -> None:
    thought, text = {"type": "thinking", "thinking": "x"}, {"type": "text", "text": "85"}
    assert reason({"role": "assistant", "content": [text, thought]}) == "reasoning_order"
    assert reason({"role": "assistant", "content": [thought, text, thought, text]}) == "reasoning_order"
    assert reason({"role": "assistant", "content": [{"type": "reasoning", "summary": []}, text]}) == "not_text"


@pytest.mark.parametrize("role", ["reasoning", "thinking"])
def test_a_turn_of_its_own_holds_thoughts(role: str) -> None:
    assert said({"role": role, "content": "50 and 35."}, {"role": "assistant", "content": "85"}) == [U, R, A]
    for nothing in (None, " "):
        assert said({"role": role, "content": nothing}, {"role": "assistant", "content": "85"}) == [U, A]
    assert reason({"role": role, "content": 7}, {"role": "assistant", "content": "85"}) == "wrong_type"


def test_thoughts_that_an_answer_writes_itself_stay_in_it() -> None:
    answer = "<think>\n50 and 35.\n</think>\n\n85"
    assert said({"role": "assistant", "content": answer}) == [U, ("assistant", answer)]


def test_thoughts_beside_what_others_say_are_not_read() -> None:
    turns = [{**USER, "thinking": "How do I ask?"}, {"role": "assistant", "content": "85"}]
    assert read({"messages": turns}).messages == [U, A]


@pytest.mark.parametrize(
    ("messages", "checked"),
    [
        ([U, R, A], [U, R, A]),
        ([U, R, A, CALL, RESULT, R, CALL, RESULT, R, A, U, R, A], [U, R, A, CALL, RESULT, R, CALL, RESULT, R, A, U, R, A]),
        ([U, ("reasoning", " "), A], [U, A]),
        ([U, A, U, R], [U, A]),
        ([U, CALL, RESULT, R], [U, CALL]),
    ],
)  # fmt: skip
def test_thoughts_lead_to_an_act_or_are_left_out_at_the_end(messages: list[Message], checked: list[Message]) -> None:
    assert check_turns(messages) == checked


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([U, R], "no_answer"),
        ([R, A], "starts_with_assistant"),
        ([U, R, U, A], "reasoning_order"),
        ([U, R, R, A], "reasoning_order"),
        ([U, A, R, CALL], "reasoning_order"),
        ([U, CALL, R, A], "tool_order"),
        ([U, R, RESULT, A], "tool_order"),
        ([U, R, ("assistant", " ")], "empty_answer"),
    ],
)
def test_thoughts_in_another_place_are_refused(messages: list[Message], why: str) -> None:
    with pytest.raises(RowError) as caught:
        check_turns(messages)
    assert caught.value.reason == why


def test_a_turn_that_only_thinks_has_no_answer() -> None:
    assert reason({"role": "assistant", "content": "", "reasoning_content": "x"}) == "empty_answer"
    assert reason({"role": "assistant", "content": None, "reasoning_content": "x"}) == "missing_answer"


def test_the_mark_of_a_turn_is_that_of_its_thoughts() -> None:
    again = [USER, {"role": "assistant", "content": "A", "thinking": "T"}]
    marked = {"role": "assistant", "content": "85", "thinking": "50 and 35.", "tool_calls": [FUNCTION], "weight": 0}
    example = read({"messages": [USER, marked, {"role": "tool", "content": "4"}, {**again[1]}]})
    assert ([role for role, _ in example.messages][1:4], example.unlearned) == (
        ["reasoning", "assistant", "tool_call"],
        (1, 2, 3),
    )
    alone = [USER, {"role": "reasoning", "content": "x", "train": False}, {"role": "assistant", "content": "y"}, *again]
    assert read({"messages": alone}).unlearned == (1, 2)
    weighed = [USER, {"role": "assistant", "content": "A", "thinking": "T", "weight": 0.5}]
    assert read({"messages": weighed})[3:] == (("weight_not_applied",), ())
    with pytest.raises(RowError, match="nothing_to_learn"):
        read({"messages": [USER, {"role": "assistant", "content": "A", "thinking": "T", "train": False}]})


def test_calls_that_are_written_into_a_text_follow_its_thoughts() -> None:
    called = {"from": "gpt", "value": 'I look. <tool_call>{"name": "f", "arguments": {}}</tool_call>', "thinking": "T"}
    turns = [{"from": "human", "value": "Q"}, called, {"from": "tool", "value": "4"}, {"from": "gpt", "value": "A"}]
    assert [role for role, _ in read({"conversations": turns}).messages][1:5] == [
        "reasoning",
        "assistant",
        "tool_call",
        "tool",
    ]


def test_thoughts_are_part_of_the_id_and_no_part_of_the_prompt_in_it() -> None:
    plain, thinking, other = (example_id(Example(turns)) for turns in ([U, A], [U, R, A], [U, ("reasoning", "x"), A]))
    assert len({plain, thinking, other}) == 3
    assert len({plain[:8], thinking[:8], other[:8]}) == 1


SHAPES: list[dict[str, Any]] = [
    {"prompt": "Q", "completion": "85"},
    {"instruction": "Q", "input": "", "output": "85"},
    {"input": "Q", "output": "85"},
    {"question": "Q", "answer": "85"},
    {"Question": "Q", "Answer": "85"},
    {"prompt": [USER], "completion": [{"role": "assistant", "content": "85"}]},
]


@pytest.mark.parametrize("row", SHAPES)
def test_thoughts_beside_a_rows_answer_are_read_where_that_is_clear(row: dict[str, Any]) -> None:
    for name in ("reasoning_content", "thinking"):
        named = name.title() if "Question" in row else name
        assert read({**row, named: "50 and 35."}).messages == [U, R, A]
        for nothing in (None, "", " ", "on", "false", True, ["x y"]):
            assert read({**row, named: nothing}).messages == [U, A]
    assert read({**row, "reasoning": "50 and 35."}).messages == [U, A]


def test_thoughts_beside_several_answers_are_nobodys() -> None:
    turns = [{"role": "assistant", "content": "85"}, USER, {"role": "assistant", "content": "85"}]
    assert read({"prompt": [USER], "completion": turns, "thinking": "50 and 35."}).messages == [U, A, U, A]
    choice = {"question": "Q", "choices": ["a", "b"], "answer": 0, "thinking": "It is the first."}
    assert [role for role, _ in read(choice).messages] == ["user", "assistant"]


def test_a_pair_in_a_list_has_the_thoughts_beside_its_answer() -> None:
    assert read({"conversation": [{"input": "Q", "output": "85", "reasoning_content": "50 and 35."}]}).messages == [
        U,
        R,
        A,
    ]


def test_a_field_map_names_the_thoughts() -> None:
    row = {"input": "Q", "why": "50 and 35.", "content": "85", "options": ["84", "85"], "turns": [USER]}
    assert read(row, FieldMap(prompt="input", completion="content", reasoning="why")).messages == [U, R, A]
    assert read(row, FieldMap(messages="turns", completion="content", reasoning="{why}")).messages == [U, R, A]
    choice = read(row, FieldMap(prompt="input", choices="options", completion="content", reasoning="why")).messages
    assert [role for role, _ in choice] == ["user", "reasoning", "assistant"]
    for nothing in (None, " "):
        mapped = FieldMap(prompt="input", completion="content", reasoning="why")
        assert read({**row, "why": nothing}, mapped).messages == [U, A]
    with pytest.raises(ValueError, match="'reasoning' goes before 'completion'"):
        FieldMap(messages="turns", reasoning="why")


def test_a_pair_keeps_the_thoughts_before_its_better_answer() -> None:
    sides = {
        side: [USER, {"role": "assistant", "content": content, "reasoning_content": thoughts}]
        for side, content, thoughts in (("chosen", "85", "50 and 35."), ("rejected", "84", "49 and 35."))
    }
    example = read(sides)
    assert (example.messages, example.rejected) == ([U, R, A], "84")
    example = read({"prompt": "Q", "chosen": sides["chosen"][1:], "rejected": "84"})
    assert (example.messages, example.rejected) == ([U, R, A], "84")
    earlier = {
        side: [USER, {"role": "assistant", "content": "x", "thinking": side}, *turns] for side, turns in sides.items()
    }
    with pytest.raises(RowError, match="bad_pair"):
        read(earlier)


TURN = st.sampled_from(
    [[R, A], [A], [R, CALL, RESULT, R, A], [R, A, CALL, RESULT, A], [CALL, RESULT, R, CALL, RESULT, A]]
)


@given(st.lists(TURN, min_size=1, max_size=3), st.booleans(), st.sets(st.integers(0, 20)))
def test_a_payload_that_we_wrote_is_read_again_as_itself(
    turns: list[list[Message]], paired: bool, marks: set[int]
) -> None:
    messages = [message for turn in turns for message in (U, *turn)]
    listed: list[dict[str, Any]] = [{"role": role, "content": content} for role, content in messages]
    for number in marks & set(range(len(messages) - len(turns[-1]))):
        listed[number]["train"] = False
    example = read({"messages": listed})
    if paired:
        example = example._replace(rejected="worse")
    row = (
        dict.fromkeys(NORMALIZED.names, 0)
        | example._asdict()
        | {"id": "", "unlearned": list(example.unlearned), "tags": []}
    )
    row["messages"] = [{"role": role, "content": content} for role, content in example.messages]
    (payload,) = example_payloads(pa.RecordBatch.from_pylist([row], NORMALIZED))
    assert read(orjson.loads(payload)) == example
