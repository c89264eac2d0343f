"""Turns and rows that are marked as not to be learned."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from versatune.transforms.shapes.base import Example, RowError
from versatune.transforms.shapes.conversation import read_examples

NO: list[Any] = [False, 0, 0.0, "0", "0.0", "false", "False", " no ", "off", "f", "N"]
YES: list[Any] = [True, 1, 1.0, "1", "true", None, ""]
LEARNED = ["weight", "loss_weight", "loss", "loss_mask", "train", "training", "trainable", "train_on_turn", "learn"]
LEARNED += [
    "Weight",
    "LOSS",
    "lossWeight",
    "loss-weight",
    "trainOnTurn",
    "loss_scale",
    "output_with_loss",
    "is_trainable",
]
MASKED = ["masked", "ignore", "no_loss", "is_masked", "skipLoss", "exclude_from_loss", "context_only"]


def read(marks: dict[str, Any], last: dict[str, Any] | None = None) -> Example:
    turns = [
        {"role": "user", "content": "Q"}, {"role": "assistant", "content": "wrong", **marks},
        {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "right", **(last or {})},
    ]  # fmt: skip
    (example,) = read_examples(orjson.dumps({"messages": turns}))
    return example


def reason(row: dict[str, Any]) -> str:
    with pytest.raises(RowError) as caught:
        read_examples(orjson.dumps(row))
    return caught.value.reason


@pytest.mark.parametrize("field", LEARNED)
@pytest.mark.parametrize("value", NO)
def test_a_turn_marked_with_any_form_of_no_is_context_only(field: str, value: Any) -> None:
    example = read({field: value})
    assert example.unlearned == (1,)
    assert [role for role, _ in example.messages] == ["user", "assistant", "user", "assistant"]


@pytest.mark.parametrize("field", LEARNED)
@pytest.mark.parametrize("value", YES)
def test_a_turn_marked_with_yes_or_nothing_is_learned(field: str, value: Any) -> None:
    assert read({field: value})[3:] == ((), ())


@pytest.mark.parametrize("field", MASKED)
def test_a_masked_turn_is_context_only(field: str) -> None:
    assert (read({field: True}).unlearned, read({field: False}).unlearned) == ((1,), ())


def test_one_mark_that_says_no_is_enough() -> None:
    assert read({"weight": 0.5, "train": False, "loss": 1}).unlearned == (1,)


def test_a_weight_that_is_not_applied_is_a_tag() -> None:
    assert read({"weight": 0.5})[3:] == (("weight_not_applied",), ())


@pytest.mark.parametrize("marks", [{"weight": -1}, {"train": "maybe"}, {"loss": []}, {"mask": 1}, {"masked": 0.5}])
def test_a_mark_that_says_neither_rejects_the_row(marks: dict[str, Any]) -> None:
    with pytest.raises(RowError, match="bad_mark"):
        read(marks)


def test_a_row_with_nothing_left_to_learn_is_rejected() -> None:
    with pytest.raises(RowError, match="nothing_to_learn"):
        read({"train": False}, {"weight": 0})


def test_marks_on_what_others_say_change_nothing() -> None:
    turns = [{"role": "user", "content": "Q", "train": False}, {"role": "assistant", "content": "A", "train": True}]
    assert read_examples(orjson.dumps({"messages": turns}))[0].unlearned == ()


def test_what_is_said_before_a_call_goes_with_the_call() -> None:
    called = {"role": "assistant", "content": "I look.", "tool_calls": [{"name": "f", "arguments": {}}], "weight": 0}
    turns = [
        {"role": "user", "content": "Q"}, called, {"role": "tool", "content": "1"}, {"role": "assistant", "content": "A"},
    ]  # fmt: skip
    assert read_examples(orjson.dumps({"messages": turns}))[0].unlearned == (1, 2)


def test_calls_written_as_tags_keep_the_mark() -> None:
    called = {"from": "gpt", "value": '<tool_call>{"name": "f", "arguments": {}}</tool_call>', "weight": 0}
    turns = [
        {"from": "human", "value": "Q"}, called, {"from": "tool", "value": "1"}, {"from": "gpt", "value": "A"},
    ]  # fmt: skip
    (example,) = read_examples(orjson.dumps({"conversations": turns}))
    assert (example.messages[1][0], example.unlearned) == ("tool_call", (1,))


def test_a_pair_keeps_its_context_and_its_better_answer_must_be_learned() -> None:
    before = [
        {"role": "user", "content": "Q"}, {"role": "assistant", "content": "W", "train": False}, {"role": "user", "content": "Q2"},
    ]  # fmt: skip
    (example,) = read_examples(orjson.dumps({"prompt": before, "chosen": "good", "rejected": "bad"}))
    assert (example.unlearned, example.rejected) == ((1,), "bad")
    sides = {
        side: [{"role": "assistant", "content": side, "weight": int(side == "rejected")}]
        for side in ("chosen", "rejected")
    }
    assert reason({"prompt": "Q", **sides}) == "nothing_to_learn"
    sides["chosen"][0]["weight"], sides["rejected"][0]["weight"] = 1, 0
    assert read_examples(orjson.dumps({"prompt": "Q", **sides}))[0].rejected == "rejected"


ANSWERED: list[dict[str, Any]] = [
    {"prompt": "Q", "completion": "A"},
    {"instruction": "Q", "output": "A"},
    {"question": "Q", "answer": "A"},
    {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
]


@pytest.mark.parametrize("row", ANSWERED)
@pytest.mark.parametrize("field", ["label", "kto_tag", "is_correct"])
@pytest.mark.parametrize("value", [False, 0, 0.0, "false", "False", " FALSE ", "0", "0.0"])
def test_every_form_of_false_beside_an_answer_is_a_bad_answer(row: dict[str, Any], field: str, value: Any) -> None:
    assert reason({**row, field: value}) == "bad_answer"


@pytest.mark.parametrize("row", ANSWERED)
@pytest.mark.parametrize("value", [True, 1, "true", "1", 2, -1, "good", None, "", "no", []])
def test_any_other_label_is_no_verdict(row: dict[str, Any], value: Any) -> None:
    assert read_examples(orjson.dumps({**row, "label": value}))[0].messages[-1] == ("assistant", "A")


@pytest.mark.parametrize("field", ["Label", "isCorrect", "Is Correct", "correct", "is_helpful"])
def test_a_verdict_in_any_spelling(field: str) -> None:
    for row in ANSWERED:
        assert reason({**row, field: "False"}) == "bad_answer"


@pytest.mark.parametrize("row", ANSWERED)
@pytest.mark.parametrize("field", ["weight", "sample_weight", "train", "isTrainable"])
def test_a_row_may_be_marked_as_a_whole(row: dict[str, Any], field: str) -> None:
    assert reason({**row, field: 0}) == reason({**row, field: "False"}) == "nothing_to_learn"
    for value in (1, 0.5, True, None, "heavy"):
        assert read_examples(orjson.dumps({**row, field: value}))[0].messages[-1] == ("assistant", "A")


def test_the_label_of_a_multiple_choice_is_its_answer() -> None:
    row = {"question": "Q", "choices": ["first", "second"], "label": 0}
    assert "first" in read_examples(orjson.dumps(row))[0].messages[-1][1]
