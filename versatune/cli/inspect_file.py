"""``versatune inspect``: what a build would make of a file, for people and for programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.text import Text

from versatune.cli.summaries import Summary
from versatune.cli.terminal import printable, table
from versatune.schemas.config import FieldMap
from versatune.schemas.errors import ConfigError, DataError
from versatune.schemas.remote import is_remote
from versatune.schemas.validation import validate
from versatune.schemas.yaml_text import parse_yaml

_SHOWN_CHARS = 700
_SHOWN_EXAMPLES = 3


def summarize_inspection(file: str, fields: str | None, sample: int) -> Summary:
    """Inspect a file.

    Args:
        file: a raw file, a folder or an address.
        fields: a field map as YAML, to try.
        sample: rows to read at most.

    Raises:
        ConfigError: not such a field map.
        DataError: no such file.
    """
    from versatune.transforms.reading.inspection import inspect_file

    if not is_remote(file) and not Path(file).exists() and not any(char in file for char in "*?["):
        raise DataError(f"{file}: no such file; expected a raw file, a folder of them, or a glob in quotes")
    found = inspect_file(file, _field_map(fields), sample)
    parts: list[RenderableType] = []
    if found.scores:
        scores = [[score.name, f"{score.matches:.0%}", f"{score.reads:.0%}"] for score in found.scores]
        parts.append(table("shapes", ["shape", "rows with its fields", "rows it reads"], scores))
    if found.field_uses:
        uses = [[use.field, use.used, use.unused, use.prose] for use in found.field_uses]
        parts.append(table("fields", ["field", "rows that use it", "unused text", "of several words"], uses))
    for preview in found.previews:
        parts += _preview(preview)
    if found.problems:
        rows = [[p.reason, p.rows, p.row, p.detail or p.meaning] for p in found.problems]
        parts.append(table("rows that would be rejected", ["reason", "rows", "such as row", "what is wrong"], rows))
    return "\n".join(_lines(found)), Group(*parts) if parts else None, _as_json(found)


def _field_map(text: str | None) -> FieldMap | None:
    if text is None:
        return None
    value = parse_yaml(text, "--fields")
    if not isinstance(value, dict):
        raise ConfigError(f"--fields {text}: expected a map such as '{{prompt: question, completion: answer}}'")
    return validate(FieldMap, value, "--fields", ConfigError)


def _lines(found: Any) -> list[str]:
    from versatune.transforms.shapes.field_yaml import fields_yaml

    files = f"{found.files:,} files" if found.files != 1 else found.container
    rows = f"{'all' if found.complete else 'the first'} {found.rows:,} rows"
    read = ", ".join(f"{name} ({rows:,} rows)" for name, rows in found.detected) or "nothing"
    lines = [f"{found.uri}: {files}; {rows} give {found.examples:,} examples, read as {read}"]
    lines += [f"refused: {why}" for why in found.refused]
    if found.fields is not None:
        lines.append(f"with the field map {fields_yaml(found.fields)}")
    lines += found.advice
    if found.source:
        lines.append(f"to paste into the configuration:\n{found.source}")
    return [printable(line) for line in lines]


def _preview(preview: Any) -> list[RenderableType]:
    parts: list[RenderableType] = [
        Rule(f"row {preview.row}", align="left", style="dim"),
        _clipped(preview.before.decode(errors="replace")),
    ]
    if preview.error is not None:
        parts.append(Text(f"rejected: {preview.error.reason}: {printable(preview.error.detail)}", style="red"))
    for example in preview.after[:_SHOWN_EXAMPLES]:
        parts.append(Text("becomes", style="dim"))
        for at, (role, content) in enumerate(example.messages):
            mark = " (context only, not learned)" if at in example.unlearned else ""
            parts.append(Text.assemble((f"{role}{mark}: ", "bold"), _clipped(content)))
        sides = (("tools", example.tools), ("worse answer", example.rejected))
        parts += [Text.assemble((f"{name}: ", "bold"), _clipped(side)) for name, side in sides if side is not None]
    if len(preview.after) > _SHOWN_EXAMPLES:
        parts.append(Text(f"and {len(preview.after) - _SHOWN_EXAMPLES:,} more examples", style="dim"))
    return parts


def _clipped(text: str) -> Text:
    return Text(printable(text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]} ..."))


def _as_json(found: Any) -> dict[str, Any]:
    return {
        "uri": found.uri,
        "container": found.container,
        "files": found.files,
        "rows": found.rows,
        "complete": found.complete,
        "examples": found.examples,
        "refused": found.refused,
        "scores": [score._asdict() for score in found.scores],
        "detected": dict(found.detected),
        "fields": _map(found.fields),
        "proposed": _map(found.proposed),
        "field_uses": [use.model_dump(exclude={"source"}) for use in found.field_uses],
        "source": found.source,
        "advice": found.advice,
        "previews": [
            {
                "row": preview.row,
                "before": preview.before.decode(errors="replace"),
                "after": [example._asdict() for example in preview.after],
                "error": {"reason": preview.error.reason, "detail": preview.error.detail} if preview.error else None,
            }
            for preview in found.previews
        ],
        "problems": [problem._asdict() for problem in found.problems],
    }


def _map(fields: FieldMap | None) -> dict[str, Any] | None:
    return fields.model_dump(exclude_none=True) if fields else None
