"""Plain text for continued pre-training: one text and nothing that asks or answers.

A text beside its class (``label``, ``intent``; ``category`` and the like where the text is short) is for training a
classifier, and refused. A text that is plainly a rendered conversation (``### Human: ... ### Assistant: ...``) is read as its turns.
"""

from __future__ import annotations

from collections.abc import Container

from versatune.transforms.shapes.base import Example, Row, RowError, first_field, has_any, text
from versatune.transforms.shapes.labels import class_detail, class_field
from versatune.transforms.shapes.transcript import transcript_turns

NAME = "document"
_TEXTS = ("text", "content", "body", "document", "article", "page_content", "raw_content", "markdown", "plain_text")
# Beside these names a text is one half of something: a thing to classify, to sum up or to translate, a turn of a
# conversation that is stored in many rows.
_NOT_ALONE = (
    "target", "targets", "summary", "highlights", "translation", "hypothesis",
    "premise", "role", "parent_id", "speaker", "question", "questions", "prompt", "query", "instruction", "input",
    "answer", "answers", "response", "output", "completion", "choices", "options", "tokens", "ner_tags", "entities", "spans",
)  # fmt: skip


def matches(names: Container[str]) -> bool:
    """Say whether there is a text by itself."""
    return has_any(names, _TEXTS) and not has_any(names, _NOT_ALONE)


def to_examples(row: Row) -> list[Example]:
    """Return the text as one message of role ``text``, or the turns of a transcript.

    Raises:
        RowError: the text is null, no text, or stands beside its class.
    """
    field = str(first_field(row, _TEXTS))
    content = text(row[field], "document", field)
    label = class_field(row, content)
    if label is not None:
        raise RowError("unknown_shape", class_detail(field, label))
    return [Example(transcript_turns(content) or [("text", content)])]
