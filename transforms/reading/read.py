"""Raw files to rows: which files, and each of their rows as JSON."""

from __future__ import annotations

import errno
import hashlib
import tempfile
import zipfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import PCollection, TaggedOutput

from versatune.schemas.config import Config
from versatune.schemas.errors import DataError, RunError
from versatune.schemas.files import sha256_bytes
from versatune.transforms.formats import (
    columnar,
    delimited,
    json_document,
    json_lines,
    parallel,
    pattern,
    plain_text,
    sidecar,
)
from versatune.transforms.formats.blocks import HEAD, Blocks, Tap, line_range, peek, utf8, without_blank_beginning
from versatune.transforms.formats.compressed import guarded, unpacked
from versatune.transforms.formats.detect import ARROW, DELIMITED, UNREADABLE, extensions, refuse_unreadable, text_kind
from versatune.transforms.formats.fault import FormatError
from versatune.transforms.formats.hub import SCHEME, HubAddress, hub_rows
from versatune.transforms.formats.listing import source_splits
from versatune.transforms.formats.options import check_options
from versatune.transforms.formats.text_encoding import as_utf8
from versatune.transforms.reading.changes import change_of
from versatune.transforms.transport.batch import InputSplit, RawBatch, ReadOptions, RowFault
from versatune.transforms.transport.storage import is_local, open_foreign, open_stored

MAX_ROW_BYTES = 8 * 2**20
_BATCH_BYTES = 32 * 2**20  # with rows of many kilobytes a batch ends before batch_rows
_GROUP_BYTES = 2**20
_PARQUET_MAGIC = b"PAR1"
_FAULTS_OF_THE_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}
_ARROW_MAGICS = (b"ARROW1", b"\xff\xff\xff\xff")

Rows = Iterator[list[bytes | RowFault]]
"""Rows in the order of the file, in lists of any length."""


@dataclass(frozen=True, kw_only=True)
class ReadRecord:
    """What became of a split."""

    source: str
    uri: str
    key: str
    """The split's."""
    part: int
    parts: int
    bytes: int
    """Of the whole file as stored; of an archive's member, unpacked; of a hub dataset, of its rows as JSON."""
    sha256: str
    """Of those bytes, in hex; empty but for part 0, and for a file that could not be read to its end."""
    rows: int
    """Of this split, those with faults among them."""
    batches: int
    license: str
    refused: str
    """Why the file cannot be read, in one line; its rows so far are of no use. Empty if all is well."""
    changed: bool = False
    """The file is refused because it is no longer the one that was listed."""
    note: str = ""
    """What was decided about the file without being sure; empty if nothing was."""


def plan_inputs(config: Config, say: Callable[[str], None] = lambda _: None) -> list[InputSplit]:
    """List what is to be read, ordered by source, uri and part; each file once per source.

    A path may be a file, a folder (everything below it) or a glob (``*``, ``?``, ``[...]``; ``**`` crosses directories),
    local or on any file system that Beam knows. A file that is named is read, or refused when it is read, whatever it is
    called. Of a folder or a glob, files that hold no data are left out: hidden ones, those that lie beside data by their
    name (README, LICENSE, ``dataset_info.json``, ``cache-*.arrow`` of a saved dataset) and those of an unknown name whose
    first bytes are no data (``.py``, images); so a glob may cross a mixed folder. Kinds of data that cannot be read
    (Excel, tar, pickle) stay in the list and are refused with advice, since leaving them out would lose rows silently.

    A zip archive stands for its members that hold data, ``a.zip!/member``. JSON Lines and Parquet files of more than
    ``build.part_bytes`` are divided; how they are changes neither rows nor their order.

    Of a folder, glob or archive that holds several splits (train, test), the source's ``split`` is read, or the training split.

    A source without a licence gets that of each file, see :func:`versatune.transforms.formats.sidecar.license_of`.

    Args:
        config: names the sources.
        say: told which splits are left out.

    Raises:
        DataError: no sources; no such file; a glob or folder without data, where ``build.on_refused_file`` is fail or nothing
            else is left; an option that fits no file of its source; a ``split`` that is not there.
    """
    if not config.sources:
        raise DataError("the configuration lists no sources; add e.g. sources: [{name: mine, files: [data/*.jsonl]}]")
    sidecar.forget()
    skip = config.build.on_refused_file == "skip"
    found: list[InputSplit] = []
    for source in sorted(config.sources, key=lambda source: source.name):
        splits = source_splits(source, config.directory, config.build.part_bytes, skip=skip, say=say)
        check_options(source.name, splits)
        found += splits
    if all(split.refused for split in found):
        raise DataError("\n".join(split.refused for split in found))
    return found


