"""Prompt and completion, under any of their usual names; each is text, or (as TRL writes it) a list of turns.

``history`` holds earlier turns; where there is no completion, it is the whole conversation. ``laws``, ``references`` and
other contexts go before the prompt.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from versatune.transforms.shapes.base import (
    Example,
    Message,
    Row,
    RowError,
    answer_text,
    first_field,
    has_any,
    joined,
    system_turn,
    text,
)
from versatune.transforms.shapes.context import row_context
from versatune.transforms.shapes.history import history_turns
from versatune.transforms.shapes.preference_pair import prompt_turns
from versatune.transforms.shapes.question_answer import accepted_answer
from versatune.transforms.shapes.tool_use import calls_json, row_tools
from versatune.transforms.shapes.turns import turns

NAME = "prompt_completion"
_PROMPTS = ("prompt", "query", "inputs", "input", "problem", "user", "human", "sql_prompt")
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
    if len(row) == 2 and type(asked) is str and type(answered) is str:
        return [Example([*prompt_turns(asked), ("assistant", answered)])]
    prompt, completion = str(first_field(row, _PROMPTS)), first_field(row, _COMPLETIONS)
    asked, answered = row[prompt], row[completion] if completion else None
    before = history_turns(row["history"]) if "history" in row else []
    if completion is None and before:
        messages = before
    else:
        if completion is None:
            raise RowError("missing_answer", "'history' is empty, and no field holds a completion")
        messages = before + (
            turns(asked, prompt) if type(asked) is list else prompt_turns(text(asked, "prompt", prompt))
        )
        messages += _answer(answered, completion, calls="tools" in row)
    return [Example([*system_turn(row), *_with_context(messages, row_context(row))], row_tools(row))]


def _answer(value: Any, field: str, *, calls: bool) -> list[Message]:
    if calls and isinstance(value, str) and value.lstrip()[:2] in ("[{", "[ "):  # xLAM: the calls are the answer
        return [("tool_call", calls_json(value, field))]
    if type(value) is list and value and isinstance(value[0], dict) and ("role" in value[0] or "from" in value[0]):
        return turns(value, field)
    answer = answer_text(value, field) if isinstance(value, bool) else accepted_answer(value, field)
    return [("assistant", answer)]


def _with_context(messages: list[Message], context: str) -> list[Message]:
    """Put a context before the first thing the user says; an empty prompt stays empty."""
    for number, (role, said) in enumerate(messages):
        if context and role == "user":
            return [
                *messages[:number],
                (role, joined([context, said]) if said.strip() else said),
                *messages[number + 1 :],
            ]
    return messages
