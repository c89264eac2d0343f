"""A raw row becomes examples: cleaned, in order, with an id of their own; or the reason why not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from versatune.schemas.config import FieldMap
from versatune.transforms.shapes.base import Example, Message, RowError
from versatune.transforms.shapes.conversation import check_turns, clean_text, example_id, parse_row, read_examples

S, U, A = ("system", "S"), ("user", "Why?"), ("assistant", "Because.")
CALL, RESULT = ("tool_call", '[{"name":"f","arguments":{}}]'), ("tool", "4")

INVISIBLE = (
    "\0\x1b\x7f\x85\xa0\xad\u034f\u061c\u115f\u1160\u180e\u200b\u200c\u200d\u200e\u2028\u202e\u2060\u2063\u2066\u2800\u3000\u3164"
    "\ufe0f\ufeff\uffa0\ufff9\U000e0001\U000e0041\U000e0100"
)


def payload(value: Any) -> bytes:
    return orjson.dumps(value)


@pytest.mark.parametrize(
    ("messages", "checked"),
    [
        ([U, A], [U, A]),
        ([S, U, A, U, A], [S, U, A, U, A]),
        ([("system", " \n"), U, A], [U, A]),
        ([U, A, U], [U, A]),
        ([("user", " Why? "), ("assistant", "Because.\r\nSo.\r\n")], [U, ("assistant", "Because.\nSo.")]),
        ([U, CALL, RESULT, A], [U, CALL, RESULT, A]),
        ([U, A, CALL, RESULT, RESULT, CALL, RESULT, A], [U, A, CALL, RESULT, RESULT, CALL, RESULT, A]),
        ([U, CALL], [U, CALL]),
        ([U, CALL, RESULT], [U, CALL]),
        ([U, CALL, ("tool", ""), A], [U, CALL, ("tool", ""), A]),
        ([("text", " A document. ")], [("text", "A document.")]),
    ],
)
def test_turns_in_order_are_cleaned_and_kept(messages: list[Message], checked: list[Message]) -> None:
    assert check_turns(messages) == checked


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "no_answer"),
        ([U], "no_answer"),
        ([S, U], "no_answer"),
        ([A], "starts_with_assistant"),
        ([S, A, U, A], "starts_with_assistant"),
        ([CALL, RESULT, A], "starts_with_assistant"),
        ([U, U, A], "roles_do_not_alternate"),
        ([U, A, A], "roles_do_not_alternate"),
        ([U, CALL, CALL, RESULT, A], "tool_order"),
        ([U, CALL, A], "tool_order"),
        ([U, CALL, U, A], "tool_order"),
        ([U, RESULT, A], "tool_order"),
        ([RESULT, A], "tool_order"),
        ([U, CALL, RESULT, U, A], "tool_order"),
        ([U, S, A], "system_not_first"),
        ([S, S, U, A], "system_not_first"),
        ([("user", " "), A], "empty_prompt"),
        ([U, ("assistant", "\n")], "empty_answer"),
        ([("text", " ")], "empty_document"),
        ([("text", "\u2800\u2800")], "empty_document"),
        ([("user", "\u200b"), A], "empty_prompt"),
        ([("text", "A document."), A], "starts_with_assistant"),
        ([U, ("text", "A document."), A], "roles_do_not_alternate"),
        ([("text", "One."), ("text", "Two.")], "no_answer"),
    ],
)
def test_turns_out_of_order_are_refused(messages: list[Message], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        check_turns(messages)
    assert caught.value.reason == reason


@pytest.mark.parametrize("unseen", INVISIBLE, ids=[f"{ord(sign):04x}" for sign in INVISIBLE])
def test_an_answer_in_which_nothing_can_be_seen_is_empty(unseen: str) -> None:
    for content in (unseen, unseen * 5000, f" {unseen}\n{unseen}"):
        with pytest.raises(RowError) as caught:
            check_turns([U, ("assistant", content)])
        assert caught.value.reason == "empty_answer"
    assert check_turns([("system", unseen), U, A]) == [U, A]
    assert check_turns([U, ("assistant", f"{unseen}x{unseen}")])[1][1].strip() == f"{unseen}x{unseen}".strip()


@pytest.mark.parametrize("seen", ["\u0301", "\ufffd", ".", "0", "\ue000", "♥", "\u0600", "ㅋ"])
def test_a_sign_that_can_be_seen_is_an_answer(seen: str) -> None:
    assert check_turns([U, ("assistant", seen)]) == [U, ("assistant", seen)]


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (" one line", "one line"),
        ("\n\n one line\n", "one line"),
        ("    return a + b\n", "    return a + b"),
        ("  - first", "  - first"),
        ("\tindented  ", "\tindented"),
        ("\u3000\u3000One line of Chinese typography.", "One line of Chinese typography."),
        ("\n    if x:\n        y\n", "    if x:\n        y"),
        ("\tif x:\n\t\ty", "\tif x:\n\t\ty"),
        (" a = b\n return a", " a = b\n return a"),
        (" A paragraph.\nAnother.", "A paragraph.\nAnother."),
        ("e\u0301", "é"),
        ("a\r\nb", "a\nb"),
        ("a\u2028b", "a\u2028b"),
        (" \u3000 ", ""),
        ("  \u200b\n", ""),
        ("\ufeffBOM\u200b", "\ufeffBOM\u200b"),
        ("می\u200cخواهم 👨\u200d👩\u200d👧 क्\u200dष ❤\ufe0f", "می\u200cخواهم 👨\u200d👩\u200d👧 क्\u200dष ❤\ufe0f"),
    ],
)
def test_text_is_brought_to_one_form(raw: str, clean: str) -> None:
    assert clean_text(raw) == clean
    assert clean_text(clean) == clean


@given(st.text(alphabet=" \t\n\u200b\u3000ab", max_size=12))
def test_bringing_text_to_its_form_twice_is_once(raw: str) -> None:
    once = clean_text(raw)
    assert clean_text(once) == once


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"question": "\xff"}', "not_utf8"),
        (b'{"question": NaN}', "not_json"),
        (b'{"question": "a"', "not_json"),
        (b'"\\ud800"', "not_json"),
        (b"[" * 5000, "not_json"),
        (b"", "not_json"),
        (b"7", "not_an_object"),
        (b"[]", "not_an_object"),
        (b'["a"]', "not_an_object"),
        (b'[{"a": 1}, {"a": 2}]', "not_an_object"),
    ],
)
def test_a_payload_that_is_no_object_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(RowError) as caught:
        parse_row(raw)
    assert caught.value.reason == reason


def test_a_list_of_one_object_is_that_object_and_lists_of_turns_or_two_texts_are_conversations() -> None:
    assert parse_row(b'[{"question": "a"}]') == {"question": "a"}
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
    assert read_examples(payload(turns)) == [Example([U, A])]
    assert read_examples(payload(["Why?", "Because."])) == [Example([U, A])]


def test_a_row_is_read_by_its_shape_or_by_the_field_map() -> None:
    row = payload({"question": " Why? ", "answer": "Because.", "other": "No."})
    assert read_examples(row) == [Example([U, A])]
    fields = FieldMap(prompt="question", completion="other", rejected="answer")
    assert read_examples(row, fields) == [Example([U, ("assistant", "No.")], None, "Because.")]


def test_what_a_row_becomes_does_not_depend_on_the_rows_before_it() -> None:
    rows = [
        payload(row)
        for row in (
            {"text": "A."},
            {"Question": "Why?", "Answer": "Because."},
            {"prompt": "Why?", "completion": "Because."},
        )
    ]
    assert [read_examples(row) for row in rows] == [read_examples(row) for row in reversed(rows)][::-1]


def test_the_usable_examples_of_a_row_are_kept_and_the_others_told() -> None:
    row = payload(
        {
            "instruction": "Why?",
            "instances": [{"input": "", "output": " "}, {"input": "", "output": "Because."}, {"input": ""}],
        }
    )
    faults: list[tuple[int, RowError]] = []
    assert read_examples(row, None, faults) == [Example([U, A])]
    assert [(item, error.reason) for item, error in faults] == [(0, "empty_answer"), (2, "missing_answer")]
    with pytest.raises(RowError) as caught:
        read_examples(payload({"instruction": "Why?", "instances": [{"output": ""}, {"input": ""}]}))
    assert caught.value.reason == "empty_answer"


def test_a_worse_answer_is_cleaned_and_must_answer_a_text() -> None:
    row = {"prompt": "Why?", "chosen": "Because.", "rejected": " No.\r\n"}
    assert read_examples(payload(row)) == [Example([U, A], None, "No.")]
    calls = [{"role": "user", "content": "Why?"}, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {}}]}]
    with pytest.raises(RowError) as caught:
        read_examples(payload({"messages": calls, "bad": "No."}), FieldMap(messages="messages", rejected="bad"))
    assert caught.value.reason == "bad_pair"


def test_the_id_is_of_the_content_alone() -> None:
    plain = Example([U, A])
    prompt, whole = b'[["user","Why?"]]', b'[["user","Why?"],["assistant","Because."]]'
    digests = [hashlib.blake2b(text, digest_size=size).hexdigest() for text, size in ((prompt, 4), (whole, 12))]
    assert example_id(plain) == "".join(digests)
    assert example_id(plain) == example_id(Example([U, A], tags=("pii.email",)))
    others = [Example([U, A], tools="[]"), Example([U, A], rejected="No."), Example([U, ("assistant", "because.")])]
    others.append(Example([U, A, U, A], unlearned=(1,)))
    assert len({example_id(example) for example in (plain, Example([U, A, U, A]), *others)}) == 6
    assert {example_id(example)[:8] for example in others} == {example_id(plain)[:8]}


def test_the_first_digits_of_an_id_are_those_of_the_prompt_alone() -> None:
    system = ("system", "Be brief.")
    answers = [
        [A],
        [("assistant", "No.")],
        [("tool_call", '[{"name":"f","arguments":{}}]')],
        [A, ("user", "Sure?"), ("assistant", "Yes.")],
    ]
    assert len({example_id(Example([system, U, *answer]))[:8] for answer in answers}) == 1
    assert len({example_id(Example([system, U, *answer])) for answer in answers}) == 4
    assert example_id(Example([U, A]))[:8] != example_id(Example([system, U, A]))[:8]
    assert example_id(Example([("text", "a")]))[:8] != example_id(Example([("text", "b")]))[:8]


def test_a_twentieth_of_prompts_has_an_id_below_a_twentieth() -> None:
    ids = [example_id(Example([("user", f"Question {n}"), A])) for n in range(20_000)]
    below = sum(int(name[:8], 16) < 0.05 * 2**32 for name in ids)
    assert abs(below - 1_000) < 5 * (1_000 * 0.95) ** 0.5


USER, ANSWER = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}


@pytest.mark.parametrize("written", [json.dumps, str])
@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER, ANSWER]},
        {"prompt": USER, "completion": ANSWER},
        {"prompt": [USER], "completion": [ANSWER]},
        {"prompt": [USER], "chosen": [ANSWER], "rejected": [ANSWER | {"content": "worse"}]},
        {"prompt": USER, "chosen": ANSWER, "rejected": ANSWER | {"content": "worse"}},
    ],
)
def test_a_text_that_is_a_turn_is_nobodys_words(row: dict[str, Any], written: Callable[[Any], str]) -> None:
    texts = {name: [*map(written, value)] if isinstance(value, list) else written(value) for name, value in row.items()}
    (example,) = read_examples(orjson.dumps(texts))
    assert example.messages == [("user", "Q"), ("assistant", "A")]


@pytest.mark.parametrize(
    "answer", ['{"name": "Ada", "role": "admin"}', '{"role": "villain", "text": "Ha!"}', "{'a': 1}"]
)
def test_an_object_that_is_no_turn_is_an_answer(answer: str) -> None:
    row = {"prompt": "As JSON, please.", "completion": answer}
    assert read_examples(orjson.dumps(row))[0].messages[-1] == ("assistant", answer)


def test_a_call_beside_a_text_that_cannot_be_seen_is_the_call_alone() -> None:
    for blank in ("", " ", "\u200b", "\ufeff"):
        call = {"role": "assistant", "content": blank, "tool_calls": [{"name": "f", "arguments": {}}]}
        (example,) = read_examples(orjson.dumps([{"role": "user", "content": "Why?"}, call]))
        assert [role for role, _ in example.messages] == ["user", "tool_call"]


def test_a_pair_may_have_the_rules_of_the_conversation() -> None:
    pairs = [{"system": "S", "input": "Q", "output": "A"}, {"system": "", "input": "Q2", "output": "A2"}]
    (example,) = read_examples(orjson.dumps({"conversation": pairs}))
    assert example.messages == [("system", "S"), ("user", "Q"), ("assistant", "A"), ("user", "Q2"), ("assistant", "A2")]