def read_rows(
    split: InputSplit, batch_rows: int = 4096, max_row_bytes: int = MAX_ROW_BYTES
) -> Generator[RawBatch, None, ReadRecord]:
    """Yield a split's rows in batches; the generator returns the split's record. Nothing about the file is raised.

    A payload is the row as JSON: the bytes in the file where the file is JSON, else an object by column name. Nothing
    inside a row is checked here. Blank lines and the header are not rows. What a file holds is found out from its
    content; its name decides where that does not tell. Batches are a function of the split and ``batch_rows`` alone. Memory
    is bounded by ``max_row_bytes`` and the batch (32 MiB, and one row), however large the file, but for two: a table by
    column in JSON (128 MiB at most), and the pages of Parquet and the record batches of Arrow, as they were written.

    Args:
        split: the file, or a part of it.
        batch_rows: rows in one batch at most.
        max_row_bytes: a larger row comes out as a :class:`~versatune.transforms.transport.batch.RowFault`, ``too_large``.

    Raises:
        RunError: the machine fails (no space, too many open files, no connection): a sound file must not count as a damaged one.
    """
    stored = _Stored()
    rows = batches = 0
    changed = change_of(split) if is_local(split.location) else ""  # which costs nothing; an object is asked for once
    refused = split.refused or changed
    try:
        for batch in () if refused else _batches(split, _rows(split, max_row_bytes, stored), batch_rows):
            rows += len(batch.payloads)
            batches += 1
            yield batch
    except FormatError as fault:
        refused = f"source '{split.source}': {split.uri}: {fault}"
    except RunError as error:
        raise RunError(f"source '{split.source}': {split.uri}: {error}") from None
    except Exception as error:  # what the parsers of a dozen formats raise on damaged bytes
        if isinstance(error, ConnectionError | TimeoutError) or getattr(error, "errno", None) in _FAULTS_OF_THE_MACHINE:
            raise RunError(
                f"source '{split.source}': {split.uri}: cannot be read now ({_one_line(error)}). The file is not at fault: mend what is"
                " (space, open files, network) and run it again; what is done stays done"
            ) from error
        refused = (
            f"source '{split.source}': {split.uri}: cannot be read ({type(error).__name__}: {_one_line(error)}). The file is"
            " damaged, cut short, or not what its name says: fetch it again, or take it out of the source"
        )
    if not split.refused and (changed := changed or _change_of(split)):
        refused = f"source '{split.source}': {split.uri}: {changed}"
    return ReadRecord(
        source=split.source,
        uri=split.uri,
        key=split.key,
        part=split.part,
        parts=split.parts,
        bytes=split.bytes if refused or split.part else stored.bytes,
        sha256="" if refused else stored.sha256,
        rows=rows,
        batches=batches,
        license=split.license,
        refused=_one_line(refused),
        changed=bool(changed),
        note=_one_line("; ".join(stored.notes)),
    )


def _change_of(split: InputSplit) -> str:
    try:
        return change_of(split)
    except RunError as error:
        raise RunError(f"source '{split.source}': {split.uri}: {error}") from None


class ReadOutputs(NamedTuple):
    """What reading gives."""

    rows: PCollection[RawBatch]
    """Batches, each of one split."""
    records: PCollection[dict[str, Any]]
    """:class:`ReadRecord` as a dictionary, one per split."""


@dataclass(kw_only=True)
class ReadRows(beam.PTransform[PCollection[InputSplit], ReadOutputs]):
    """Read raw files; :func:`read_rows` for each element.

    In: :class:`InputSplit`, any order. Out: :class:`ReadOutputs`. A file that cannot be read is a record with ``refused``
    and no exception, so that every runner can end with the one message; its rows so far may be among ``rows``. A retry
    reads the file again.
    """

    batch_rows: int = 4096
    max_row_bytes: int = MAX_ROW_BYTES

    def expand(self, splits: PCollection[InputSplit]) -> ReadOutputs:
        """Apply to a collection of splits."""
        outputs = splits | "ReadFile" >> beam.ParDo(_ReadFn(self.batch_rows, self.max_row_bytes)).with_outputs(
            "records", main="rows"
        )
        return ReadOutputs(outputs["rows"], outputs["records"])


