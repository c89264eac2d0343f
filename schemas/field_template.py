"""What a field map says of one part of an example: a path to a field, or a template that joins fields and text."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import orjson

_QUOTED = r'"(?:[^"\\]|\\.)*"'


def _path_pattern(no_name: str, end: str) -> str:
    """Return the pattern of a path whose plain steps hold none of these characters, and after which ``end`` comes."""
    # A step in quotes ends where the path goes on or ends; a quote anywhere else belongs to a name.
    step = rf"(?>{_QUOTED}(?=\.|{end})|[^{no_name}]*)"
    return rf"{step}(?:\.{step})*"


_WHOLE_PATH = re.compile(_path_pattern("{}.", "$"), re.DOTALL)
_SLOT_PATH = _path_pattern("{}|.", r"\s*[|}]")
_PIECE = re.compile(
    rf"(?P<brace>\{{\{{|\}}\}})|\{{\s*(?P<path>{_SLOT_PATH})(?:\|(?P<default>[^{{}}]*))?\}}|(?P<text>[^{{}}]+)",
    re.DOTALL,
)
_STEP = re.compile(rf"(?:^|(?<=\.))({_QUOTED}(?=\.|$)|[^.]*)", re.DOTALL)
_NEEDS_QUOTES = re.compile(r'[.{}|"]|^\s|\s$|^$')


class FieldPath(NamedTuple):
    """Where a field is."""

    written: str
    """As the configuration has it; a field of exactly this name is meant first."""
    steps: tuple[str, ...]
    """Names of objects' fields, or numbers of list items, from the outside to the inside."""


class Slot(NamedTuple):
    """The place of a field in a template."""

    path: FieldPath
    default: str | None
    """What stands there where the field is absent, null or blank; None if the row cannot be used then."""


class Template(NamedTuple):
    """Text with fields in it."""

    written: str
    """As the configuration has it."""
    pieces: tuple[str | Slot, ...]


@lru_cache(maxsize=1024)
def parse_part(value: str) -> FieldPath | Template:
    """Return what a value of a field map means: with braces a template, without a path.

    A path has its steps between dots; a step that holds a dot, a brace or a bar is written as a JSON string
    (``meta."a.b"``). In a template ``{path}`` stands for a field, ``{path|text}`` for one that may be missing, and a
    brace that is text is doubled.

    Raises:
        ValueError: nothing, a brace without its other half, braces without a path, a template without a field.
    """
    if _WHOLE_PATH.fullmatch(value):
        return _path(value)
    pieces: list[str | Slot] = []
    end = 0
    while end < len(value):
        piece = _PIECE.match(value, end)
        if piece is None:
            raise ValueError(
                f"'{value}' has a brace at character {end} that neither opens nor ends a field such as {{question}}; a"
                " brace that is text is doubled: {{ }}"
            )
        if piece["path"] is not None:
            pieces.append(Slot(_path(piece["path"].rstrip()), piece["default"]))
        else:
            pieces.append(piece["brace"][0] if piece["brace"] else piece["text"])
        end = piece.end()
    if not any(isinstance(piece, Slot) for piece in pieces):
        raise ValueError(f"'{value}' names no field; expected one in braces, such as {{question}}")
    return Template(value, tuple(pieces))


def _path(written: str) -> FieldPath:
    if not written:
        raise ValueError("a path without a name; expected the name of a field")
    return FieldPath(written, tuple(map(_step, _STEP.findall(written))))


def _step(written: str) -> str:
    if len(written) > 1 and written[0] == written[-1] == '"':
        try:
            return str(orjson.loads(written))
        except orjson.JSONDecodeError:
            return written
    return written


def written_path(*steps: str) -> str:
    """Return the text of a path, as it may stand alone or in a template; steps that need quotes have them."""
    return ".".join(orjson.dumps(step).decode() if _NEEDS_QUOTES.search(step) else step for step in steps)
