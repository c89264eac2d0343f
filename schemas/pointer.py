"""``latest.json``: which of several versions is the newest; replaced atomically."""

from __future__ import annotations

from pathlib import Path

import orjson

from versatune.schemas.document import Part
from versatune.schemas.errors import DataError
from versatune.schemas.files import write_atomic
from versatune.schemas.validation import validate


class Pointer(Part):
    """The newest version beside this file."""

    path: str
    """Relative to the pointer's directory."""
    digest: str
    """Of the document found there."""


def write_pointer(file: str | Path, path: str, digest: str) -> None:
    """Point ``file`` (a ``latest.json``) to ``path``, relative to its directory."""
    write_atomic(file, orjson.dumps({"path": path, "digest": digest}, option=orjson.OPT_APPEND_NEWLINE))


def read_pointer(file: str | Path, *, what: str, command: str) -> Path:
    """Return the absolute path that ``file`` points to.

    Args:
        file: a ``latest.json``.
        what: named in the error, such as "dataset".
        command: what makes one, named in the error, such as "versatune build CONFIG".
    """
    try:
        data = Path(file).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{file}: there is no {what} yet; run `{command}` first") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); expected what `{command}` writes") from None
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise DataError(f"{file}: not JSON ({error}); delete it and run `{command}`") from None
    return Path(file).parent / validate(Pointer, value, str(file)).path
