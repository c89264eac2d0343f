"""Prompt and completion, under any of their usual names; each is text, or (as TRL writes it) a list of turns."""

from __future__ import annotations

from typing import Any

from transforms.shapes.base import Message, Row, first_field, text
from transforms.shapes.turns import turns

_PROMPTS = ("prompt", "query")
_COMPLETIONS = ("completion", "response", "output", "answer", "canonical_solution")
_SYSTEMS = ("system", "system_prompt")


def matches(row: Row) -> bool:
    """Say whether there are a prompt and a completion."""
    return any(name in row for name in _PROMPTS) and any(name in row for name in _COMPLETIONS)


def to_messages(row: Row) -> list[Message]:
    """Return the system text if there is one, the prompt and the completion."""
    prompt, completion = str(first_field(row, _PROMPTS)), str(first_field(row, _COMPLETIONS))
    system = first_field(row, _SYSTEMS)
    messages = [("system", text(row[system], "system", system))] if system and row[system] else []
    return [
        *messages,
        *_turns(row[prompt], "user", "prompt", prompt),
        *_turns(row[completion], "assistant", "answer", completion),
    ]


def _turns(value: Any, role: str, part: str, field: str) -> list[Message]:
    return turns(value, field) if isinstance(value, list) else [(role, text(value, part, field))]
