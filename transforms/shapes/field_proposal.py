"""A field map that nobody wrote: guessed from the names and lengths of columns, for a person to look at."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import orjson

from versatune.schemas.config import FieldMap
from versatune.transforms.shapes.base import Row
from versatune.transforms.shapes.base import plain_name as plain

_LABEL_CHARS = 40
_MOST_LABELS = 20
_ENOUGH_ROWS = 8
_PROMPT_NAMES = (
    "question", "prompt", "instruction", "query", "input", "request", "claim", "problem", "task", "issue", "user", "text",
    "sentence", "utterance", "title", "disease", "topic", "term", "source", "description", "content", "body",
)  # fmt: skip
_ANSWER_NAMES = (
    "answer", "response", "output", "completion", "reply", "solution", "target", "explanation", "reason", "result",
    "summary", "translation", "diagnosis", "definition", "label", "class", "category", "level", "code",
)  # fmt: skip
_CONTEXT_NAMES = (
    "context",
    "passage",
    "policy",
    "paragraph",
    "document",
    "article",
    "background",
    "evidence",
    "statute",
)
_SYSTEM_NAMES = ("system", "meta_instruction", "persona")
_NO_TEXT = (
    "id", "idx", "index", "uuid", "guid", "url", "uri", "link", "date", "time", "timestamp", "lang", "language", "split",
    "hash", "license", "filename", "file", "path", "score", "year", "author", "source", "citation", "name",
)  # fmt: skip
_DOCUMENT_CHARS = 200


class _Column(NamedTuple):
    path: str
    """Dotted path."""
    chars: float
    """Median length of its texts."""
    distinct: int


def propose_fields(rows: Sequence[Row]) -> FieldMap | None:
    """Return a field map that might read rows which fit no shape, by the names and the lengths of their texts, or None.

    Columns count that hold text in at least half of the rows, and not always the same. An answer and a prompt are
    needed; with long texts in one column alone, that is a document. It is a guess for a person to look at, and never
    used by itself.
    """
    columns = _text_columns(rows)
    answer = _best(columns, _ANSWER_NAMES)
    prompts = [column for column in columns if column != answer]
    system = _best(prompts, _SYSTEM_NAMES)
    prompts = [column for column in prompts if column != system]
    context = _best(prompts, _CONTEXT_NAMES)
    asked = [column for column in prompts if column != context]
    prompt = _best(asked, _PROMPT_NAMES) or max(asked, key=lambda column: column.chars, default=None)
    if prompt is None:
        prompt, context = context, None
    if prompt is not None and answer is None:
        rest = [column for column in asked if column != prompt]
        answer = max(rest, key=lambda column: column.chars, default=None)
    if prompt is None or answer is None:
        alone = prompt or answer
        return FieldMap(text=alone.path) if alone is not None and alone.chars >= _DOCUMENT_CHARS else None
    found = {"prompt": prompt, "completion": answer, "context": context, "system": system}
    return FieldMap(**{name: column.path for name, column in found.items() if column is not None})


def _text_columns(rows: Sequence[Row]) -> list[_Column]:
    texts: dict[str, list[str]] = {}
    for row in rows:
        for path, value in _texts(row, ""):
            texts.setdefault(path, []).append(value)
    return [
        _Column(path, statistics.median(map(len, values)), len(set(values)))
        for path, values in texts.items()
        if 2 * len(values) >= len(rows)
        and (len(set(values)) > 1 or len(rows) < _ENOUGH_ROWS)
        and not _is_no_text(path)
        and not all(value.replace(".", "", 1).isdigit() for value in values)
    ]


def _texts(row: Row, prefix: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    for name, value in row.items():
        if isinstance(value, str) and value.strip():
            yield prefix + name, value
        elif isinstance(value, dict) and depth < 2:  # deeper paths are nothing to guess
            yield from _texts(value, f"{prefix}{name}.", depth + 1)


def _is_no_text(path: str) -> bool:
    name = plain(path.rsplit(".", 1)[-1])
    return (
        not name
        or name in _NO_TEXT
        or name.startswith("__")
        or name.rsplit("_", 1)[-1] in ("id", "url", "uuid", "name", "no.")
    )


def _best(columns: Sequence[_Column], names: tuple[str, ...]) -> _Column | None:
    """Return the column with the best name: the earliest of the names, as a whole before as a part."""
    for is_named in (str.__eq__, lambda path, name: path.rsplit("_", 1)[-1] == name, lambda path, name: name in path):
        for name in names:
            for column in columns:
                if is_named(plain(column.path.rsplit(".", 1)[-1]), name):
                    return column
    return None


def fields_yaml(fields: FieldMap) -> str:
    """Return a field map as the line of YAML that stands in a source's configuration."""
    given = fields.model_dump(exclude_none=True)
    return "fields: {" + ", ".join(f"{name}: {_scalar(value)}" for name, value in given.items()) + "}"


def _scalar(value: str | list[str]) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_scalar, value)) + "]"
    is_plain = value.replace("_", "").replace(".", "").isalnum() and not value[:1].isdigit()
    reserved = value.lower() in ("yes", "no", "on", "off", "true", "false", "null", "y", "n")
    return value if is_plain and not reserved else orjson.dumps(value).decode()


def advice(fields: FieldMap | None, rows: Sequence[Row]) -> str:
    """Say what to do with rows that fit no shape: the line to paste, and what speaks against it."""
    if fields is None:
        return (
            "No columns look like a prompt and its answer. If two are: fields: {prompt: FIELD, completion: FIELD}; texts to"
            " go on pre-training with: fields: {text: FIELD}; else take the file out of the source."
        )
    line = fields_yaml(fields)
    if fields.text is not None:
        return f"One column holds long texts; to go on pre-training with them: {line}"
    answers = [value for row in rows for path, value in _texts(row, "") if path == fields.completion]
    if are_labels(answers):
        return (
            f"'{fields.completion}' holds one of {len(set(answers))} labels: these rows are for training a classifier, and say"
            f" nowhere what is asked. To train on them all the same: {line}; on the texts alone:"
            f" {fields_yaml(FieldMap(text=fields.prompt))}"
        )
    used = {fields.prompt, fields.completion, fields.context, fields.system}
    others = [column.path for column in _text_columns(rows) if column.path not in used]
    more = f" Not used: {', '.join(others[:8])}." if others else ""
    return f"By names and lengths of the columns, try: {line}.{more}"


def are_labels(answers: Sequence[str]) -> bool:
    """Say whether answers are a few short texts, again and again."""
    few = len(set(answers)) <= min(_MOST_LABELS, len(answers) // 4)
    return len(answers) >= _ENOUGH_ROWS and few and all(len(answer) <= _LABEL_CHARS for answer in answers)
