"""Shapes: what each reads, what it leaves alone, and why it refuses a row."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from versatune.schemas.config import FieldMap
from versatune.transforms.shapes import base
from versatune.transforms.shapes.base import NORMALIZE_REASONS, READ_REASONS, Example, RowError
from versatune.transforms.shapes.registry import SHAPES, detect_layout, read_row


def only(row: dict[str, Any], fields: FieldMap | None = None) -> Example:
    """Return the one example that a row gives."""
    (example,) = read_row(row, fields)
    assert isinstance(example, Example)
    return example


Q, A = ("user", "Why?"), ("assistant", "Because.")

ARC = {
    "id": "x",
    "question": {"stem": "Which is hot?", "choices": [{"text": "ice", "label": "A"}, {"text": "fire", "label": "B"}]},
    "answerKey": "B",
}
CHOSEN = [("user", "Which is hot?\nA. ice\nB. fire"), ("assistant", "B. fire")]

HELLO = [("user", "Hello"), ("assistant", "Hi")]
CALL = ("tool_call", '[{"name":"f","arguments":{"a":1}}]')

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
    (
        {"question": "Why?", "prompt": "Answer briefly.", "answer": ["Because."]},
        [("user", "Answer briefly.\n\nWhy?"), A],
    ),
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
    # --- lists of turns, in other ways ---
    ({"conversations": ["Why?", "Because."]}, [Q, A]),
    ({"conversation": [{"input": "Why?", "output": "Because."}]}, [Q, A]),
    ({"conversation": '[{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]'}, [Q, A]),
    ({"conversation": "User: Why?\nAssistant: Because."}, [Q, A]),
    ({"messages": None, "prompt": "Why?", "completion": "Because."}, [Q, A]),
    ({"messages": [{"role": "User", "content": "Why?"}, {"speaker": "Bot", "text": "Because."}]}, [Q, A]),
    ({"id": "1", "data": ["Why?", "Because."]}, [Q, A]),
    (
        {"prompt": "Why?", "answers": [{"answer": "Because.", "rank": 1}, {"answer": "No.", "rank": 2}], "turns": 1},
        [Q, A],
    ),
    ({"query": "Why?", "answers": '[{"name": "f", "arguments": {"a": 1}}]', "tools": "[]"}, [Q, CALL]),
    # --- other layouts of published data ---
    (
        {"story": "C", "questions": ["Why?", ["And?", "Or?"]], "answers": {"input_text": ["Because.", "So."]}},
        [("user", "C\n\nWhy?"), A, ("user", "And?"), ("assistant", "So.")],
    ),
    ({"definition": "D", "inputs": "Why?", "targets": "Because."}, [("user", "D\n\nWhy?"), A]),
    ({"Definition": ["D"], "Instances": [{"input": "Why?", "output": ["Because."]}]}, [("user", "D\n\nWhy?"), A]),
    ({"question": "Why?", "solutions": '["Because.", "So."]'}, [Q, A]),
    ({"problem": "Why?", "solution": "Because.", "answer": "B"}, [Q, A]),
    ({"passage": "P", "question": "Why?", "answers_spans": {"spans": ["Because."]}}, [("user", "P\n\nWhy?"), A]),
    (
        {"premise": "P.", "choice1": "x", "choice2": "y", "question": "cause", "label": 1},
        [("user", "P.\nWhat was the cause?\nA. x\nB. y"), ("assistant", "B. y")],
    ),
    # --- histories ---
    ({"query": "Why?", "history": ["[客户] Why?", "[律师] Because."], "laws": ["L"]}, [("user", "L\n\nWhy?"), A]),
    ({"query": "Why?", "laws": ["L", "M"], "response": "Because."}, [("user", "L\n\nM\n\nWhy?"), A]),
    ({"instruction": "Why?", "output": "Because.", "history": ["User: Hello", "Bot: Hi"]}, [*HELLO, Q, A]),
    ({"instruction": "Why?", "output": "Because.", "history": ["Hello", "Hi"]}, [*HELLO, Q, A]),
    (
        {
            "prompt": "Why?",
            "response": "Because.",
            "history": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}],
        },
        [*HELLO, Q, A],
    ),
    # --- numbers and true or false as answers ---
    ({"question": "Why?", "answer": 42}, [Q, ("assistant", "42")]),
    ({"instruction": "Why?", "output": -0.5}, [Q, ("assistant", "-0.5")]),
    ({"question": "Why?", "passage": "P", "answer": True}, [("user", "P\n\nWhy?"), ("assistant", "yes")]),
    # --- contexts ---
    ({"question": "Why?", "text": "Why? Because.", "answer": "Because."}, [Q, A]),
    ({"question": "Why?", "text": "A clause.", "answer": "Because."}, [("user", "A clause.\n\nWhy?"), A]),
    (
        {"question": "Why?", "long_answer": "Because.", "context": {"contexts": ["C", "D"]}},
        [("user", "C\n\nD\n\nWhy?"), A],
    ),
    (
        {"question": "Why?", "answer": "Because.", "context": {"title": ["T"], "sentences": [["One.", " Two."]]}},
        [("user", "T\nOne. Two.\n\nWhy?"), A],
    ),
    ({"system_prompt": "S", "question": "Why?", "response": "Because."}, [("system", "S"), Q, A]),
    ({"question": "Why?", "answer": {"value": "Because.", "aliases": []}}, [Q, A]),
    (
        {"context": "Question: Why?\nAnswer:", "answer": "Because.", "aliases": []},
        [("user", "Question: Why?\nAnswer:"), A],
    ),
    # --- code ---
    ({"nl": "Why?", "code": "Because."}, [Q, A]),
    ({"text": "Why?", "code": "Because.", "test_list": []}, [Q, A]),
    ({"problem": "Why?", "solution": "Because.", "source": "x"}, [Q, A]),
    ({"sql_prompt": "Why?", "sql_context": "C", "sql": "Because."}, [("user", "C\n\nWhy?"), A]),
    # --- multiple choice ---
    ({"question": "Which is hot?", "options": {"A": "ice", "B": "fire"}, "answer": "fire", "answer_idx": "B"}, CHOSEN),
    ({"question": "Which is hot?", "exp": None, "cop": 2, "opa": "ice", "opb": "fire"}, CHOSEN),
    ({"question": "Which is hot?", "opa": "ice", "opb": "fire", "cop": 1, "exp": None}, CHOSEN),
    ({"sentence": "Which is hot?", "option1": "ice", "option2": "fire", "answer": "2"}, CHOSEN),
    ({"question": "Which is hot?", "answerA": "ice", "answerB": "fire", "label": "2"}, CHOSEN),
    ({"goal": "Which is hot?", "sol1": "ice", "sol2": "fire", "label": 1}, CHOSEN),
    ({"ctx": "Which is hot?", "endings": ["ice", "fire"], "label": "1"}, CHOSEN),
    (
        {"question": "Which?", "options": ["(A)x", "(B)y", "(C)z"], "label": ["C", "A"]},
        [("user", "Which?\n(A)x\n(B)y\n(C)z"), ("assistant", "(A)x\n(C)z")],
    ),
    (
        {"query": "Which?\nA. ice\nB. fire\nAnswer:", "gold": 1, "choices": ["A", "B"]},
        [("user", "Which?\nA. ice\nB. fire\nAnswer:"), ("assistant", "B. fire")],
    ),
    # --- trees: always the best-ranked reply ---
    (
        {
            "prompt": {
                "text": "Why?",
                "role": "prompter",
                "replies": [
                    {"text": "No.", "role": "assistant", "rank": 1, "replies": []},
                    {"text": "Spam.", "role": "assistant", "rank": 0, "deleted": True, "replies": []},
                    {
                        "text": "Because.",
                        "role": "assistant",
                        "rank": 0,
                        "replies": [{"text": "Oh.", "role": "prompter", "replies": []}],
                    },
                ],
            },
            "message_tree_id": "t",
        },
        [Q, A, ("user", "Oh.")],
    ),
    # --- MOSS, Glaive ---
    (
        {
            "meta_instruction": "S",
            "chat": {
                "turn_2": {
                    "Human": "<|Human|>: Why?<eoh>\n",
                    "Commands": "<|Commands|>: None<eoc>\n",
                    "MOSS": "<|MOSS|>: Because.<eom>\n",
                },
                "turn_1": {"Human": "<|Human|>: Hello<eoh>\n", "MOSS": "<|MOSS|>: Hi<eom>\n"},
            },
        },
        [("system", "S"), *HELLO, Q, A],
    ),
    (
        {
            "chat": {
                "turn_1": {
                    "Human": "<|Human|>: Why?<eoh>",
                    "Commands": '<|Commands|>: Search("x")<eoc>',
                    "Tool Responses": "<|Results|>: y<eor>",
                    "MOSS": "Because.",
                }
            }
        },
        [Q, ("tool_call", '[{"name":"Search","arguments":{"input":"x"}}]'), ("tool", "y"), A],
    ),
    (
        {
            "system": "SYSTEM: S",
            "chat": 'USER: Why?\n\n\nASSISTANT: <functioncall> {"name": "f", "arguments": \'{"a": 1}\'} <|endoftext|>\n\n\nFUNCTION RESPONSE: {}\n\n\nASSISTANT: Because. <|endoftext|>',
        },
        [("system", " S"), Q, ("tool_call", '[{"name":"f","arguments":{"a":1}}]'), ("tool", "{}"), A],
    ),
    # --- tools ---
    (
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
                }
            ]
        },
        [("tool_call", '[{"name":"f","arguments":{"a":1},"id":"1"}]')],
    ),
    (
        {
            "messages": [
                {"role": "assistant", "content": "Let me see.", "tool_calls": [{"name": "f", "arguments": {"a": 1}}]}
            ]
        },
        [("assistant", "Let me see."), CALL],
    ),
    (
        {"messages": [{"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": '{"a": 1}'}}]},
        [CALL],
    ),
    (
        {"messages": [{"role": "function", "name": "f", "content": {"x": 1}}, {"role": "tool", "content": None}]},
        [("tool", '{"x":1}'), ("tool", "")],
    ),
    (
        {
            "conversations": [
                {"from": "function_call", "value": '{"name": "f", "arguments": {"a": 1}}'},
                {"from": "observation", "value": "4"},
            ]
        },
        [CALL, ("tool", "4")],
    ),
    (
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": 'So:\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>',
                },
                {"role": "tool", "content": "<tool_response>\n4\n</tool_response>"},
            ]
        },
        [("assistant", "So:"), CALL, ("tool", "4")],
    ),
    # --- documents ---
    ({"text": "Once upon a time.", "url": "x"}, [("text", "Once upon a time.")]),
    ({"content": "Once upon a time.", "title": "T"}, [("text", "Once upon a time.")]),
    ({"text": "The User: and the Assistant: in prose."}, [("text", "The User: and the Assistant: in prose.")]),
    ({"text": "User: one\nUser: two\nAssistant: three"}, [("text", "User: one\nUser: two\nAssistant: three")]),
]


@pytest.mark.parametrize(
    ("row", "messages"), READ, ids=lambda value: ",".join(value) if isinstance(value, dict) else ""
)
def test_a_row_becomes_the_turns_it_holds(row: dict[str, Any], messages: list[tuple[str, str]]) -> None:
    assert only(row).messages == messages


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": 7}, "wrong_type", "'messages' holds a number; expected a list"),
    ({"messages": "Why?"}, "wrong_type", "'messages' holds text; expected a list"),
    ({"messages": [7]}, "wrong_type", "messages.0 is a number"),
    ({"messages": []}, "missing_answer", "empty list"),
    ({"messages": [{"role": "assistant", "content": None}]}, "missing_answer", "messages.0"),
    ({"messages": [{"role": "narrator", "content": "x"}]}, "unknown_role", "user, human"),
    ({"messages": [{"content": "x"}]}, "unknown_role", "messages.0"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "not_text", "messages.0"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"id": 1}]}]}, "bad_tool_call", "messages.0"),
    (
        {"messages": [{"role": "assistant", "function_call": {"name": "f", "arguments": "{a"}}]},
        "bad_tool_call",
        "not JSON",
    ),
    (
        {"messages": [{"role": "assistant", "function_call": {"name": "f", "arguments": "[1]"}}]},
        "bad_tool_call",
        "no object",
    ),
    ({"conversations": [{"from": "function_call", "value": "f(1)"}]}, "bad_tool_call", "conversations.0"),
    ({"messages": [{"role": "user", "content": "Why?"}], "tools": "search"}, "bad_tools", "'tools'"),
    ({"messages": [{"role": "user", "content": "Why?"}], "tools": [{"a": 1}]}, "bad_tools", "tools.0"),
    ({"chosen": "Because.", "rejected": "No."}, "missing_prompt", "'chosen'"),
    ({"prompt": "Why?", "chosen": "Because.", "rejected": ""}, "empty_answer", "'rejected'"),
    ({"conversation_a": [], "conversation_b": [], "winner": "tie"}, "bad_pair", "'winner'"),
    ({"prompt": "Why?", "completion": "Because.", "label": False}, "bad_answer", "'label'"),
    ({"messages": [{"role": "user", "content": "Why?"}], "kto_tag": False}, "bad_answer", "'kto_tag'"),
    ({"instruction": "Why?", "output": None}, "missing_answer", "'output' is null"),
    ({"instruction": None, "output": "x"}, "missing_prompt", "'instruction' and 'input'"),
    ({"instruction": "Why?", "output": {"a": 1}}, "wrong_type", "'output' holds an object"),
    ({"instruction": "Why?", "output": True}, "wrong_type", "'output' holds true or false"),
    ({"instruction": "Why?", "input": {"a": 1}, "output": "x"}, "wrong_type", "'input' holds an object"),
    ({"instruction": "Why?", "output": "x", "history": [["hi"]]}, "wrong_type", "history.0 is a list; expected a pair"),
    ({"prompt": "Why?", "completion": True}, "wrong_type", "'completion' holds true or false"),
    ({"prompt": "Why?", "canonical_solution": None}, "missing_answer", "'canonical_solution' is null"),
    (
        {"prompt": "Why?", "system_prompt": "S", "idx": 1},
        "missing_answer",
        "fields: {prompt: prompt, completion: FIELD}",
    ),
    ({"question": "Which?", "A": "x", "B": "y"}, "missing_answer", "right one of the 2 options"),
    ({"question": "Why?", "answer": []}, "missing_answer", "empty list"),
    ({"question": "Why?", "answer": "x", "context": 3}, "wrong_type", "'context' holds a number"),
    ({"question": "Which?", "A": "x", "B": "y", "answer": "C"}, "bad_choices", "none, or several, of the 2 options"),
    ({"question": "Which?", "A": "x", "B": "y", "answer": 1}, "bad_choices", "none, or several"),
    ({"question": "Which?", "A": "x", "B": "y", "answer": None}, "missing_answer", "'answer' is empty"),
    ({"question": "Which?", "exp": "", "cop": 0, "opa": "x", "opb": "y"}, "bad_choices", "'cop'"),
    ({"question": "Which?", "choices": ["x", None], "answer": "x"}, "bad_choices", "list of texts"),
    (
        {"question": "Which?", "choices": {"label": ["A"], "text": ["x", "y"]}, "answerKey": "A"},
        "bad_choices",
        "1 labels",
    ),
    ({"instruction": "Why?", "instances": []}, "missing_answer", "'instances'"),
    ({"title": "T", "paragraphs": []}, "missing_prompt", "no questions"),
    ({"questions": ["Why?"], "answers": []}, "missing_answer", "0 answers to 1"),
    ({"table": [["a"]], "questions": "Why?"}, "wrong_type", "'questions' holds text"),
    ({"chat": {"turn_1": {"Human": "Why?"}}}, "wrong_type", "chat.turn_1"),
    ({"message_tree_id": "t", "prompt": "Why?"}, "wrong_type", "message 0 of the tree"),
    ({"text": None, "url": "x"}, "missing_document", "'text' is null"),
    (
        {"text": "Which?", "label": 1},
        "unknown_shape",
        "'label' looks like a class of 'text', and nothing says what is asked",
    ),
    ({"text": "Because.", "role": "assistant", "parent_id": "x"}, "unknown_shape", "'parent_id'"),
    ({"sentence": "x", "label": 1}, "unknown_shape", "'sentence', 'label'; tell which ones to use"),
    ({}, "unknown_shape", "the fields none"),
]


@pytest.mark.parametrize(("row", "reason", "told"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_row_is_refused_with_a_reason(row: dict[str, Any], reason: str, told: str) -> None:
    with pytest.raises(RowError) as caught:
        read_row(row)
    assert caught.value.reason == reason
    assert told in caught.value.detail


def test_a_refusal_never_quotes_the_row() -> None:
    for row, _, _ in REFUSED:
        with pytest.raises(RowError) as caught:
            read_row(row)
        assert "Because" not in caught.value.detail
        assert "Which" not in caught.value.detail
    many = {f"field {number} {'x' * 99}": "" for number in range(500)}
    with pytest.raises(RowError) as caught:
        read_row(many)
    assert "and 488 more" in caught.value.detail
    assert len(caught.value.detail) < 1000


def test_every_shape_reads_some_row_of_these_tests() -> None:
    rows = (
        [row for row, _ in READ]
        + [row for row, *_ in REFUSED]
        + [row for row, _ in SEVERAL]
        + [row for row, _ in PAIRS]
    )
    used = {shape.NAME for row in rows for shape in detect_layout(tuple(row)).shapes}
    assert used == {shape.NAME for shape in SHAPES}


def test_every_reason_a_shape_can_give_has_a_meaning() -> None:
    folder = Path(base.__file__).parent
    sources = "".join(file.read_text() for file in folder.glob("*.py"))
    reasons = set(re.findall(r'RowError\(\s*"([a-z_0-9]+)"', sources)) | set(re.findall(r'"(bad_[a-z_]+)"', sources))
    assert len(reasons) > 15
    assert reasons <= {*READ_REASONS, *NORMALIZE_REASONS}
    for part in ("prompt", "answer", "system", "document"):
        assert f"missing_{part}" in NORMALIZE_REASONS


def test_names_in_another_case_are_found_where_the_exact_ones_answer_nothing() -> None:
    assert only({"question": "Why?", "Correct Answer": "Because."}).messages == [Q, A]
    assert only({"QUESTION": "Why?", "Answer ": "Because."}).messages == [Q, A]


# --- one row, several examples ---

SQUAD = {"title": "T", "paragraphs": [{"context": "C", "qas": [
    {"question": "Why?", "answers": [{"text": "Because.", "answer_start": 3}, {"text": "So."}]},
    {"question": "How?", "answers": [], "is_impossible": True},
]}]}  # fmt: skip
TABLE = {
    "table": {"uid": "u", "table": [["", "2019"], ["Sales", "$1.5"]]},
    "paragraphs": [{"text": "P", "order": 1}],
    "questions": [
        {"question": "Sales?", "answer": ["$1.5"], "scale": "million"},
        {"question": "Change?", "answer": -22.22, "scale": "percent"},
        {"question": "Which?", "answer": ["Sales", "2019"], "scale": ""},
        {"question": "How many?", "answer": 3, "scale": ""},
    ],
}
P = "P\n\n | 2019\nSales | $1.5\n\n"
SEVERAL: list[tuple[dict[str, Any], list[Any]]] = [
    (SQUAD, [[("user", "C\n\nWhy?"), A], "missing_answer"]),
    ({"version": "1.1", "data": [SQUAD]}, [[("user", "C\n\nWhy?"), A], "missing_answer"]),
    (
        TABLE,
        [
            [("user", f"{P}Sales?"), ("assistant", "$1.5 million")],
            [("user", f"{P}Change?"), ("assistant", "-22.22%")],
            [("user", f"{P}Which?"), ("assistant", "Sales; 2019")],
            [("user", f"{P}How many?"), ("assistant", "3")],
        ],
    ),
    (
        {
            "instruction": "Add.",
            "instances": [{"input": "1, 2", "output": "3"}, {"input": "1"}, {"input": "", "output": 4}],
        },
        [[("user", "Add.\n\n1, 2"), ("assistant", "3")], "missing_answer", [("user", "Add."), ("assistant", "4")]],
    ),
    ({"conversations": [["Why?", "Because."], ["Hello", "Hi"]]}, [[Q, A], HELLO]),
    ({"bank": {"fees": [["Why?", "Because."]], "cards": [["Hello", "Hi"]]}}, [[Q, A], HELLO]),
]


@pytest.mark.parametrize(("row", "items"), SEVERAL)
def test_a_row_may_hold_several_examples_and_an_unusable_one_keeps_its_place(
    row: dict[str, Any], items: list[Any]
) -> None:
    found = read_row(row)
    assert [item.messages if isinstance(item, Example) else item.reason for item in found] == items


# --- preference pairs ---

PAIR = ([Q, A], "No.")
PAIRS: list[tuple[dict[str, Any], tuple[list[tuple[str, str]], str]]] = [
    ({"prompt": "Why?", "chosen": "Because.", "rejected": "No."}, PAIR),
    ({"instruction": "Why?", "input": "", "chosen": "Because.", "rejected": "No."}, PAIR),
    ({"question": "Why?", "response_j": "Because.", "response_k": "No."}, PAIR),
    ({"prompt": "Why?", "response_0": "No.", "response_1": "Because.", "better_response_id": 1}, PAIR),
    (
        {"conversations": [{"from": "human", "value": "Why?"}], "chosen": {"from": "gpt", "value": "Because."}, "rejected": {"from": "gpt", "value": "No."}},
        PAIR,
    ),
    (
        {"prompt": "Why?", "chosen": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}],
         "rejected": [{"role": "user", "content": "Why? "}, {"role": "assistant", "content": "No."}]},
        PAIR,
    ),
    (
        {"prompt": [{"role": "user", "content": "Why?"}], "chosen": [{"role": "assistant", "content": "Because."}],
         "rejected": [{"role": "assistant", "content": "No."}]},
        PAIR,
    ),
    (
        {"input": {"messages": [{"role": "user", "content": "Why?"}]}, "preferred_output": [{"role": "assistant", "content": "Because."}],
         "non_preferred_output": [{"role": "assistant", "content": "No."}]},
        PAIR,
    ),
    ({"chosen": "\n\nHuman: Why?\n\nAssistant: Because.", "rejected": "\n\nHuman: Why?\n\nAssistant: No."}, PAIR),
    (
        {"prompt": "\n\nHuman: Hello\n\nAssistant: Hi\n\nHuman: Why?\n\nAssistant:", "chosen": "Because.", "rejected": "No.", "system": "S"},
        ([("system", "S"), *HELLO, Q, A], "No."),
    ),
    (
        {"conversation_a": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "No."}],
         "conversation_b": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}], "winner": "model_b"},
        PAIR,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("row", "pair"), PAIRS)
def test_a_preference_pair_keeps_the_worse_answer(row: dict[str, Any], pair: tuple[Any, str]) -> None:
    example = only(row)
    assert (example.messages, example.rejected) == pair


def test_a_pair_that_differs_before_the_last_answer_is_refused() -> None:
    row = {"chosen": "Human: Why?\n\nAssistant: Because.", "rejected": "Human: How?\n\nAssistant: So."}
    with pytest.raises(RowError) as caught:
        read_row(row)
    assert caught.value.reason == "bad_pair"


# --- transcripts ---


@pytest.mark.parametrize(
    "text",
    [
        "### Human: Why?### Assistant: Because.",
        "Below is an instruction that describes a task.\n\n### Instruction:\nWhy?\n\n### Response:\nBecause.",
        "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nBecause.<|im_end|>\n",
        "<s>[INST] Why? [/INST] Because. </s>",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nBecause.<|eot_id|>",
        "<bos><start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\nBecause.<end_of_turn>\n",
        "<|user|>\nWhy?</s>\n<|assistant|>\nBecause.</s>",
        "<|prompter|>Why?<|endoftext|><|assistant|>Because.<|endoftext|>",
        "<human>: Why?\n<bot>: Because.",
        "[|Human|] Why?\n[|AI|] Because.\n[|Human|]",
        "[Human]: Why?<eoh> [MOSS]: Because.<eoa>",
        "\n\nHuman: Why?\n\nAssistant: Because.",
        "USER: Why?\nASSISTANT: Because.</s>",
    ],
)
def test_a_text_that_is_plainly_a_transcript_becomes_its_turns(text: str) -> None:
    assert only({"text": text}).messages[:2] == [Q, A]


def test_a_transcripts_system_text_is_the_system_turn() -> None:
    text = "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nWhy? [/INST] Because. </s><s>[INST] Hello [/INST] Hi </s>"
    assert only({"text": text}).messages == [("system", "S"), Q, A, *HELLO]
    text = "A chat between a user and an assistant.\nUSER: Why?\nASSISTANT: Because."
    assert only({"text": text}).messages == [("system", "A chat between a user and an assistant."), Q, A]


def test_tools_are_written_in_one_form() -> None:
    tool = '[{"type":"function","function":{"name":"f","parameters":{}}}]'
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
    for row in (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {"tools": '[{"name": "f", "parameters": {}}]'},
        {"functions": [{"name": "f", "parameters": {}}]},
    ):
        assert only({"messages": turns, **row}).tools == tool
    for row in ({"tools": "[]"}, {"tools": None}, {"tools": ""}):
        assert only({"messages": turns, **row}).tools is None


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
    assert only(row, fields).messages == [("user", "C\n\nWhy?"), A]


def test_a_field_map_may_name_a_list_of_turns() -> None:
    row = {"chat": {"turns": [{"from": "human", "value": "Why?"}]}, "rules": "S"}
    assert only(row, FieldMap(messages="chat.turns", system="rules")).messages == [("system", "S"), Q]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"p": "Why?"}, "missing_answer"),
        ({"p": "Why?", "c": {"d": None}}, "missing_answer"),
        ({"p": "Why?", "c": "text, not an object"}, "missing_answer"),
        ({"c": {"d": "x"}}, "missing_prompt"),
        ({"p": {"q": "Why?"}, "c": {"d": "x"}}, "wrong_type"),
    ],
)
def test_a_row_without_the_mapped_fields_is_refused(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        read_row(row, FieldMap(prompt="p", completion="c.d"))
    assert caught.value.reason == reason


def test_a_field_map_takes_choices_tools_a_worse_answer_and_a_document() -> None:
    row = {
        "q": "Which is hot?",
        "o": ["ice", "fire"],
        "x": "ice",
        "y": "fire",
        "k": 1,
        "t": '[{"name": "f"}]',
        "bad": "No.",
    }
    assert only(row, FieldMap(prompt="q", choices="o", completion="k")).messages == CHOSEN
    example = only(row, FieldMap(prompt="q", choices=["x", "y"], completion="y", tools="t", rejected="bad"))
    assert example == Example(CHOSEN, '[{"type":"function","function":{"name":"f"}}]', "No.")
    assert only(row, FieldMap(text="q")).messages == [("text", "Which is hot?")]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"prompt": "p"},
        {"messages": "m", "prompt": "p"},
        {"messages": "m", "choices": "c"},
        {"text": "t", "prompt": "p", "completion": "c"},
        {"text": "t", "system": "s"},
    ],
)
def test_a_field_map_that_says_too_little_or_too_much_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        FieldMap(**fields)


@pytest.mark.parametrize(
    "row",
    [
        {"paragraphs": [{"context": "c" * 100, "qas": [{"question": "Why?", "answers": ["a"]}] * 9}] * 3},
        {"table": [["c" * 100]], "paragraphs": [], "questions": [{"question": "Why?", "answer": "a"}] * 27},
    ],
)
def test_a_row_that_would_repeat_its_passages_for_ever_is_refused_before_it_does(
    row: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(read_row(row)) == 27
    monkeypatch.setattr("versatune.transforms.shapes.base.MAX_EXPANDED_CHARS", 2000)
    with pytest.raises(RowError) as error:
        read_row(row)
    assert error.value.reason == "too_large"
