"""Code tasks: what to write, and the code. Spider, HumanEval, MBPP, CoNaLa, CONCODE and their like."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from versatune.transforms.shapes import exact_json
from versatune.transforms.shapes.asked import asked
from versatune.transforms.shapes.base import Example, Row, answer_text, first_field, has_any, system_turn, text

NAME = "code_task"
_TASKS = (
    "question", "problem", "prompt", "nl", "intent", "docstring", "description", "text", "instruction", "func_documentation_string",
)  # fmt: skip
_CODES = ("canonical_solution", "code", "snippet", "query", "sql", "func_code_string", "solution", "solutions")
_OTHER_ANSWERS = ("answer", "answers", "response", "output", "completion", "choices", "options")


def matches(names: Container[str]) -> bool:
    """Say whether code is the only answer to a described task."""
    if has_any(names, _OTHER_ANSWERS) or not has_any(names, _CODES):
        return False
    return has_any(names, _TASKS) and not ("history" in names and "query" in names)


def to_examples(row: Row) -> list[Example]:
    """Return the task and the code; of several solutions the first."""
    task, code = str(first_field(row, _TASKS)), str(first_field(row, _CODES))
    value = row[code]
    if isinstance(value, str) and value.startswith('["'):  # APPS: a list of solutions, written as JSON
        value = _listed(value)
    if isinstance(value, dict):  # WikiSQL: {"human_readable": ...}
        value = value.get("human_readable", value)
    prompt, answer = text(row[task], "prompt", task), answer_text(value, code)
    return [
        Example([*system_turn(row), ("user", asked(row, task, prompt, (code,), answer).prompt), ("assistant", answer)])
    ]


def _listed(value: str) -> Any:
    try:
        return exact_json.loads(value)
    except ValueError:
        return value
