"""SQuAD as it is published: ``{"title", "paragraphs": [{"context", "qas": [{"question", "answers"}]}]}``.

An article gives one example for each question; a whole file as one row (``{"data": [articles]}``) gives them all.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

from versatune.transforms.shapes.base import Example, Row, RowError, check_expanded, is_blank, joined, text, type_name
from versatune.transforms.shapes.question_answer import accepted_answer

NAME = "squad"


def matches(names: Container[str]) -> bool:
    """Say whether there are an article's paragraphs, or articles."""
    return (
        ("paragraphs" in names and "questions" not in names and "question" not in names)
        or ("data" in names and "version" in names)
        or "qas" in names
    )


def to_examples(row: Row) -> list[Example | RowError]:
    """Return every question with its paragraph before it, and the first answer; a question without one is an error."""
    found: list[Example | RowError] = []
    repeated = 0
    for where, paragraph in _paragraphs(row):
        context = text(paragraph.get("context", ""), "prompt", f"{where}.context")
        questions = _listed(paragraph.get("qas"), f"{where}.qas")
        repeated += len(context) * len(questions)
        check_expanded(repeated)
        for number, question in enumerate(questions):
            try:
                found.append(_example(context, question, f"{where}.qas.{number}"))
            except RowError as error:
                found.append(error)
    if not found:
        raise RowError("missing_prompt", "the article has no questions; expected 'paragraphs' with 'qas' in them")
    return found


def _paragraphs(row: Row) -> Iterator[tuple[str, Row]]:
    if "qas" in row:
        yield "row", row
        return
    articles = [("", row)] if "paragraphs" in row else list(_numbered(row.get("data"), "data"))
    for where, article in articles:
        prefix = f"{where}." if where else ""
        yield from _numbered(article.get("paragraphs"), f"{prefix}paragraphs")


def _numbered(value: Any, field: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, item in enumerate(_listed(value, field)):
        if not isinstance(item, dict):
            raise RowError("wrong_type", f"{field}.{number} is {type_name(item)}; expected an object")
        yield f"{field}.{number}", item


def _listed(value: Any, field: str) -> list[Any]:
    if not isinstance(value, list):
        raise RowError("wrong_type", f"'{field}' holds {type_name(value)}; expected a list of objects")
    return value


def _example(context: str, question: Any, where: str) -> Example:
    if not isinstance(question, dict):
        raise RowError("wrong_type", f"{where} is {type_name(question)}; expected an object with question and answers")
    asked = text(question.get("question"), "prompt", f"{where}.question")
    answer = accepted_answer(question.get("answers", question.get("answer")), f"{where}.answers")
    return Example([("user", asked if is_blank(asked) else joined([context, asked])), ("assistant", answer)])