@beam.typehints.with_output_types(Any, records=dict[str, Any])
class _ReadFn(beam.DoFn):
    def __init__(self, batch_rows: int, max_row_bytes: int) -> None:
        self._batch_rows = batch_rows
        self._max_row_bytes = max_row_bytes

    def process(self, split: InputSplit) -> Iterator[Any]:
        record = yield from read_rows(split, self._batch_rows, self._max_row_bytes)
        yield TaggedOutput("records", asdict(record))


@dataclass
class _Stored:
    """What the record says of the file; known when it has been read."""

    bytes: int = 0
    sha256: str = ""
    notes: list[str] = field(default_factory=list)

    def take(self, *taps: Tap) -> None:
        digests = [tap.digest() for tap in taps]
        self.sha256 = digests[0] if len(digests) == 1 else sha256_bytes(" ".join(digests).encode())
        self.bytes = sum(tap.count for tap in taps)


def _batches(split: InputSplit, rows: Rows, batch_rows: int) -> Iterator[RawBatch]:
    """Yield batches; where they end depends on the rows, and not on how these come."""
    number = first = size = 0
    payloads: list[bytes | RowFault] = []
    for group in rows:
        group_size = sum(map(_size, group))
        if len(payloads) + len(group) < batch_rows and size + group_size < _BATCH_BYTES:
            payloads += group
            size += group_size
            continue
        for row in group:
            payloads.append(row)
            size += _size(row)
            if len(payloads) == batch_rows or size >= _BATCH_BYTES:
                yield RawBatch(split, number, first, payloads)
                number += 1
                first += len(payloads)
                payloads, size = [], 0
    if payloads:
        yield RawBatch(split, number, first, payloads)


def _rows(split: InputSplit, max_row_bytes: int, stored: _Stored) -> Rows:
    if split.location.startswith(SCHEME):
        return _grouped(_tapped(hub_rows(HubAddress.parse(split.location), max_row_bytes), stored))
    if split.member is not None:
        return _member_rows(split, max_row_bytes, stored)
    if split.parallel:
        return _parallel_rows(split, max_row_bytes, stored)
    return _file_rows(split, max_row_bytes, stored)


def _file_rows(split: InputSplit, max_row_bytes: int, stored: _Stored) -> Rows:
    with closing(open_stored(split.location)) as file:
        head = file.read(8)
        file.seek(0)
        kind = _columnar_kind(head, split.location)
        if kind is None and split.parts == 1:
            tap = Tap(file)
            yield from _stream_rows(tap, tap.blocks(), split.location, max_row_bytes, split.options, stored.notes)
            stored.take(tap)
            return
        if kind is None:
            assert split.end is not None
            blocks = line_range(file, split.start, split.end)
            yield from json_lines.rows(blocks if split.start else utf8(blocks), max_row_bytes)
        else:
            _refuse_selection(split.location, kind)
            with closing(open_foreign(split.location)) as mapped:
                yield from _grouped(_columnar(mapped, kind, max_row_bytes, split))
        if split.part == 0:
            file.seek(0)
            stored.take(Tap(file))


def _member_rows(split: InputSplit, max_row_bytes: int, stored: _Stored) -> Rows:
    assert split.member is not None
    with closing(open_stored(split.location)) as file, zipfile.ZipFile(file) as archive:
        info = archive.getinfo(split.member)
        if info.flag_bits & 1:
            raise FormatError("found a member that is encrypted. Unpack the archive and name its files")
        with archive.open(info) as member:
            tap = Tap(member)  # type: ignore[arg-type]
            plain = guarded(tap.blocks(), lambda: info.compress_size)
            yield from _stream_rows(tap, plain, split.member, max_row_bytes, split.options, stored.notes)
            stored.take(tap)


def _parallel_rows(split: InputSplit, max_row_bytes: int, stored: _Stored) -> Rows:
    with ExitStack() as opened:
        taps = [Tap(opened.enter_context(closing(open_stored(location)))) for _, location in split.parallel]
        sides = []
        for tap, (name, location) in zip(taps, split.parallel, strict=True):
            blocks = utf8(unpacked(tap, tap.blocks()), split.options.encoding)
            head, blocks = peek(blocks)
            refuse_unreadable(head, location)
            if split.options.encoding is None:
                blocks = as_utf8(blocks, stored.notes.append)
            sides.append(parallel.Side(name, location, blocks))
        yield from _grouped(parallel.rows(sides, max_row_bytes))
        stored.take(*taps)


