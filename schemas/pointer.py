"""``latest.json``: which of several versions is the newest; replaced atomically."""

from __future__ import annotations

from pathlib import Path

import orjson

from versatune.schemas.document import Part
from versatune.schemas.errors import DataError, IntegrityError, VersatuneError
from versatune.schemas.files import write_atomic
from versatune.schemas.inside import InsidePath, inside
from versatune.schemas.validation import validate

LATEST = "latest.json"


class Pointer(Part):
    """The newest version beside this file."""

    path: InsidePath
    """Relative to the pointer's directory."""
    digest: str
    """Of the document found there."""


def write_pointer(file: str | Path, path: str, digest: str) -> None:
    """Point ``file`` (a ``latest.json``) to ``path``, relative to its directory."""
    write_atomic(file, orjson.dumps({"path": path, "digest": digest}, option=orjson.OPT_APPEND_NEWLINE))


def parse_pointer(data: bytes, where: str, command: str) -> Pointer:
    """Read a pointer from bytes.

    Raises:
        DataError: it is none, or leads out of its directory.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON ({error}); delete it and run `{command}`") from None
    return validate(Pointer, value, where)


def read_pointer(file: str | Path, *, what: str, command: str) -> Path:
    """Return the path of the document that ``file`` points to, which is there and has the digest that the pointer names.

    Args:
        file: a ``latest.json``.
        what: named in the error, such as "dataset".
        command: what makes one, named in the error, such as "versatune build CONFIG".

    Raises:
        DataError: no such pointer, one that cannot be read, or what it names is missing.
        IntegrityError: it leads out of its directory, or to a document with another digest.
    """
    try:
        data = Path(file).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{file}: there is no {what} yet; run `{command}` first") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); expected what `{command}` writes") from None
    pointer = parse_pointer(data, str(file), command)
    found = inside(Path(file).parent, pointer.path)
    if not found.is_file():
        raise DataError(f"{found}: is what {file} names, and missing; run `{command}`")
    if (digest := _digest_of(found)) not in (None, pointer.digest):
        raise IntegrityError(
            f"{file}: names {pointer.path} with digest {pointer.digest[:12]}..., and {found} has {str(digest)[:12]}...; one of"
            f" them was changed. `versatune verify {found.parent}` looks at the document; `{command}` writes the pointer anew"
        )
    return found


def points_to(file: Path, document: Path) -> bool:
    """Say whether ``file`` is a pointer to a document, which may be missing or just have been written anew."""
    try:
        named = inside(file.parent, parse_pointer(file.read_bytes(), str(file), "").path)
    except (VersatuneError, OSError):
        return False
    return named.resolve() == document.resolve()


def _digest_of(document: Path) -> object:
    """Return the digest that a document says it has, None of what is no document: whoever loads it says what is wrong."""
    try:
        value = orjson.loads(document.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return value.get("digest", "") if isinstance(value, dict) else None
