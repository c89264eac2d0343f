"""Question and answer, with or without context; ``text`` is the question where there is no other.

Of several accepted answers (a list, SQuAD's ``{"text": [...]}``, TriviaQA's ``{"value": ...}``) the first is taken.
Instructions and contexts go before the question, its details after it. A title beside a body is a question. A question
answered with true or false is answered yes or no. ``reasoning_content`` (or ``thinking``) holds the thoughts before the answer.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from versatune.transforms.shapes.asked import LONG_FORMS, asked, question_field
from versatune.transforms.shapes.base import (
    Example,
    Row,
    RowError,
    answer_text,
    first_field,
    has_any,
    system_turn,
    text,
)
from versatune.transforms.shapes.history import history_turns
from versatune.transforms.shapes.marks import amount
from versatune.transforms.shapes.thoughts import thoughts_of_row

NAME = "question_answer"
_QUESTIONS = ("question", "question_title")
_IN_PLACE = ("text", "context")  # of a question, where there is no other
_ANSWERS = (
    "solution", "answer", "answers", "answers_spans", "response", "output", "completion", "long_answer", "correct_answer", "best_answer",
    "final_answer", "ideal_answer", "reply",
)  # fmt: skip
_INNER_ANSWERS = ("text", "value", "spans", "answer", "human_readable")
_PROMPTS = ("prompt", "query")
_MARKS = ("selected", "is_selected", "accepted", "is_accepted", "correct", "is_correct")


def matches(names: Container[str]) -> bool:
    """Say whether there are a question and an answer."""
    if not has_any(names, _ANSWERS):
        return False
    if has_any(names, _QUESTIONS) or ("title" in names and has_any(names, LONG_FORMS)):
        return True
    return has_any(names, _IN_PLACE) and not has_any(names, _PROMPTS)


def to_examples(row: Row) -> list[Example]:
    """Return everything that is asked as one user turn, and the answer."""
    question = _question(row)
    field = str(first_field(row, _ANSWERS))
    value, where = row[question], question
    if isinstance(value, dict):  # {"question": {"text": ...}}
        inner = first_field(value, ("text", "full_text", "stem")) or "text"
        value, where = value.get(inner), f"{question}.{inner}"
    prompt = text(value, "prompt", where)
    answer = accepted_answer(row[field], field)
    messages = [*system_turn(row), *history_turns(row.get("history"))]
    messages.append(("user", asked(row, question, prompt, (field,), answer).prompt))
    return [Example([*messages, *thoughts_of_row(row), ("assistant", answer)])]


def _question(row: Row) -> str:
    """Return the field that asks; a title does where its long form stands beside it."""
    if "question" in row:
        return "question"
    titles = ("question_title", "title") if has_any(row, LONG_FORMS) else ("question_title",)
    return question_field(row) or next(name for name in (*titles, *_IN_PLACE) if name in row)


def _first_good(answers: list[Any], field: str) -> int:
    """Return the place of the first answer that is not marked as one that was not accepted."""
    for number, answer in enumerate(answers):
        if not (isinstance(answer, dict) and any(amount(answer.get(mark)) == 0 for mark in _MARKS)):
            return number
    raise RowError("bad_answer", f"every answer in '{field}' is marked as one that was not accepted")


def accepted_answer(value: Any, field: str) -> str:
    """Return the first accepted answer as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        number = _first_good(value, field)
        value, field = value[number], f"{field}.{number}"
    if isinstance(value, dict):
        inner = first_field(value, _INNER_ANSWERS)
        value, field = (value[inner], f"{field}.{inner}") if inner else (value, field)
    return answer_text(value, field)
