"""What a row asks beside its question goes into the prompt, in one order for every shape, and nothing else does."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from versatune.schemas.config import FieldMap
from versatune.transforms.shapes.asked import CONTEXTS, DETAILS, INSTRUCTIONS
from versatune.transforms.shapes.base import Example, RowError
from versatune.transforms.shapes.conversation import read_examples
from versatune.transforms.shapes.registry import read_row


def prompt(row: dict[str, Any]) -> str:
    """Return what the user says in the one example of a row."""
    (example,) = read_row(row)
    assert isinstance(example, Example)
    return "\n---\n".join(content for role, content in example.messages if role == "user")


ASKING: list[tuple[dict[str, Any], str]] = [
    # one rule in every shape
    ({"instruction": "I", "question": "Q", "answer": "A"}, "I\n\nQ"),
    ({"instruction": "I", "context": "C", "input": "Q", "output": "A"}, "I\n\nC\n\nQ"),
    ({"instruction": "I", "input": "X", "question": "Q", "output": "A"}, "I\n\nX\n\nQ"),
    ({"instruction": "I", "input": "", "text": "T", "output": "A"}, "I\n\nT"),
    ({"instruction": "I", "passage": "C", "response": "A"}, "I\n\nC"),
    ({"instructions": "I", "input": "Q", "output": "A"}, "I\n\nQ"),
    ({"prompt": "I", "input": "Q", "output": "A"}, "I\n\nQ"),
    ({"prompt": "I", "query": "Q", "response": "A"}, "I\n\nQ"),
    ({"question": "Q", "prompt": "I", "answer": "A"}, "I\n\nQ"),
    ({"question": "Q", "hint": "H", "passages": {"passage_text": ["C", "D"], "url": ["u"]}, "answers": ["A"]}, "C\n\nD\n\nH\n\nQ"),
    ({"question": "Q", "pre_text": ["C"], "table": [["a", "b"], ["1", "2"]], "post_text": ["D"], "answer": "A"}, "C\n\na | b\n1 | 2\n\nD\n\nQ"),
    ({"question": "Q", "starter_code": "def f():", "solutions": '["A"]'}, "Q\n\ndef f():"),
    ({"question": "Q", "evidence": "E", "schema": "S", "SQL": "A"}, "E\n\nS\n\nQ"),
    ({"text": "T", "instruction": "I", "code": "A"}, "I\n\nT"),
    ({"prompt": "P", "context": "C", "chosen": "A", "rejected": "B"}, "C\n\nP"),
    ({"prompt": "I", "question": "Q", "chosen": "A", "rejected": "B"}, "I\n\nQ"),
    ({"instruction": "I", "document": "C", "chosen": "A", "rejected": "B"}, "I\n\nC"),
    ({"instruction": "I", "question": "Q", "choices": ["x", "y"], "answer": 1}, "I\n\nQ\nA. x\nB. y"),
    ({"prompt": "Q", "options": ["x", "y"], "completion": "y"}, "Q\nA. x\nB. y"),
    ({"instruction": "I", "story": "C", "questions": ["Q", "R"], "answers": ["A", "B"]}, "I\n\nC\n\nQ\n---\nR"),
    ({"instruction": "I", "table": [["1"]], "questions": [{"question": "Q", "answer": "A"}]}, "I\n\n1\n\nQ"),
    ({"instruction": "I", "context": "C", "instances": [{"input": "Q", "output": "A"}]}, "I\n\nC\n\nQ"),
    ({"prompt": "Human: H\n\nAssistant: J\n\nHuman: Q\n\nAssistant:", "context": "C", "details": "D", "completion": "A"}, "C\n\nH\n---\nQ\n\nD"),
    ({"question": "Q", "Passage Text": "C", "answer": "A"}, "C\n\nQ"),
    ({"question": "Q", "scenario": "C", "facts": ["D", "E"], "answer": "A"}, "C\n\nD\n\nE\n\nQ"),
    ({"instruction": "I", "premise": "P", "hypothesis": "H", "output": "A"}, "I\n\nP\n\nH"),
    ({"instruction": "I", "sentence1": "P", "sentence2": "H", "output": "A"}, "I\n\nP\n\nH"),
    ({"question": "Q", "schema": {"t": ["a", "b"]}, "sql": "A"}, '{"t":["a","b"]}\n\nQ'),
    # options that are written as one text
    ({"question": "Q", "options": "a) x b) y", "answer": "A"}, "Q\n\na) x b) y"),
    ({"instruction": "Q", "choices": "a) x b) y", "output": "A"}, "Q\n\na) x b) y"),
    ({"question": "Q", "options": "", "A": "x", "B": "y", "answer": "A"}, "Q\nA. x\nB. y"),
    # options of several questions
    ({"article": "C", "questions": ["Q", "R"], "options": [["x", "y"], ["z", "w"]], "answers": ["B", "A"]}, "C\n\nQ\nA. x\nB. y\n---\nR\nA. z\nB. w"),
    # turns in which the question stands
    ({"messages": [{"role": "user", "content": "Q, please!"}, {"role": "assistant", "content": "A"}], "question": "Q, please", "answer": "A"}, "Q, please!"),
    # titles and bodies
    ({"title": "Q", "body": "D", "answer": "A"}, "Q\n\nD"),
    ({"title": "Q", "selftext": "D", "answers": {"text": ["A"], "score": [1]}}, "Q\n\nD"),
    ({"question_title": "Q", "question_content": "D", "best_answer": "A"}, "Q\n\nD"),
    ({"title": "SQuAD", "context": "C", "question": "Q", "answers": {"text": ["A"]}}, "C\n\nQ"),
    # names in any case
    ({"question": "Q", "Question-Text": "D", "answer": "A"}, "Q\n\nD"),
    ({"Instruction": "I", "Source Text": "T", "Output": "A"}, "I\n\nT"),
    ({"instruction": "I", "questionText": "D", "output": "A"}, "I\n\nD"),
    # tables
    ({"question": "Q", "table": [{"a": 1, "b": None}, {"a": 2, "b": "x"}], "answer": "A"}, "a | b\n1 | \n2 | x\n\nQ"),
    ({"question": "Q", "tables": [[["a"]], {"header": ["b"], "rows": [["c"]]}], "answer": "A"}, "a\n\nb\nc\n\nQ"),
    # what is not asked
    ({"question": "Q", "explanation": "E", "category": "K", "id": "7", "source": "S", "rationale": "R", "answer": "A"}, "Q"),
    ({"question": "Q", "document": "report.pdf", "article": "https://example.org/a", "table": 4, "answer": "A"}, "Q"),
    ({"question": "Q", "task": "open qa", "answer": "A"}, "Q"),
    ({"question": "Q", "task": "Answer in French.", "answer": "A"}, "Answer in French.\n\nQ"),
    ({"question": "Q", "reference": "A", "answer": "A"}, "Q"),
    ({"question": "Q", "document": None, "text": " ", "answer": "A"}, "Q"),
    # nothing twice
    ({"question": "Why do ships float?", "text": "C. Why do ships float?", "answer": "A"}, "C. Why do ships float?"),
    ({"question": "Why?", "text": "Why? Because.", "answer": "Because."}, "Why?"),
    ({"instruction": "Add.", "input": "1, 2", "text": "### Instruction: Add. ### Input: 1, 2 ### Response: 3", "output": "3"}, "Add.\n\n1, 2"),
    ({"question": "Why?", "question_text": "Why? I wonder.", "answer": "A"}, "Why? I wonder."),
    ({"prompt": "/**\n * Return the sum\n * of two numbers.\n */", "description": "Return the sum of two numbers.", "canonical_solution": "A"}, "/**\n * Return the sum\n * of two numbers.\n */"),
    ({"question": "Q", "context": "Otters hold hands in the sea.", "evidence": "otters hold hands", "answer": "A"}, "Otters hold hands in the sea.\n\nQ"),
    ({"question": "Who is he?", "passage": "I ask: who is he? Who is he? Ann.", "answer": "Ann"}, "I ask: who is he? Who is he? Ann.\n\nWho is he?"),
    ({"instruction": "Correct it.", "text": "I like tea.", "output": "I like tea."}, "Correct it.\n\nI like tea."),
]  # fmt: skip


@pytest.mark.parametrize(("row", "said"), ASKING, ids=lambda value: ",".join(value) if isinstance(value, dict) else "")
def test_everything_that_is_asked_is_in_the_prompt_once(row: dict[str, Any], said: str) -> None:
    assert prompt(row) == said


@pytest.mark.parametrize(
    ("row", "first", "second"),
    [
        ({"question": "Why?", "problem": "How?", "answer": "A"}, "question", "problem"),
        ({"question": "Why?", "query": "How?", "answer": "A"}, "question", "query"),
        ({"instruction": "I", "problem": "Why?", "query": "How?", "output": "A"}, "problem", "query"),
        ({"prompt": "I", "problem": "Why?", "query": "How?", "completion": "A"}, "query", "problem"),
        ({"question": "Why?", "Problem": "How?", "options": ["x", "y"], "answer": 0}, "question", "Problem"),
    ],
)
def test_of_two_questions_that_differ_none_is_taken(row: dict[str, Any], first: str, second: str) -> None:
    with pytest.raises(RowError) as caught:
        read_row(row)
    assert caught.value.reason == "unknown_shape"
    assert f"'{first}' and '{second}' may both be what is asked" in caught.value.detail


def test_two_questions_that_are_the_same_are_one() -> None:
    assert prompt({"question": "Why?", "problem": "why ?", "answer": "A"}) == "Why?"
    assert (
        prompt({"question": "Why do they float?", "query": "Ships: why do they float?", "answer": "A"})
        == "Ships: why do they float?"
    )


def test_a_blank_question_is_not_hidden_by_its_context() -> None:
    assert prompt({"question": " ", "context": "C", "answer": "A"}) == " "


@pytest.mark.parametrize("blank", [" ", "\n", "\u200b", "\ufeff", "\u2800", "\u3164 \u00ad"])
@pytest.mark.parametrize(
    ("row", "fields"),
    [
        ({"context": "C", "question": "?", "answer": "A"}, None),
        ({"passage": "C", "question": "?", "description": "D", "answer": "A"}, None),
        ({"paragraphs": [{"context": "C", "qas": [{"question": "?", "answers": ["A"]}]}]}, None),
        ({"table": [["a", "b"]], "questions": [{"question": "?", "answer": "A"}]}, None),
        ({"story": "C", "questions": ["?"], "answers": ["A"]}, None),
        ({"prompt": "?", "context": "C", "completion": "A"}, None),
        ({"prompt": [{"role": "user", "content": "?"}], "context": "C", "completion": "A"}, None),
        ({"question": "?", "context": "C", "choices": ["One", "Two"], "answer": "A"}, None),
        ({"q": "?", "c": "C", "a": "A"}, FieldMap(prompt="q", context="c", completion="a")),
        ({"q": "?", "a": "A", "x": "1", "y": "2"}, FieldMap(prompt="q", completion="a", choices=["x", "y"])),
    ],
)
def test_a_question_that_cannot_be_seen_is_blank_whatever_stands_beside_it(
    row: dict[str, Any], fields: FieldMap | None, blank: str
) -> None:
    payload = orjson.dumps(row).replace(b'"?"', orjson.dumps(blank))
    with pytest.raises(RowError) as caught:
        read_examples(payload, fields)
    assert caught.value.reason == "empty_prompt"


NAMES = st.sampled_from(
    [
        name
        for name in (*INSTRUCTIONS, *CONTEXTS, *DETAILS)
        if name not in ("task", "input", "text", "prompt", "instruction", "instructions")
    ]
)


@given(
    st.dictionaries(NAMES, st.integers(0, 10**6).map(lambda number: f"words {number} alone"), min_size=1, max_size=5)
)
def test_any_field_with_a_role_is_in_the_prompt_and_a_constant_question_makes_no_duplicates(
    fields: dict[str, str],
) -> None:
    said = prompt({"question": "What is it?", **fields, "answer": "A"})
    assert all(content in said for content in fields.values())
    assert "What is it?" in said
    assert said == prompt({"answer": "A", **dict(reversed(fields.items())), "question": "What is it?"})
