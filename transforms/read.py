"""Raw files to rows: which files, and each of their rows as JSON with its origin."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.pvalue import PCollection, TaggedOutput

import transforms.arrow_coder  # noqa: F401  # registers how record batches travel
from schemas.arrow import RAW_ROW
from schemas.config import Config, SourceConfig
from schemas.dataset import InputFile
from schemas.errors import DataError
from transforms.formats import columnar, delimited, json_text
from transforms.formats.fault import FormatError
from transforms.storage import literal_directories

_BLOCK_BYTES = 1 << 20
_BATCH_BYTES = 32 * 2**20  # with rows of many kilobytes a batch ends before batch_rows

_CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
_TEXT_FORMATS: dict[str, Callable[[io.BufferedReader], Iterator[bytes]]] = {
    ".jsonl": partial(json_text.rows, named_lines=True),
    ".ndjson": partial(json_text.rows, named_lines=True),
    ".json": partial(json_text.rows, named_lines=False),
    ".csv": partial(delimited.rows, delimiter=","),
    ".tsv": partial(delimited.rows, delimiter="\t"),
}
_SEEKABLE_FORMATS: dict[str, Callable[[BinaryIO], Iterator[bytes]]] = {
    ".parquet": columnar.parquet_rows,
    ".arrow": columnar.arrow_rows,
    ".feather": columnar.arrow_rows,
}
_KNOWN = f"{' '.join(_TEXT_FORMATS)} (each also with {' '.join(_CODECS)}) {' '.join(_SEEKABLE_FORMATS)}"


@dataclass(frozen=True)
class InputSplit:
    """One raw file: the unit of reading."""

    source: str
    uri: str
    """As the books name it: relative to the configuration's directory (posix), or a full URI."""
    location: str
    """What to open: an absolute path, or the same URI."""
    bytes: int
    """Size as stored."""


def plan_inputs(config: Config) -> list[InputSplit]:
    """List the raw files of a configuration, ordered by source and uri, each file once per source.

    A path may be a file, a directory (every data file below it; hidden ones and other files are left out) or a glob
    (``*``, ``?``, ``[...]``; ``**`` crosses directories), local or on any file system that Beam knows.

    Raises:
        DataError: no sources, no such file, a glob or directory without files, a file of unknown format.
    """
    if not config.sources:
        raise DataError("the configuration lists no sources; add e.g. sources: [{name: mine, files: [data/*.jsonl]}]")
    found = {
        (source.name, split.uri): split
        for source in config.sources
        for pattern in source.files
        for split in _expand(source, pattern, config.directory)
    }
    return [found[key] for key in sorted(found)]


def read_rows(split: InputSplit, batch_rows: int = 4096) -> Generator[pa.RecordBatch, None, InputFile]:
    """Yield a file's rows as batches of :data:`schemas.arrow.RAW_ROW`; the generator returns the file's record.

    ``payload`` is the row as JSON: the bytes in the file where the file is JSON, else an object by column name. Nothing
    inside a row is checked here. ``row`` counts rows from 0; blank lines and the header are not rows.

    Args:
        split: the file.
        batch_rows: rows in one batch at most.

    Raises:
        DataError: the file as a whole cannot be read (damaged, cut short, not the format it is named after); batches
            before the damage have been yielded by then.
    """
    kind, _ = _format_of(split.location)
    try:
        if kind in _SEEKABLE_FORMATS:
            with _open(split.location) as file:
                rows = yield from _batches(split, _SEEKABLE_FORMATS[kind](file), batch_rows)
            with _open(split.location) as file:
                stored = _Stored(file)
                stored.drain()
        else:
            with _open(split.location) as file:
                stored = _Stored(file)
                rows = yield from _batches(split, _text_rows(stored, split.location), batch_rows)
                stored.drain()
    except FormatError as fault:
        raise DataError(f"{_name(split)}: {fault}") from None
    except (OSError, ValueError) as error:  # includes Arrow's errors and those of Beam's file systems
        raise DataError(
            f"{_name(split)}: cannot be read as {' '.join(_format_words(split.location))} ({_one_line(error)}). The"
            " file is damaged, cut short, or not what its name says: fetch it again, or take it out of the source"
        ) from None
    return InputFile(source=split.source, uri=split.uri, bytes=stored.count, sha256=stored.digest(), rows=rows)


