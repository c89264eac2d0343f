"""Which parts of an example are text, and how a step changes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from versatune.transforms.shapes.base import REASONING, Example, RowError
from versatune.transforms.shapes.conversation import clean_text

ANSWER_ROLES = ("assistant", "text")
"""Whose texts a model would learn to say: the assistant's, and documents."""


def texts(example: Example) -> Iterator[str]:
    """Yield every text: all turns but tool calls (which are JSON), and the rejected answer."""
    for role, content in example.messages:
        if role != "tool_call":
            yield content
    if example.rejected is not None:
        yield example.rejected


def answers(example: Example) -> Iterator[str]:
    """Yield what a model would learn to say: the assistant's turns, or the document."""
    for role, content in example.messages:
        if role in ANSWER_ROLES:
            yield content


def learned(example: Example) -> Iterator[str]:
    """Yield what a model would learn to write: what it says, and what it thinks before."""
    for role, content in example.messages:
        if role in ANSWER_ROLES or role == REASONING:
            yield content


def map_texts(example: Example, change: Callable[[str], str]) -> Example:
    """Apply a function to every text; the same object comes back if nothing changed.

    A text that changed has its blanks and its Unicode form put in order, as when it was read.

    Raises:
        RowError: a text that was not blank has become blank.
    """
    messages = [
        (role, content if role == "tool_call" else _changed(content, change, role))
        for role, content in example.messages
    ]
    rejected = None if example.rejected is None else _changed(example.rejected, change, "rejected")
    if messages == example.messages and rejected == example.rejected:
        return example
    return example._replace(messages=messages, rejected=rejected)


def replaced(text: str, spans: Iterable[tuple[int, int]], label: str) -> str:
    """Put ``label`` in place of each span; spans are in order, and one that begins within another is part of it."""
    parts: list[str] = []
    done = 0
    for start, end in spans:
        if start >= done:
            parts += (text[done:start], label)
        done = max(done, end)
    return "".join((*parts, text[done:]))


def _changed(text: str, change: Callable[[str], str], role: str) -> str:
    changed = change(text)
    if changed == text:
        return text
    changed = clean_text(changed)
    if not changed and text.strip():
        raise RowError("emptied", f"nothing is left of a text of role {role}")
    return changed
