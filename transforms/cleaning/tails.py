"""Literal end markers (``</s>``, ``###eos###``) behind answers: written there for a trainer that adds none of its own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import orjson

from versatune.schemas.dataset import DROPPED_TAIL, TAIL
from versatune.transforms.cleaning.texts import ANSWER_ROLES
from versatune.transforms.shapes.base import PART_OF_ROLE, Example, RowError, is_blank

_LAST_SIGNS = frozenset(">#]})*:dDsS")
_LONGEST = 48
_WORD = (
    r"(?:eo[a-z]|end|end[ _-]?of[ _-]?(?:text|turn|sentence|sequence|message|answer|response|conversation|document)|im_end"
    r"|stop|done|eot_id)"
)
_MARKER = re.compile(
    r"(?:<[|｜]/?[A-Za-z_▁ ]{1,32}[|｜]>"
    r"|</?s>|</?pad>"
    rf"|(?i:<</?{_WORD}>>|</?{_WORD}>|\[/?{_WORD}\]|\{{\{{{_WORD}\}}\}}|\#{{2,6}} ?{_WORD}(?: ?\#{{2,6}})?|\*\*\*{_WORD}\*\*\*)"
    r"|(?<=\s)(?:\#{3,6}|END)"
    r"|(?<=\n)(?:\#{2,6} ?)?(?:Human|User|Instruction|Question|Q):)\Z"  # the next speaker's, of a transcript that was cut there
)
_MOST_DISTINCT = 64  # in one batch: texts that end in ever other tags are no markers
_WORTH_SAYING = 0.1  # of the answers


def count_tail(example: Example, counts: Counter[str]) -> None:
    """Count the marker at the end of an example's last answer, or of its document, if there is one."""
    role, content = example.messages[-1]
    if content[-1:] in _LAST_SIGNS and role in ANSWER_ROLES:
        marker = tail_of(content)
        if marker is not None:
            key = TAIL + marker
            if key in counts or sum(name.startswith(TAIL) for name in counts) < _MOST_DISTINCT:
                counts[key] += 1


def tail_of(text: str) -> str | None:
    """Return the end marker that a text ends with. Struck-through text of HTML (``<s>9.99</s>``) ends with none."""
    match = _MARKER.search(text, max(0, len(text) - _LONGEST))
    if match is None or (match[0] == "</s>" and "<s>" in text):
        return None
    return match[0]


def drop_tails(example: Example, markers: Sequence[str], counts: Counter[str]) -> Example:
    """Take literal markers off the end of every answer, the rejected one and a document, as often as they stand there.

    Args:
        example: what is read from a row.
        markers: the source's ``drop_tail``.
        counts: gets for each marker the number of examples from which it was taken.

    Raises:
        RowError: an answer was nothing but markers.
    """
    markers = sorted((marker.strip() for marker in markers), key=len, reverse=True)
    dropped: set[str] = set()

    def dropped_from(role: str, content: str) -> str:
        kept = _without(content, markers, dropped)
        if is_blank(kept) and kept != content:
            raise RowError(
                f"empty_{PART_OF_ROLE[role]}", f"a text of role {role} is nothing but the source's 'drop_tail'"
            )
        return kept

    messages = [
        (role, dropped_from(role, content) if role in ANSWER_ROLES else content) for role, content in example.messages
    ]
    rejected = None if example.rejected is None else dropped_from("assistant", example.rejected)
    if not dropped:
        return example
    counts.update(DROPPED_TAIL + marker for marker in dropped)
    return example._replace(messages=messages, rejected=rejected)


def _without(text: str, markers: Sequence[str], dropped: set[str]) -> str:
    end = len(text)
    while marker := next((marker for marker in markers if _ends_with(text, marker, end)), None):
        dropped.add(marker)
        end -= len(marker)
        while end and text[end - 1].isspace():
            end -= 1
    return text[:end]


def _ends_with(text: str, marker: str, end: int) -> bool:
    """Say whether a marker stands at the end, and not as the end of a word: WEEKEND."""
    if not text.endswith(marker, 0, end):
        return False
    before = text[end - len(marker) - 1 : end - len(marker)]
    return not (marker[0].isalnum() and before.isalnum())


def tail_advice(source: str, counts: Mapping[str, int], answers: int) -> str | None:
    """Say that many answers of a source end with markers, and which option takes them off; None if few do.

    Args:
        source: its name.
        counts: what :func:`count_tail` counted.
        answers: how many examples it looked at.
    """
    found = Counter({name.removeprefix(TAIL): number for name, number in counts.items() if name.startswith(TAIL)})
    if not found or found.total() < _WORTH_SAYING * answers:
        return None
    listed = ", ".join(f"{marker} {number:,}" for marker, number in found.most_common())
    line = orjson.dumps([marker for marker, _ in found.most_common()]).decode()
    return (
        f"source '{source}': {found.total():,} of {answers:,} answers end with a literal end marker, which is learned as text"
        f" ({listed}). To take it off, add to the source: drop_tail: {line}"
    )


def unused_markers(markers: Sequence[str], counts: Mapping[str, int]) -> Iterator[str]:
    """Yield the markers of ``drop_tail`` that ended no answer."""
    return (marker for marker in markers if not counts.get(DROPPED_TAIL + marker.strip()))
