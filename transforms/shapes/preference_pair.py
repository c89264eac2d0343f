r"""Preference pairs: the better answer becomes the conversation's last turn, the worse one is kept beside it.

Layouts: ``chosen`` and ``rejected`` as answers to a ``prompt`` (text, or turns in ``prompt``, ``messages`` or
``conversations``), as one turn each, as whole conversations with one beginning, or as transcripts
(``"\n\nHuman: ...\n\nAssistant: ..."``). Two conversations or responses with a verdict (``winner``) are read too.

The thoughts before the better answer stay. Those before the worse one are left out: it is kept for its text alone.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from versatune.transforms.shapes.alpaca import instruction_prompt
from versatune.transforms.shapes.asked import asked_in_turns, question_field
from versatune.transforms.shapes.base import (
    REASONING,
    Example,
    Message,
    Row,
    RowError,
    answer_text,
    first_field,
    is_blank,
    plain_role,
    system_turn,
    text,
)
from versatune.transforms.shapes.history import history_turns
from versatune.transforms.shapes.tool_use import row_tools
from versatune.transforms.shapes.transcript import open_transcript
from versatune.transforms.shapes.turns import known_turn, turns

NAME = "preference_pair"
_NAMES = (
    ("chosen", "rejected"), ("chosen_response", "rejected_response"), ("preferred_output", "non_preferred_output"),
    ("response_j", "response_k"), ("answer_chosen", "answer_rejected"), ("response_chosen", "response_rejected"),
)  # fmt: skip
_JUDGED = (
    ("conversation_a", "conversation_b", "winner"), ("response_a", "response_b", "winner"),
    ("response_0", "response_1", "better_response_id"),
)  # fmt: skip
_FIRST_WINS, _SECOND_WINS = ("model_a", "a", "A", 0, "0"), ("model_b", "b", "B", 1, "1")
_PROMPTS = ("prompt", "conversations", "conversation", "messages", "question", "query", "input")


def matches(names: Container[str]) -> bool:
    """Say whether the row compares two answers."""
    pair = any(better in names and worse in names for better, worse in _NAMES)
    return pair or any(all(name in names for name in judged) for judged in _JUDGED)


def to_examples(row: Row) -> list[Example]:
    """Return the conversation with the better answer, and the worse answer."""
    better, worse = _pair(row)
    before, tools = _before(row, better, worse)
    chosen, rejected = _answer(row[better], better, before), _answer(row[worse], worse, before)
    said, said_worse = _compared(chosen), _compared(rejected)
    if not said or not said_worse or said[:-1] != said_worse[:-1]:
        raise RowError("bad_pair", f"'{better}' and '{worse}' differ before their last turns; expected one beginning")
    if said[-1][0] != "assistant" or said_worse[-1][0] != "assistant":
        raise RowError("bad_pair", f"'{better}' and '{worse}' do not both end with an assistant's text")
    if is_blank(rejected[-1][1]):
        raise RowError("empty_answer", f"'{worse}' is blank; expected the worse answer")
    system = system_turn(row) if chosen[0][0] != "system" else []
    return [Example([*system, *chosen], tools, rejected[-1][1])]


def _compared(messages: list[Message]) -> list[Message]:
    """Return what both sides are compared by: all but the thoughts before the last turn, which may differ as the answers do."""
    said = [(plain_role(role), content.strip()) for role, content in messages]
    return said[:-2] + said[-1:] if len(said) > 1 and said[-2][0] == REASONING else said


def _pair(row: Row) -> tuple[str, str]:
    for better, worse in _NAMES:
        if better in row and worse in row:
            return better, worse
    first, second, judge = next(names for names in _JUDGED if all(name in row for name in names))
    verdict = row[judge]
    if isinstance(verdict, int | str) and not isinstance(verdict, bool):
        if verdict in _FIRST_WINS:
            return first, second
        if verdict in _SECOND_WINS:
            return second, first
    raise RowError("bad_pair", f"'{judge}' names neither of the two answers as the better one")


def _before(row: Row, better: str, worse: str) -> tuple[list[Message], str | None]:
    """Return what is said before the answers, and the tools."""
    tools, used = row_tools(row), (better, worse)
    answer = row[better] if isinstance(row[better], str) else ""
    if "instruction" in row:
        return [*history_turns(row.get("history")), ("user", instruction_prompt(row, used, answer))], tools
    field = first_field(row, _PROMPTS)
    value = row[field] if field else None
    if isinstance(value, dict):  # OpenAI's: {"messages": [...], "tools": [...]}
        return turns(value.get("messages"), f"{field}.messages"), row_tools(value) or tools
    if field is None or value is None or value == "":
        return [], tools
    if isinstance(value, str):
        field = question_field(row) or field
    before = turns(value, field) if isinstance(value, list) else prompt_turns(text(row[field], "prompt", field))
    return asked_in_turns(history_turns(row.get("history")) + before, row, field, used, answer), tools


def prompt_turns(prompt: str) -> list[Message]:
    """Return a prompt as turns: those of a transcript that ends where the assistant should speak, else one."""
    if known_turn(prompt):
        return turns([prompt], "prompt")
    messages = open_transcript(prompt)
    if messages and messages[-1] == ("assistant", "") and len(messages) > 1:
        return messages[:-1]
    return [("user", prompt)]


def _answer(value: Any, field: str, before: list[Message]) -> list[Message]:
    """Return the whole conversation with this answer."""
    if isinstance(value, dict) or (isinstance(value, str) and known_turn(value)):
        value = [value]
    if isinstance(value, list):
        said = turns(value, field)
        whole = bool(said) and said[0][0] in ("user", "system")
        return said if whole else before + said
    if isinstance(value, str) and not before:
        whole_text = open_transcript(value)
        if whole_text is None:
            raise RowError("missing_prompt", f"'{field}' is an answer, but no field holds what was asked")
        return whole_text
    return [*before, ("assistant", answer_text(value, field))]
