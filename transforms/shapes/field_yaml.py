"""Field maps and options of a source as YAML to paste, whatever their texts hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import yaml

from versatune.schemas.config import FieldMap

_PLAIN = re.compile(r"[^\W\d][\w.-]*( [\w.-]+)*")
_UNNAMED = re.compile(r"[^A-Za-z0-9._-]+")
_NAME_CHARS = 64


def fields_yaml(fields: FieldMap) -> str:
    """Return a field map as the line of YAML that stands in a source's configuration."""
    return f"fields: {_flow(fields)}"


def source_yaml(uri: str, options: Mapping[str, Any]) -> str:
    """Return a source as an entry of a configuration's ``sources``: its name, its file and these options."""
    name = _UNNAMED.sub("-", PurePath(uri).name.partition(".")[0]).strip("-._")[:_NAME_CHARS] or "mine"
    lines = [f"{key}: {_flow(value)}" for key, value in {"name": name, "files": [uri], **options}.items()]
    return "sources:\n  - " + "\n    ".join(lines)


def _flow(value: Any) -> str:
    if isinstance(value, FieldMap):
        value = value.model_dump(exclude_none=True)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(name)}: {_flow(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and yaml.safe_load(value) == value else _quoted(value)
    return str(value).lower()


def _quoted(value: str) -> str:
    """Return a text in quotes on one line: in single ones where backslashes would be doubled, else what is not seen is escaped."""
    if "\\" in value and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    return "\\n" if char == "\n" else f"\\U{ord(char):08x}"
