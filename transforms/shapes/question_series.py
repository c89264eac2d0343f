"""Questions one after the other about one text, as in CoQA: ``{"story", "questions": [...], "answers": [...]}``.

Later questions lean on earlier ones ("And when?"), so they are one conversation.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from versatune.transforms.shapes.asked import asked
from versatune.transforms.shapes.base import Example, Message, Row, RowError, first_field, text, type_name
from versatune.transforms.shapes.multiple_choice import choice_turns
from versatune.transforms.shapes.question_answer import accepted_answer

NAME = "question_series"
_OPTIONS = ("options", "choices")
_INNER_ANSWERS = ("input_text", "text", "texts")


def matches(names: Container[str]) -> bool:
    """Say whether there are lists of questions and answers."""
    return "questions" in names and "answers" in names


def to_examples(row: Row) -> list[Example]:
    """Return the questions and answers in turn, the text before the first question."""
    questions, answers = _listed(row["questions"], "questions"), _listed(row["answers"], "answers")
    if not questions:
        raise RowError("missing_prompt", "field 'questions' is an empty list")
    if len(questions) != len(answers):
        missing = "missing_answer" if len(answers) < len(questions) else "missing_prompt"
        raise RowError(missing, f"there are {len(answers)} answers to {len(questions)} questions")
    chosen = first_field(row, _OPTIONS)
    options = row[chosen] if chosen is not None else None
    if options and (type(options) is not list or len(options) != len(questions)):
        raise RowError(
            "bad_choices", f"field '{chosen}' does not hold a list of options for each of {len(questions)} questions"
        )
    messages: list[Message] = []
    for number, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        wording = question[0] if isinstance(question, list) and question else question  # of several the first
        prompt, field = text(wording, "prompt", f"questions.{number}"), f"answers.{number}"
        if options:
            messages += choice_turns(prompt, options[number], answer, field)
        else:
            messages += [("user", prompt), ("assistant", accepted_answer(answer, field))]
    first = asked(row, "questions", messages[0][1], ("answers", chosen))
    return [Example([("user", first.prompt), *messages[1:]])]


def _listed(value: Any, field: str) -> list[Any]:
    if isinstance(value, dict):
        inner = first_field(value, _INNER_ANSWERS)
        value = value[inner] if inner else value
    if value is None:
        raise RowError("missing_answer" if field == "answers" else "missing_prompt", f"field '{field}' is null")
    if not isinstance(value, list):
        raise RowError("wrong_type", f"field '{field}' holds {type_name(value)}; expected a list of texts")
    return value
