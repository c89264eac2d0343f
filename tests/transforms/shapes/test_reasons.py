"""Every reason for which a row is refused is true, and its detail names the right field and what it holds."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from versatune.transforms.shapes.base import NORMALIZE_REASONS, RowError
from versatune.transforms.shapes.conversation import read_examples

USER, BOT = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}
TOOL = {"role": "tool", "content": "4"}


def said(*turns: dict[str, Any], **beside: Any) -> dict[str, Any]:
    return {"messages": list(turns), **beside}


REFUSED: list[tuple[str, Any, str]] = [
    ("unknown_shape", {"alpha": "x", "beta": "y"}, "the fields 'alpha', 'beta'"),
    ("unknown_shape", {"question": "Why?", "problem": "How?", "answer": "x"}, "'question' and 'problem' may both be what is asked"),
    ("unknown_shape", {"text": "x", "intent": "y"}, "'intent' looks like a class of 'text'"),
    ("unknown_shape", ["where is it", "delivery"], "the second text of the pair looks like a class"),
    ("unknown_shape", {"x": ["a", "b"], "y": ["c", "d"]}, "equally long lists"),
    ("unknown_shape", {"dialogue": "Ann: Hi", "summary": "Ann greets."}, "text in 'dialogue' stands beside an answer"),
    ("unknown_role", said({"role": "narrator", "content": "x"}, BOT), "messages.0"),
    ("unknown_role", {"text": "x", "role": "tool", "replies": []}, "message 0 of the tree"),
    ("not_text", said({"role": "user", "content": [{"type": "image_url"}]}, BOT), "messages.0 has a part that is not text"),
    ("wrong_type", {"question": 7, "answer": "x"}, "'question' holds a number; expected text"),
    ("wrong_type", {"question": "Why?", "answer": {"b": 1}}, "field 'answer' holds an object"),
    ("wrong_type", {"instruction": ["a"], "output": "x"}, "'instruction' holds a list; expected text"),
    ("wrong_type", {"instruction": "a", "input": 3, "output": "x"}, "'input' holds a number; expected text"),
    ("wrong_type", {"question": "Why?", "table": {"name": "t"}, "answer": "x"}, "'table' holds an object; expected a table"),
    ("wrong_type", {"question": "Why?", "context": [1], "answer": "x"}, "'context' holds a number in its list"),
    ("wrong_type", {"instruction": "a", "instances": ["x"]}, "instances.0 is text; expected an object"),
    ("wrong_type", {"chat": {"turn_1": {"Human": "x"}}}, "chat.turn_1 is an object without 'Human' or 'MOSS'"),
    ("wrong_type", {"messages": "Why?"}, "'messages' holds text; expected a list of turns"),
    ("wrong_type", {"num": 1, "turns": 7}, "'turns' holds a number; expected a list of turns"),
    ("missing_prompt", {"question": None, "answer": "x"}, "'question' is null"),
    ("missing_prompt", {"question": {"text": None}, "answer": "x"}, "'question.text' is null"),
    ("missing_prompt", {"question": {"choices": ["a", "b"]}, "answerKey": "A"}, "'question.stem' is null"),
    ("missing_prompt", {"prompt": None, "other": "x"}, "'prompt' is null, and no other asks"),
    ("missing_prompt", {"instruction": None, "output": "x"}, "null or absent"),
    ("missing_prompt", {"questions": ["a"], "answers": ["b", "c"]}, "2 answers to 1 questions"),
    ("missing_prompt", {"chosen": "a", "rejected": "b"}, "no field holds what was asked"),
    ("missing_answer", {"question": "Why?", "answer": None}, "'answer' is null"),
    ("missing_answer", {"question": "Why?", "answer": []}, "'answer' is an empty list"),
    ("missing_answer", {"question": "Why?", "answer": [None]}, "'answer.0' is null"),
    ("missing_answer", {"question": "Why?", "answer": {"value": None}}, "'answer.value' is null"),
    ("missing_answer", {"question": "Why?", "gold answer": "x", "id": 1}, "text is also in 'gold answer'. If"),
    ("missing_answer", {"prompt": "Why?"}, "no field has a usual name of an answer. If"),
    ("missing_answer", {"turns": 7, "prompt": "Why?"}, "'prompt' asks"),
    ("missing_answer", {"question": "Why?", "options": ["a", "b"], "gold key": "a"}, "no field of a usual name names the right one of the 2"),
    ("missing_answer", {"instruction": "a", "instances": [{"input": "x", "result": "y"}]}, "instances.0 has no field of an answer's usual name"),
    ("missing_system", said({"role": "system", "content": None}, USER, BOT), "messages.0"),
    ("missing_document", {"text": None, "url": "x"}, "'text' is null"),
    ("empty_prompt", {"question": " ", "context": "C", "answer": "x"}, "turn 0 (user) is blank"),
    ("empty_answer", {"question": "Why?", "answer": "\n"}, "turn 1 (assistant) is blank"),
    ("empty_document", {"text": " "}, "blank"),
    ("no_answer", said(USER), "1 turns and none by the assistant"),
    ("starts_with_assistant", said(BOT, USER, BOT), "turn 0 is of role assistant"),
    ("system_not_first", said(USER, {"role": "system", "content": "S"}, BOT), "turn 1 is a system turn"),
    ("roles_do_not_alternate", said(USER, USER, BOT), "turns 0 and 1 are of roles user and user"),
    ("tool_order", said(USER, TOOL, BOT), "turn 1 (tool) follows user"),
    ("reasoning_order", said(USER, {"role": "thinking", "content": "x"}, USER, BOT), "turn 2 (user) follows reasoning"),
    ("reasoning_order", said(USER, {**BOT, "content": ["x", {"type": "thinking", "thinking": "y"}]}), "messages.1 has thoughts behind"),
    ("bad_tool_call", said(USER, {"role": "assistant", "tool_calls": [{"id": 1}]}), "a call without a name"),
    ("bad_tools", said(USER, BOT, tools="search"), "'tools' is text, but not JSON"),
    ("bad_choices", {"question": "Which?", "options": ["a", "b"], "answer": "c"}, "'answer' names none, or several, of the 2"),
    ("bad_choices", {"question": "Which?", "options": ["a", None], "answer": "a"}, "a list that holds no text alone"),
    ("unknown_shape", {"Text": "Hi", "Label": "a"}, "fields: {prompt: Text, completion: Label}"),
    ("missing_answer", {"Question": "Why?", "Correct Answer": None}, "'Correct Answer' is null"),
    ("bad_choices", {"question": "Which?", "choices": ["\u200b", "b"], "answer": 0}, "the right option is blank"),
    ("bad_choices", {"question": "Which?", "options": 17, "answer": "a"}, "labels are a number; expected a list"),
    ("bad_choices", {"questions": ["Which?", "Who?"], "options": [["a", "b"]], "answers": ["A", "B"]}, "'options' does not hold a list of options for each of 2"),
    ("bad_answer", {"question": "Why?", "answers": [{"text": "a", "selected": False}]}, "every answer in 'answers' is marked"),
    ("unknown_shape", {"dialog": ["Hello", "Hi"], "question": "Who?", "answer": "Me"}, "'dialog' holds turns, and 'question'"),
    ("unknown_shape", {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "question": "Who?", "answer": "Me"}, "'messages' holds turns, and 'question'"),
    ("bad_pair", {"chosen": [USER, BOT], "rejected": [{**USER, "content": "How?"}, BOT]}, "differ before their last turns"),
    ("bad_pair", {"response_a": "x", "response_b": "y", "winner": "tie", "prompt": "Why?"}, "'winner' names neither"),
    ("nothing_to_learn", said(USER, {**BOT, "train": False}), "every turn of the assistant is marked"),
    ("bad_mark", said(USER, {**BOT, "weight": "heavy"}), "'weight' of messages.1"),
    ("bad_answer", {"prompt": "Why?", "completion": "x", "label": False}, "'label' says no"),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "row", "told"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_refusal_says_what_is_there_and_in_which_field(reason: str, row: Any, told: str) -> None:
    with pytest.raises(RowError) as caught:
        read_examples(orjson.dumps(row))
    assert caught.value.reason == reason
    assert told in caught.value.detail


def test_every_reason_has_a_row_here() -> None:
    assert {reason for reason, *_ in REFUSED} == NORMALIZE_REASONS.keys()


def test_a_verdict_on_no_answer_is_no_bad_answer() -> None:
    with pytest.raises(RowError) as caught:
        read_examples(orjson.dumps({"text": "x", "label": False}))
    assert caught.value.reason == "unknown_shape"