class ReadOutputs(NamedTuple):
    """What reading gives."""

    rows: PCollection[pa.RecordBatch]
    """Batches of :data:`schemas.arrow.RAW_ROW`, each of one file."""
    files: PCollection[dict[str, Any]]
    """:class:`schemas.dataset.InputFile` as a dictionary, one per file read to its end."""
    failures: PCollection[dict[str, str]]
    """``{"uri", "message"}``, one per file that cannot be read; its rows so far may be among ``rows``."""


@dataclass(kw_only=True)
class ReadRows(beam.PTransform[PCollection[InputSplit], ReadOutputs]):
    """Read raw files; :func:`read_rows` for each element.

    In: :class:`InputSplit`, any order. Out: :class:`ReadOutputs`. A file that cannot be read is an element of
    ``failures`` and no exception, so that every runner can end with the one message. A retry reads the file again.
    """

    batch_rows: int = 4096

    def expand(self, splits: PCollection[InputSplit]) -> ReadOutputs:
        """Apply to a collection of splits."""
        outputs = splits | "ReadFile" >> beam.ParDo(_ReadFn(self.batch_rows)).with_outputs(
            "files", "failures", main="rows"
        )
        return ReadOutputs(outputs["rows"], outputs["files"], outputs["failures"])


@beam.typehints.with_output_types(pa.RecordBatch, files=dict[str, Any], failures=dict[str, str])
class _ReadFn(beam.DoFn):
    def __init__(self, batch_rows: int) -> None:
        self._batch_rows = batch_rows

    def process(self, split: InputSplit) -> Iterator[Any]:
        try:
            record = yield from read_rows(split, self._batch_rows)
        except DataError as error:
            yield TaggedOutput("failures", {"uri": split.uri, "message": str(error)})
        else:
            yield TaggedOutput("files", record.model_dump())


class _Stored(io.RawIOBase):
    """A file as stored; counts and hashes what passes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size: int = self._file.readinto(buffer)  # type: ignore[attr-defined]  # every binary file object has it
        self._sha256.update(memoryview(buffer)[:size])
        self.count += size
        return size

    def drain(self) -> None:
        """Pass what is left."""
        while self.read(_BLOCK_BYTES):
            pass

    def digest(self) -> str:
        return self._sha256.hexdigest()


def _text_rows(stored: _Stored, location: str) -> Iterator[bytes]:
    kind, codec = _format_of(location)
    if codec is None:
        return _TEXT_FORMATS[kind](io.BufferedReader(stored, _BLOCK_BYTES))
    plain = pa.CompressedInputStream(pa.PythonFile(stored, mode="r"), codec)
    return _TEXT_FORMATS[kind](io.BufferedReader(plain, _BLOCK_BYTES))


def _batches(split: InputSplit, rows: Iterator[bytes], batch_rows: int) -> Generator[pa.RecordBatch, None, int]:
    """Yield batches; return the number of rows."""
    first = 0
    payloads: list[bytes] = []
    size = 0
    for payload in rows:
        payloads.append(payload)
        size += len(payload)
        if len(payloads) == batch_rows or size >= _BATCH_BYTES:
            yield _batch(split, first, payloads)
            first += len(payloads)
            payloads, size = [], 0
    if payloads:
        yield _batch(split, first, payloads)
    return first + len(payloads)


def _batch(split: InputSplit, first: int, payloads: list[bytes]) -> pa.RecordBatch:
    count = len(payloads)
    return pa.record_batch(
        [
            pa.repeat(split.source, count),
            pa.repeat(split.uri, count),
            pa.array(range(first, first + count), pa.int64()),
            pa.array(payloads, pa.binary()),
        ],
        schema=RAW_ROW,
    )


def _open(location: str) -> BinaryIO:
    # Beam's own decompression takes a truncated file for a whole one, so the bytes come as stored.
    file: BinaryIO = FileSystems.open(location, compression_type=CompressionTypes.UNCOMPRESSED)
    return file


def _expand(source: SourceConfig, pattern: str, directory: Path) -> Iterator[InputSplit]:
    """Yield the files that one entry of a source's list stands for."""
    remote = "://" in pattern
    where = pattern if remote else os.path.normpath(os.path.join(directory, os.path.expanduser(pattern)))
    what = f"source '{source.name}': {pattern}"
    if os.path.isfile(where):
        found = [(where, os.path.getsize(where))]  # taken literally, whatever characters its name has
    elif os.path.isdir(where):
        found = list(_files_below(where))
    else:
        found = _matches(where, what)
    if not found:
        raise DataError(_nothing_found(what, where))
    for location, size in found:
        if _format_of(location)[0] is None:
            raise DataError(f"{what}: {location} is of unknown format; known are {_KNOWN}")
        uri = location if remote else Path(os.path.relpath(location, directory)).as_posix()
        yield InputSplit(source=source.name, uri=uri, location=location, bytes=size)


