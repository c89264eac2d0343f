"""Shapes: what each reads, what it leaves alone, and why it refuses a row."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.config import FieldMap
from transforms.shapes.base import RowError
from transforms.shapes.registry import SHAPES, detect_shape, to_messages

Q, A = ("user", "Why?"), ("assistant", "Because.")

ARC = {
    "id": "x",
    "question": {"stem": "Which is hot?", "choices": [{"text": "ice", "label": "A"}, {"text": "fire", "label": "B"}]},
    "answerKey": "B",
}
CHOSEN = [("user", "Which is hot?\nA. ice\nB. fire"), ("assistant", "B. fire")]

READ: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    # OpenAI messages
    ({"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]}, [Q, A]),
    (
        {"messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Why?"}], "id": 1},
        [("system", "Be brief."), Q],
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Wh"}, {"type": "text", "value": "y?"}]}]},
        [("user", "Wh\ny?")],
    ),
    # ShareGPT
    ({"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]}, [Q, A]),
    (
        {"conversation": [{"role": "user", "content": "Why?"}, {"from": "bot", "value": "Because."}], "system": "S"},
        [("system", "S"), Q, A],
    ),
    # Alpaca
    ({"instruction": "Why?", "input": "", "output": "Because."}, [Q, A]),
    ({"instruction": "Why?", "response": "Because."}, [Q, A]),
    ({"instruction": "Add.", "input": "1 and 2", "output": "3"}, [("user", "Add.\n\n1 and 2"), ("assistant", "3")]),
    ({"instruction": "Add.", "context": "1 and 2", "response": "3"}, [("user", "Add.\n\n1 and 2"), ("assistant", "3")]),
    ({"instruction": "Why?", "input": None, "response": "Other.", "output": "Because."}, [Q, A]),
    ({"instruction": "Why?", "response": "Because.", "output": ""}, [Q, A]),
    ({"input": "Why?", "output": "Because.", "type": "x"}, [Q, A]),
    ({"instruction": "Why?", "input": "", "output": "Because.", "text": "Below is an instruction..."}, [Q, A]),
    (
        {"instruction": "Why?", "output": "Because.", "history": [["Hello", "Hi"]], "system": "S"},
        [("system", "S"), ("user", "Hello"), ("assistant", "Hi"), Q, A],
    ),
    # prompt and completion
    ({"prompt": "Why?", "completion": "Because."}, [Q, A]),
    ({"prompt": "Why?", "response": "Because.", "system_prompt": "S"}, [("system", "S"), Q, A]),
    ({"query": "Why?", "response": "Because.", "laws": []}, [Q, A]),
    ({"task_id": "1", "prompt": "Why?", "canonical_solution": "Because.", "test": ""}, [Q, A]),
    ({"prompt": "Why?", "completion": "Because.", "text": "Why? Because."}, [Q, A]),
    (
        {"prompt": [{"role": "user", "content": "Why?"}], "completion": [{"role": "assistant", "content": "Because."}]},
        [Q, A],
    ),
    # question and answer
    ({"question": "Why?", "answer": "Because."}, [Q, A]),
    ({"Question": "Why?", "Answer ": "Because.", "Class": "x"}, [Q, A]),
    ({"question": "Why?", "answer": ["Because.", "Just so."]}, [Q, A]),
    ({"question": "Why?", "answers": {"text": ["Because."], "answer_start": [3]}, "context": ""}, [Q, A]),
    ({"question": "Why?", "answer": "Because.", "context": "C"}, [("user", "C\n\nWhy?"), A]),
    ({"QUESTION": "Why?", "CONTEXTS": ["C", "D"], "LONG_ANSWER": "Because."}, [("user", "C\n\nD\n\nWhy?"), A]),
    ({"text": "Why?", "answer": "Because.", "index": "0"}, [Q, A]),
    ({"question": "Why?", "prompt": "Answer briefly.", "answer": ["Because."]}, [Q, A]),
    # text to SQL
    ({"question": "How many?", "query": "SELECT 1", "db_id": "d"}, [("user", "How many?"), ("assistant", "SELECT 1")]),
    # multiple choice
    (ARC, CHOSEN),
    (
        {"question": "Which is hot?", "choices": {"label": ["A", "B"], "text": ["ice", "fire"]}, "answerKey": "B"},
        CHOSEN,
    ),
    ({"question": "Which is hot?", "A": "ice", "B": "fire", "C": "", "answer": " B"}, CHOSEN),
    ({"query": "Which is hot?", "choices": ["ice", "fire"], "gold": 1}, CHOSEN),
    ({"question": "Which is hot?", "choices": ["ice", "fire"], "answer": "fire"}, CHOSEN),
    (
        {"question": "Which is hot?", "options": ["(A)ice", "(B)fire"], "label": "B", "answer": None},
        [("user", "Which is hot?\n(A)ice\n(B)fire"), ("assistant", "(B)fire")],
    ),
    ({"question": "Which is hot?", "choice_0": "ice", "choice_1": "fire", "answer": "1"}, CHOSEN),
    (
        {"question": "Which?", "passage": "P", "options": ["x", "y"], "answer": "A"},
        [("user", "P\n\nWhich?\nA. x\nB. y"), ("assistant", "A. x")],
    ),
]


@pytest.mark.parametrize(
    ("row", "messages"), READ, ids=lambda value: ",".join(value) if isinstance(value, dict) else ""
)
def test_a_row_becomes_the_turns_it_holds(row: dict[str, Any], messages: list[tuple[str, str]]) -> None:
    assert to_messages(row) == messages


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": "Why?"}, "wrong_type", "'messages' holds text; expected a list"),
    ({"messages": ["Why?"]}, "wrong_type", "messages.0 is text"),
    ({"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": 1}]}]}, "tool_calls", "messages.0"),
    ({"messages": [{"role": "tool", "content": "42"}]}, "tool_calls", "messages.0"),
    ({"messages": [{"role": "assistant", "content": None}]}, "missing_answer", "messages.0"),
    ({"messages": [{"role": "narrator", "content": "x"}]}, "unknown_role", "user, human"),
    ({"messages": [{"content": "x"}]}, "unknown_role", "messages.0"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "not_text", "messages.0"),
    ({"conversations": [{"from": "function_call", "value": "{}"}]}, "tool_calls", "conversations.0"),
    ({"conversations": [], "chosen": {}, "rejected": {}}, "preference_pair", "chosen"),
    ({"instruction": "Why?", "output": None}, "missing_answer", "'output' is null"),
    ({"instruction": None, "output": "x"}, "missing_prompt", "'instruction' and 'input'"),
    ({"instruction": "Why?", "output": 42}, "wrong_type", "'output' holds a number"),
    ({"instruction": "Why?", "input": {"a": 1}, "output": "x"}, "wrong_type", "'input' holds an object"),
    (
        {"instruction": "Why?", "output": "x", "history": ["User: hi"]},
        "wrong_type",
        "history.0 is text; expected a pair",
    ),
    ({"prompt": "Why?", "completion": True}, "wrong_type", "'completion' holds true or false"),
    ({"prompt": "Why?", "canonical_solution": None}, "missing_answer", "'canonical_solution' is null"),
    ({"question": "Why?", "answer": []}, "missing_answer", "empty list"),
    ({"question": "Why?", "answer": "x", "context": 3}, "wrong_type", "'context' holds a number"),
    ({"question": "Which?", "A": "x", "B": "y", "answer": "C"}, "bad_choices", "none, or several, of the 2 options"),
    ({"question": "Which?", "A": "x", "B": "y", "answer": None}, "missing_answer", "'answer' is null"),
    ({"question": "Which?", "choices": ["x", 2], "answer": "x"}, "bad_choices", "list of texts"),
    (
        {"question": "Which?", "choices": {"label": ["A"], "text": ["x", "y"]}, "answerKey": "A"},
        "bad_choices",
        "1 labels",
    ),
    (
        {"question": "Why?", "text": "Why? Because.", "answer": "Because."},
        "unknown_shape",
        "'question', 'text', 'answer'",
    ),
    ({"sentence": "x", "label": 1}, "unknown_shape", "'sentence', 'label'; tell which ones to use"),
    ({}, "unknown_shape", "the fields none"),
]


@pytest.mark.parametrize(("row", "reason", "told"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_row_is_refused_with_a_reason(row: dict[str, Any], reason: str, told: str) -> None:
    with pytest.raises(RowError) as caught:
        to_messages(row)
    assert caught.value.reason == reason
    assert told in caught.value.detail


def test_a_refusal_never_quotes_the_row() -> None:
    for row, _, _ in REFUSED:
        with pytest.raises(RowError) as caught:
            to_messages(row)
        assert "Because" not in caught.value.detail
        assert "Which" not in caught.value.detail
    many = {f"field {number} {'x' * 99}": "" for number in range(500)}
    with pytest.raises(RowError) as caught:
        to_messages(many)
    assert "and 488 more" in caught.value.detail
    assert len(caught.value.detail) < 1000


def test_every_shape_reads_some_row_of_these_tests() -> None:
    rows = [row for row, _ in READ] + [row for row, *_ in REFUSED]
    assert {id(detect_shape(row)) for row in rows} >= {id(shape) for shape in SHAPES}


# --- field maps ---


def test_a_field_map_reaches_into_nested_objects_and_overrides_detection() -> None:
    row = {
        "question": "not this",
        "answer": "nor this",
        "data": {"q": ["Why?"], "a": "Because."},
        "a.b": "C",
        "s": None,
    }
    fields = FieldMap(prompt="data.q.0", completion="data.a", context="a.b", system="s")
    assert to_messages(row, fields) == [("user", "C\n\nWhy?"), A]


def test_a_field_map_may_name_a_list_of_turns() -> None:
    row = {"chat": {"turns": [{"from": "human", "value": "Why?"}]}, "rules": "S"}
    assert to_messages(row, FieldMap(messages="chat.turns", system="rules")) == [("system", "S"), Q]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"p": "Why?"}, "missing_answer"),
        ({"p": "Why?", "c": {"d": None}}, "missing_answer"),
        ({"p": "Why?", "c": "text, not an object"}, "missing_answer"),
        ({"c": {"d": "x"}}, "missing_prompt"),
        ({"p": 7, "c": {"d": "x"}}, "wrong_type"),
    ],
)
def test_a_row_without_the_mapped_fields_is_refused(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        to_messages(row, FieldMap(prompt="p", completion="c.d"))
    assert caught.value.reason == reason
