"""Names that a document gives to files: they lie below the document's own directory, and a link does not lead out of it.

A document may come from anywhere, its digests made to fit. What it names is data, so a name is looked at twice: its text when the document
is read (:data:`InsidePath`), and where it leads when the file is opened (:func:`inside`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from versatune.schemas.errors import IntegrityError


def _below(path: str) -> str:
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in path or ":" in parts[0] or not path.isprintable():
        raise ValueError(
            f"{path!r} is no name of a file below the document's own directory; expected one such as 'a/b.parquet', without"
            " '..' and not absolute. The document was made by hand or by somebody else: do not use it"
        )
    return path


def _relative(path: str) -> str:
    if "\0" in path or path.startswith(("/", "~")):
        raise ValueError(
            f"{path!r} is absolute; expected a path relative to the document. It was made by hand or by somebody else: do not use it"
        )
    return path


InsidePath = Annotated[str, AfterValidator(_below)]
"""A file or folder below the document's own directory, with ``/`` between names."""

ReferencePath = Annotated[str, AfterValidator(_relative)]
"""Another output, relative to the document's directory and maybe beside it; what lies there must have the digest that the document pins."""


def inside(directory: str | Path, name: str) -> Path:
    """Join a document's directory and the name of a file or folder in it.

    Every file that a document names is opened by the path that this returns.

    Args:
        directory: the document's; it may be reached through links.
        name: an :data:`InsidePath`, or a fixed name such as ``weights.jsonl``.

    Raises:
        IntegrityError: a link on the way leads out of the directory.
    """
    path = Path(directory, name)
    try:
        leads_out = not path.resolve().is_relative_to(Path(directory).resolve())
    except (OSError, RuntimeError):  # links in a circle
        leads_out = True
    if leads_out:
        raise IntegrityError(
            f"{path}: is outside {directory}, or a link leads there; only files below it are read. Put the file itself in its place"
        )
    return path
