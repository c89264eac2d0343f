"""What a source says of its files: refused where it fits none of them."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from contextlib import closing

from versatune.schemas.errors import DataError
from versatune.transforms.formats.blocks import HEAD, Tap, peek, utf8
from versatune.transforms.formats.compressed import unpacked
from versatune.transforms.formats.detect import ARROW, extensions, text_kind
from versatune.transforms.formats.fault import FormatError
from versatune.transforms.formats.hub import SCHEME
from versatune.transforms.formats.splits import ALL
from versatune.transforms.transport.batch import InputSplit, ReadOptions
from versatune.transforms.transport.storage import open_stored

_COLUMNAR = (b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")
_TEXT_KINDS = {"lines": "JSON Lines", "document": "JSON", "delimited": "delimited text", "text": "plain text"}
_FITS = {
    "header": {"delimited text"},
    "delimiter": {"delimited text"},
    "quoting": {"delimited text"},
    "encoding": set(_TEXT_KINDS.values()),
    "pattern": {"plain text"},
    "split": {"JSON"},
}
_WHAT_FITS = {"encoding": "text", "split": "a folder or a JSON object of several splits"}


def check_options(source: str, splits: Sequence[InputSplit]) -> None:
    """Refuse an option that fits no file of its source.

    Raises:
        DataError: naming the option and a file.
    """
    if not splits or splits[0].options == ReadOptions():
        return
    left = {name for name in _FITS if getattr(splits[0].options, name) != getattr(ReadOptions(), name)}
    if splits[0].options.split == ALL:  # fits whatever there is
        left.discard("split")
    if not left:
        return
    kinds: dict[str, str] = {}
    for split in splits:
        kind = kinds[split.uri] = kinds.get(split.uri) or _kind(split)
        left = {name for name in left if kind and kind not in _FITS[name]}
        if not left:
            return
    name = min(left)
    uri, kind = next(iter(kinds.items()))
    wanted = _WHAT_FITS.get(name) or " or ".join(_FITS[name])
    more = f", nor any of its {len(kinds)} files" if len(kinds) > 1 else ""
    raise DataError(
        f"source '{source}': '{name}' fits no file: {uri} is {kind} and not {wanted}{more}. Take '{name}' out, or put the files"
        " it is meant for into this source"
    )


def _kind(split: InputSplit) -> str:
    """Say what a file holds, as far as options go; empty if that cannot be told, so that reading it says why."""
    name = split.member or split.location
    try:
        if split.location.startswith(SCHEME):
            return "a dataset of the hub"
        head, whole = head_of(split)
        if head.startswith(_COLUMNAR) or extensions(name)[0] in ARROW:
            return "Parquet" if head.startswith(b"PAR1") else "Arrow"
        return _TEXT_KINDS[text_kind(head, name, whole=whole, options=split.options)]
    except (FormatError, OSError, ValueError, RuntimeError, zipfile.BadZipFile):
        return ""


def head_of(split: InputSplit) -> tuple[bytes, bool]:
    """Return the first MiB of a file, decompressed and as UTF-8, and whether it is all of it.

    Raises:
        FormatError: damaged.
        OSError: it cannot be opened.
    """
    with closing(open_stored(split.location)) as file:
        if split.member is None:
            return _head(Tap(file), split)
        with zipfile.ZipFile(file) as archive, archive.open(split.member) as member:
            return _head(Tap(member), split)  # type: ignore[arg-type]


def _head(tap: Tap, split: InputSplit) -> tuple[bytes, bool]:
    head, blocks = peek(unpacked(tap, tap.blocks()))
    if not head.startswith(_COLUMNAR):
        head, _ = peek(utf8(blocks, split.options.encoding))
    return head, len(head) < HEAD