def _stream_rows(
    tap: Tap, plain: Blocks, name: str, max_row_bytes: int, options: ReadOptions, notes: list[str]
) -> Rows:
    """Yield the rows of a file that comes once, from its beginning to its end."""
    head, plain = peek(unpacked(tap, plain), 512)
    if head.startswith(b"PK\x03\x04"):
        extension = extensions(name)[0]
        what = UNREADABLE.get(
            extension,
            "a zip archive that is damaged, holds no data file, lies in an archive itself, or"
            " is not named .zip; unpack it and name its files",
        )
        raise FormatError(f"found {what}")
    columns = _columnar_kind(head, name)
    if columns is not None:
        with tempfile.TemporaryFile() as copy:  # these formats are read from their end
            for block in plain:
                copy.write(block)
            copy.seek(0)
            yield from _grouped(_columnar(copy, columns, max_row_bytes))
        return
    head, plain = peek(utf8(plain, options.encoding))
    if not head.strip():  # blank lines are no rows, however many, and say nothing of what follows
        head, plain = peek(without_blank_beginning(plain))
        if not head:
            return
    refuse_unreadable(head, name)
    kind = text_kind(head, name, whole=len(head) < HEAD, options=options)
    if kind == "lines":
        yield from json_lines.rows(plain, max_row_bytes)
    elif kind == "document":
        yield from _grouped(json_document.rows(plain, max_row_bytes, options.split, notes.append))
    else:
        plain = plain if options.encoding else as_utf8(plain, notes.append)
        if kind == "delimited":
            mark = DELIMITED.get(extensions(name)[0], ",")
            found = delimited.rows(plain, max_row_bytes, delimiter=mark, options=options, note=notes.append)
        elif options.pattern:
            found = pattern.rows(plain, max_row_bytes, pattern=options.pattern)
        else:
            found = plain_text.rows(plain, max_row_bytes)
        yield from _grouped(found)


def _columnar_kind(head: bytes, name: str) -> str | None:
    if head.startswith(_PARQUET_MAGIC):
        return "parquet"
    if head.startswith(_ARROW_MAGICS):
        return "arrow"
    is_old_stream = extensions(name)[0] in ARROW and b"\0" in head[:4]  # without a marker before its first length
    return "arrow" if is_old_stream else None


def _columnar(file: Any, kind: str, max_row_bytes: int, split: InputSplit | None = None) -> Iterator[bytes | RowFault]:
    if kind == "arrow":
        return columnar.arrow_rows(file, max_row_bytes)
    start, end = (split.start, split.end) if split is not None else (0, None)
    return columnar.parquet_rows(file, max_row_bytes, start, end)


def _refuse_selection(location: str, kind: str) -> None:
    """Raise FormatError for a saved dataset of which only some rows count."""
    state = sidecar.saved_state(location) if kind == "arrow" else {}
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise FormatError(
            "found a saved dataset with a selection of rows beside it (state.json). Save it anew:"
            " datasets.load_from_disk(FOLDER).flatten_indices().save_to_disk(OTHER)"
        )


def _grouped(rows: Iterator[bytes | RowFault]) -> Rows:
    group: list[bytes | RowFault] = []
    size = 0
    for row in rows:
        group.append(row)
        size += _size(row)
        if size >= _GROUP_BYTES or len(group) == 256:
            yield group
            group, size = [], 0
    yield group


def _size(row: bytes | RowFault) -> int:
    return len(row.head) if isinstance(row, RowFault) else len(row)


def _tapped(rows: Iterator[bytes | RowFault], stored: _Stored) -> Iterator[bytes | RowFault]:
    digest = hashlib.sha256()
    for row in rows:
        if isinstance(row, bytes):
            digest.update(row + b"\n")
            stored.bytes += len(row) + 1
        yield row
    stored.sha256 = digest.hexdigest()


def _one_line(error: object) -> str:
    """Return what is said in one line; bytes of a file that are not UTF-8 become question marks, for records travel as JSON."""
    return " ".join(str(error).encode("utf-8", "replace").decode().split())[:600]
