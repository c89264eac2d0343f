"""Rows to be labelled: a text, perhaps a domain and a source, out of any file that versatune reads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from versatune.schemas.config import SourceConfig
from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.errors import DataError
from versatune.schemas.inside import inside
from versatune.schemas.labels import LabelInput
from versatune.transforms.formats.listing import source_splits
from versatune.transforms.formats.splits import ALL
from versatune.transforms.reading.read import read_rows
from versatune.transforms.shapes.base import REASONING
from versatune.transforms.transport.batch import InputSplit, RowFault

_WHOLE = 2**62


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One row."""

    text: str
    source: str
    given: str | None
    """The domain that it came with, as it is written there."""

    @property
    def key(self) -> str:
        """32 hex digits that are this text's alone."""
        return hashlib.blake2b(self.text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, kw_only=True)
class LabelRows:
    """Everything that was read."""

    rows: list[LabelRow]
    inputs: list[LabelInput]
    left_out: int


def read_label_rows(paths: Sequence[str], directory: Path) -> LabelRows:
    """Read rows into memory, in the order of the paths; of a folder, by name.

    A row is an object with ``text``, or with ``messages``, whose contents but system texts and thoughts are joined with line breaks (what the domain
    classifier sees of an example). ``domain`` and ``source`` are taken where they are there; without a source the file's name is one. A row
    whose ``reject`` is not empty, a generation that the probe did not count, is left out.

    Args:
        paths: files in any format that sources may have, folders or globs of them, directories of dataset versions.
        directory: where relative paths start.

    Raises:
        DataError: no such file, one that cannot be read, a row without a text, no rows at all.
    """
    rows: list[LabelRow] = []
    inputs: list[LabelInput] = []
    left_out = 0
    for split in (split for path in paths for split in _splits(path, directory)):
        found, sha256 = _read(split)
        kept = [row for row in found if row is not None]
        rows += kept
        left_out += len(found) - len(kept)
        inputs.append(LabelInput(path=split.uri, rows=len(found), sha256=sha256))
    if not rows:
        raise DataError(f"no rows to label in {', '.join(paths)}; expected objects with a text")
    return LabelRows(rows=rows, inputs=inputs, left_out=left_out)


def _splits(path: str, directory: Path) -> list[InputSplit]:
    files = [path]
    manifest = directory / path / "manifest.json"
    if "://" not in path and manifest.is_file():
        files = [_shard(path, shard.path, directory) for shard in DatasetManifest.load(manifest).shards]
    try:
        return source_splits(SourceConfig(name="label", files=files, split=ALL), directory, _WHOLE)
    except DataError as error:  # which speaks of a source in a configuration
        message = str(error).removeprefix("source 'label': ").replace("the configuration's directory", str(directory))
        raise DataError(message) from None


def _shard(version: str, name: str, directory: Path) -> str:
    """Return a shard's path, which must be that of one file below its version: names of inputs may be patterns."""
    if not inside(directory / version, name).is_file():
        raise DataError(f"{version}/{name}: missing; `versatune verify {version}` names all that is wrong")
    return f"{version}/{name}"


def _read(split: InputSplit) -> tuple[list[LabelRow | None], str]:
    """Return a file's rows, None for one that is left out, and its sha256."""
    source = Path(split.uri).name.partition(".")[0]
    rows: list[LabelRow | None] = []
    batches = read_rows(split)
    while True:
        try:
            batch = next(batches)
        except StopIteration as end:
            if end.value.refused:
                raise DataError(end.value.refused.removeprefix("source 'label': ")) from None
            return rows, end.value.sha256
        for number, payload in enumerate(batch.payloads, batch.first + 1):
            rows.append(_row(payload, source, f"{split.uri}, row {number}"))


def _row(payload: bytes | RowFault, source: str, where: str) -> LabelRow | None:
    if isinstance(payload, RowFault):
        raise DataError(f"{where}: {payload.reason} ({payload.detail}); expected an object with a text")
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON ({error.msg}); expected an object with a text") from None
    text = _text(value) if isinstance(value, dict) else None
    if text is None:
        found = ", ".join(map(str, list(value)[:8])) if isinstance(value, dict) else type(value).__name__
        raise DataError(f"{where}: has {found or 'no fields'}; expected 'text', or 'messages' with role and content")
    if value.get("reject"):
        return None
    given = value.get("domain")
    return LabelRow(text, str(value.get("source") or source), given if isinstance(given, str) and given else None)


def _text(value: dict[str, Any]) -> str | None:
    text, messages = value.get("text"), value.get("messages")
    if isinstance(text, str):
        return text
    if not isinstance(messages, list) or not messages:
        return None
    turns = [turn for turn in messages if isinstance(turn, dict) and isinstance(turn.get("content"), str)]
    if len(turns) != len(messages):
        return None
    return "\n".join(turn["content"] for turn in turns if turn.get("role") not in ("system", REASONING))
