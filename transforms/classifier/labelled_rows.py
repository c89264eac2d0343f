"""Labelled texts: what a classifier learns from and is measured on."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict

from versatune.schemas.errors import ConfigError, DataError
from versatune.schemas.taxonomy import Taxonomy

_HEADING = "# "
_LINE_BREAK = "\\n"


class LabelledRow(TypedDict):
    """One labelled text and the source it came from."""

    text: str
    domain: str
    source: str


def read_rows(files: Sequence[Path], taxonomy: Taxonomy) -> list[LabelledRow]:
    """Read gzipped or plain JSON Lines of ``{"text", "domain", "source"}``; the domain must be in the taxonomy.

    A row without a source gets its file's name.

    Raises:
        DataError: a file that cannot be read, a line that is no such object, or no row at all.
    """
    rows = [_labelled_row(line, where, taxonomy, _stem(file)) for file in files for where, line in _lines(file)]
    if not rows:
        raise DataError(f"labelled rows: none in {[str(file) for file in files]}; expected text and domain")
    return rows


def read_lines_by_domain(files: Sequence[Path], taxonomy: Taxonomy) -> dict[str, list[str]]:
    """Read files named ``<language>-<domain>.txt``: one text or term a line, headings (``# ``) left out.

    Returns:
        {domain: lines}; a file of a domain outside the taxonomy is refused.
    """
    found: dict[str, list[str]] = {}
    for file in files:
        name = file.stem.partition("-")[2]
        try:
            domain = taxonomy.domains[taxonomy.index(name)]
        except ConfigError as error:
            raise DataError(f"{file}: {error}; expected a name such as en-{taxonomy.domains[0]}.txt") from error
        lines = [line.replace(_LINE_BREAK, "\n") for _, line in _lines(file) if not line.startswith(_HEADING)]
        found.setdefault(domain, []).extend(lines)
    return found


def _stem(file: Path) -> str:
    return file.name.removesuffix(".gz").rpartition(".")[0] or file.name


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    """Yield (place, line) for the lines that hold something; only a line feed ends a line."""
    try:
        raw = file.read_bytes()
        text = (gzip.decompress(raw) if file.suffix == ".gz" else raw).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"labelled rows {file}: cannot be read ({error})") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{file}:{number}", line.strip("\r")


def _labelled_row(line: str, where: str, taxonomy: Taxonomy, otherwise: str) -> LabelledRow:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _not_a_row(
            where, f"the line is not JSON: {error}; a table or an array has to be made JSON Lines first"
        ) from error
    if not isinstance(row, dict):
        raise _not_a_row(where, f"the line is JSON, but {type(row).__name__} and no object")
    row.setdefault("source", otherwise)
    for key in ("text", "domain", "source"):
        if not isinstance(row.get(key), str):
            found = f"{key} is {type(row[key]).__name__}" if key in row else f"{key} is missing"
            raise _not_a_row(where, found)
    try:
        name = taxonomy.domains[taxonomy.index(row["domain"])]
    except ConfigError as error:
        raise DataError(f"labelled row {where}: {error}") from error
    return LabelledRow(text=row["text"], domain=name, source=row["source"].encode("utf-8", "replace").decode())


def _not_a_row(where: str, found: str) -> DataError:
    return DataError(
        f"labelled row {where}: expected an object with text and domain, and perhaps source, all strings ({found})"
    )
