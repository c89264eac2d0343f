"""Questions about a table and its paragraphs (TAT-QA, FinQA-like): one example for each question."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from versatune.transforms.shapes.asked import asked
from versatune.transforms.shapes.base import (
    Example,
    Row,
    RowError,
    answer_text,
    check_expanded,
    is_blank,
    joined,
    text,
    type_name,
)

NAME = "table_questions"


def matches(names: Container[str]) -> bool:
    """Say whether there are a table, or paragraphs, and a list of questions."""
    return "questions" in names and ("table" in names or "paragraphs" in names)


def to_examples(row: Row) -> list[Example | RowError]:
    """Return each question with paragraphs and table (a line per row, ``|`` between cells) before it, and its answer.

    A number's scale is written out: ``-12.6 million``, ``4.2%``. Several values are joined with ``; ``.
    """
    context = asked(row, "questions", "").before
    questions = row["questions"]
    if not isinstance(questions, list):
        raise RowError("wrong_type", f"field 'questions' holds {type_name(questions)}; expected a list of objects")
    if not questions:
        raise RowError("missing_prompt", "field 'questions' is an empty list")
    check_expanded(len(context) * len(questions))
    found: list[Example | RowError] = []
    for number, question in enumerate(questions):
        try:
            found.append(_example(context, question, f"questions.{number}"))
        except RowError as error:
            found.append(error)
    return found


def _example(context: str, question: Any, where: str) -> Example:
    if not isinstance(question, dict):
        raise RowError("wrong_type", f"{where} is {type_name(question)}; expected an object with question and answer")
    asked = text(question.get("question"), "prompt", f"{where}.question")
    answer, scale = question.get("answer"), question.get("scale") or ""
    if not isinstance(scale, str):
        raise RowError("wrong_type", f"{where}.scale holds {type_name(scale)}; expected text")
    values = answer if isinstance(answer, list) and answer else [answer]
    answered = "; ".join(_scaled(answer_text(value, f"{where}.answer"), scale) for value in values)
    return Example([("user", asked if is_blank(asked) else joined([context, asked])), ("assistant", answered)])


def _scaled(value: str, scale: str) -> str:
    if not scale or not any(character.isdigit() for character in value):
        return value
    if scale == "percent":
        return value if value.rstrip().endswith("%") else f"{value}%"
    return value if scale in value else f"{value} {scale}"
