"""Question and answer, with or without context; ``text`` is the question where there is no other.

Of several accepted answers (a list, SQuAD's ``{"text": [...]}``, TriviaQA's ``{"value": ...}``) the first is taken.
Context goes before the question; a context in paragraphs is joined with empty lines. A ``text`` beside a question is its
context, unless the question stands in it: then it is the whole example once more. A question answered with true or
false is answered yes or no.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from versatune.transforms.shapes.base import Example, Row, answer_text, first_field, has_any, joined, system_turn, text
from versatune.transforms.shapes.context import row_context
from versatune.transforms.shapes.history import history_turns

NAME = "question_answer"
_QUESTIONS = ("question", "text", "context")
_ANSWERS = (
    "solution", "answer", "answers", "answers_spans", "response", "output", "completion", "long_answer", "correct_answer", "best_answer",
    "final_answer", "ideal_answer", "reply",
)  # fmt: skip
_INNER_ANSWERS = ("text", "value", "spans", "answer", "human_readable")
_PROMPTS = ("prompt", "query")


def matches(names: Container[str]) -> bool:
    """Say whether there are a question and an answer."""
    return has_any(names, _ANSWERS) and (
        "question" in names or (has_any(names, _QUESTIONS) and not has_any(names, _PROMPTS))
    )


def to_examples(row: Row) -> list[Example]:
    """Return context and question as one user turn, and the answer."""
    question = next(name for name in _QUESTIONS if name in row)
    answer = str(first_field(row, _ANSWERS))
    asked = row[question]
    if isinstance(asked, dict):  # {"question": {"text": ...}}
        inner = first_field(asked, ("text", "full_text", "stem")) or "text"
        asked = asked.get(inner)
    prompt = text(asked, "prompt", question)
    context = row_context(row) if question != "context" else ""
    if (
        not context
        and question == "question"
        and isinstance(row.get("text"), str)
        and prompt.strip() not in row["text"]
    ):
        context = row["text"]
    if context and prompt.strip():
        prompt = joined([context, prompt])
    messages = [*system_turn(row), *history_turns(row.get("history")), ("user", prompt)]
    return [Example([*messages, ("assistant", accepted_answer(row[answer], answer))])]


def accepted_answer(value: Any, field: str) -> str:
    """Return the first accepted answer as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = value[0]
    if isinstance(value, dict):
        inner = first_field(value, _INNER_ANSWERS)
        value = value[inner] if inner else value
    return answer_text(value, field)
