"""Prompt and completion, under any of their usual names; each is text, or (as TRL writes it) a list of turns.

``history`` holds earlier turns; where there is no completion, it is the whole conversation. Instructions and contexts go
before what is asked first, details after what is asked last. A ``prompt`` beside a query or an input is an instruction.
``reasoning_content`` (or ``thinking``) holds the thoughts before the answer.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from versatune.transforms.shapes.asked import asked_in_turns
from versatune.transforms.shapes.base import (
    Example,
    Message,
    Row,
    RowError,
    answer_text,
    first_field,
    has_any,
    system_turn,
    text,
)
from versatune.transforms.shapes.history import history_turns
from versatune.transforms.shapes.preference_pair import prompt_turns
from versatune.transforms.shapes.question_answer import accepted_answer
from versatune.transforms.shapes.thoughts import thoughts_of_row
from versatune.transforms.shapes.tool_use import calls_json, row_tools
from versatune.transforms.shapes.turns import known_turn, turns

NAME = "prompt_completion"
_PROMPTS = ("query", "problem", "inputs", "input", "prompt", "user", "human", "sql_prompt")
_COMPLETIONS = (
    "completion", "response", "output", "solution", "generated_solution", "answer", "answers", "targets", "target",
    "assistant", "gpt", "bot", "sql",
)  # fmt: skip


def matches(names: Container[str]) -> bool:
    """Say whether there are a prompt and a completion, or earlier turns in place of the completion."""
    return has_any(names, _PROMPTS) and ("history" in names or has_any(names, _COMPLETIONS))


def to_examples(row: Row) -> list[Example]:
    """Return the system text if there is one, the earlier turns, the prompt and the completion."""
    asked, answered = row.get("prompt"), row.get("completion")
    if len(row) == 2 and type(asked) is str and type(answered) is str and answered[:1] != "{":
        return [Example([*prompt_turns(asked), ("assistant", answered)])]
    if _are_columns(asked, answered):
        raise RowError("wrong_type", "'prompt' and 'completion' hold lists of texts; expected texts, or lists of turns")
    prompt = "prompt" if type(asked) is list else str(first_field(row, _PROMPTS))
    completion = first_field(row, _COMPLETIONS)
    asked, answered = row[prompt], row[completion] if completion else None
    messages, answer = history_turns(row["history"]) if "history" in row else [], list[Message]()
    if completion is not None:
        messages += turns(asked, prompt) if type(asked) is list else prompt_turns(text(asked, "prompt", prompt))
        answer = _answer(answered, completion, calls="tools" in row)
    elif not messages:
        raise RowError("missing_answer", "'history' is empty, and no field holds a completion")
    messages = asked_in_turns(messages, row, prompt, (completion,), answer[-1][1] if answer else "")
    thoughts = thoughts_of_row(row) if len(answer) == 1 else []  # of several turns nobody can tell whose they are
    return [Example([*system_turn(row), *messages, *thoughts, *answer], row_tools(row))]


def _are_columns(asked: Any, answered: Any) -> bool:
    """Say whether these are columns of a table, and no turns: lists of as many texts."""
    return (
        type(asked) is type(answered) is list
        and len(asked) == len(answered) > 1
        and type(asked[0]) is type(answered[0]) is str
    )


def _answer(value: Any, field: str, *, calls: bool) -> list[Message]:
    if calls and isinstance(value, str) and value.lstrip()[:2] in ("[{", "[ "):  # xLAM: the calls are the answer
        return [("tool_call", calls_json(value, field))]
    if type(value) is str and known_turn(value):
        return turns([value], field)
    if type(value) is list and value and isinstance(value[0], dict) and ("role" in value[0] or "from" in value[0]):
        return turns(value, field)
    if type(value) is list and value and all(type(item) is str and known_turn(item) for item in value):
        return turns(value, field)
    answer = answer_text(value, field) if isinstance(value, bool) else accepted_answer(value, field)
    return [("assistant", answer)]
