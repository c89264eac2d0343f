"""The template's own words around the texts of plain conversations: the same for all of one shape, so that they are looked for once.

Most rows are questions and answers alone. What the template writes of one is compared with the words it wrote around others of its shape:
where they are the same, letter for letter, the places of its texts are known without marks; else the row is looked at like any other.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

from versatune.transforms.chat.endings import common_prefix
from versatune.transforms.chat.form import Said
from versatune.transforms.chat.marks import Edges
from versatune.transforms.chat.verdict import CannotTokenize

Text = tuple[int, int, int]
"""Where a text begins and ends, and its message."""
Place = tuple[int, int]
"""Which of the template's words, and how many characters into them."""
Shape = tuple[str, ...]


class Scored(NamedTuple):
    """A conversation as text, and what of it is learned."""

    text: str
    spans: list[Edges]
    """Characters [start, end) of each turn that is learned."""
    counts: frozenset[str] = frozenset()
    """Keys of TEMPLATE_COUNTS: what there is to say of the row."""


class Frame(NamedTuple):
    """A conversation without its texts."""

    words: tuple[str, ...]
    """What the template writes before, between and behind the texts."""
    order: tuple[int, ...]
    """Whose text stands behind each of the words but the last."""
    spans: tuple[tuple[Place, Place], ...]
    """Where each turn of the assistant is learned."""
    removed: int
    """How many characters are taken from the end of what is rendered."""
    added: str
    """What is put there in their place."""
    counts: frozenset[str]

    def filled(self, rendered: str, said: Sequence[Said]) -> tuple[str, list[Edges]] | None:
        """Return the text and the spans of a rendered conversation of this shape; None where the template wrote other words."""
        parts = [self.words[0]]
        for words, message in zip(self.words[1:], self.order, strict=True):
            parts += (said[message].content, words)
        if "".join(parts) != rendered:
            return None
        starts = list(accumulate(map(len, parts), initial=0))
        spans = [(starts[2 * a] + i, starts[2 * b] + j) for (a, i), (b, j) in self.spans]
        text = rendered[: len(rendered) - self.removed] + self.added if self.added or self.removed else rendered
        return text, spans


def shape(said: Sequence[Said], switches: Sequence[str]) -> Shape | None:
    """Return the shape of a plain conversation; None of one with thoughts, calls, an empty text, or a word that templates look for."""
    for message in said:
        if message.calls or message.thoughts or not message.content or message.role == "tool":
            return None
        if switches and any(word in message.content for word in switches):
            return None
    return tuple(message.role for message in said)


def frame(shape: Shape, look: Callable[[list[Said]], tuple[Scored, str, list[Text]]]) -> Frame | None:
    """Return the words around the texts of a shape; None where the template refuses it.

    Args:
        shape: who speaks.
        look: tells of a conversation what is learned, what was rendered, and where its texts stand in that.
    """
    said = [Said(role, f"Xq{number}qX", (number,)) for number, role in enumerate(shape)]
    try:
        scored, rendered, places = look(said)
    except CannotTokenize:
        return None
    if any(rendered[start:end] != said[message].content for start, end, message in places):
        return None
    edges = [0, *(edge for start, end, _ in places for edge in (start, end)), len(rendered)]
    words = [rendered[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]
    kept = len(common_prefix(rendered, scored.text))

    def place(point: int) -> Place:
        at = min((bisect_right(edges, point) - 1) // 2, len(words) - 1)
        return at, point - edges[2 * at]

    return Frame(
        tuple(words),
        tuple(message for _, _, message in places),
        tuple((place(start), place(end)) for start, end in scored.spans),
        len(rendered) - kept,
        scored.text[kept:],
        scored.counts,
    )