_OF_THE_DATASETS_LIBRARY = ("dataset_info.json", "dataset_dict.json", "state.json")  # lie beside saved rows


def _files_below(directory: str) -> Iterator[tuple[str, int]]:
    for file in Path(directory).rglob("*"):
        hidden = any(part.startswith(".") for part in file.relative_to(directory).parts)
        if not hidden and file.is_file() and _format_of(file.name)[0] and file.name not in _OF_THE_DATASETS_LIBRARY:
            yield str(file), file.stat().st_size


def _matches(where: str, what: str) -> list[tuple[str, int]]:
    # To Beam "a/**/b" needs a directory between; everybody else reads it as "at any depth".
    pattern = literal_directories(where)
    patterns = sorted({pattern, pattern.replace("**/", "")})
    try:
        results = FileSystems.match(patterns)
    except (BeamIOError, ValueError, OSError, ImportError) as error:
        raise DataError(f"{what}: cannot be listed ({_one_line(error)})") from None
    return sorted({(entry.path, entry.size_in_bytes) for result in results for entry in result.metadata_list})


def _nothing_found(what: str, where: str) -> str:
    if os.path.isdir(where):
        return f"{what}: the directory {where} holds no data file; known are {_KNOWN}"
    if not any(character in where for character in "*?["):
        return f"{what}: no such file: {where}. Paths are relative to the configuration's directory; check the spelling"
    parent = where[: min(where.index(character) for character in "*?[" if character in where)].rpartition("/")[0]
    exists = "://" in parent or os.path.isdir(parent)
    hint = "check the pattern; ** crosses directories" if exists else "there is no such directory"
    return f"{what}: matches no file in {parent or '/'}; {hint}"


def _format_of(name: str) -> tuple[Any, str | None]:
    """Return the format's extension (None if unknown) and the codec of a file name."""
    root, extension = os.path.splitext(name.lower())
    codec = _CODECS.get(extension)
    if codec:
        extension = os.path.splitext(root)[1]
    known = extension in _TEXT_FORMATS or (codec is None and extension in _SEEKABLE_FORMATS)
    return (extension if known else None), codec


def _format_words(location: str) -> list[str]:
    kind, codec = _format_of(location)
    return [*([f"{codec}-compressed"] if codec else []), kind.removeprefix(".").upper()]


def _name(split: InputSplit) -> str:
    return f"source '{split.source}': {split.uri}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
