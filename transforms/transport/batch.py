"""What moves between the steps of a build: rows as read, and a batch of examples that carries its own rejects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from versatune.schemas.arrow import REJECT
from versatune.schemas.errors import DataError
from versatune.transforms.transport.field_counts import FieldCounts
from versatune.transforms.transport.messages import Turn, conversations


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What a source says of its files where their content would be asked; each applies to the files it fits."""

    header: bool | None = None
    """The first row of delimited text names the columns, or does not; None finds out."""
    delimiter: str | None = None
    quoting: str = "auto"
    """auto, double, backslash or none."""
    encoding: str | None = None
    """Of text; None is UTF-8, or another that is found out."""
    pattern: str | None = None
    """Each match in plain text is a row."""
    split: str | None = None
    """Of a JSON object that holds several; None is the training split alone, ``all`` every one."""


@dataclass(frozen=True, kw_only=True)
class InputSplit:
    """The unit of reading: a file, or a part of a large one."""

    source: str
    uri: str
    """As the books name the file: relative to the configuration's directory (posix), or a full URI; ``a.zip!/b`` in an archive."""
    location: str
    """What to open: an absolute path, or the same URI."""
    bytes: int
    """Of the whole file as stored."""
    modified: str = ""
    """The file's state when it was listed (:mod:`versatune.transforms.formats.state`), of several files with blanks between; empty if
    nobody can tell. A changed file is another split."""
    license: str = "unknown"
    part: int = 0
    """Which part of the file this is, from 0; parts follow each other in the order of rows."""
    parts: int = 1
    start: int = 0
    """Where the part begins: a byte of JSON Lines, a row group of Parquet."""
    end: int | None = None
    """Where it ends (exclusive); None at the end of the file."""
    member: str | None = None
    """Path inside an archive."""
    options: ReadOptions = field(default=ReadOptions(), repr=False)
    parallel: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Fields and the files that hold them, line by line; ``location`` is the first of these files."""
    refused: str = field(default="", repr=False)
    """Why there is nothing to read, where the files of a source were listed in vain."""

    @property
    def key(self) -> str:
        """16 hex digits that are this split's alone, the same in every run."""
        said = [
            repr(value) for value, default in ((self.options, ReadOptions()), (self.parallel, ())) if value != default
        ]
        return blake2b("".join([repr(self), *said]).encode(), digest_size=8).hexdigest()

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> InputSplit:
        """Undo ``dataclasses.asdict``, also where JSON lay between."""
        options, parallel = ReadOptions(**fields["options"]), tuple(map(tuple, fields["parallel"]))
        return cls(**fields | {"options": options, "parallel": parallel})


class RowFault(NamedTuple):
    """In place of a row's bytes: why the reader could not give them."""

    reason: str
    """A key of ``READ_REASONS``."""
    detail: str
    head: bytes
    """The first bytes of the row, for its reject."""


class RawBatch(NamedTuple):
    """Consecutive rows of one split, as read."""

    split: InputSplit
    number: int
    """Of the batch within its split, from 0."""
    first: int
    """Row number of the first payload within the split."""
    payloads: list[bytes | RowFault]
    """Each row as one JSON value: its bytes in the file where the file is JSON, else an object by column name."""

    @property
    def key(self) -> str:
        """The batch's name, the same in every run."""
        return f"{self.split.key}-{self.number:06d}"

    @property
    def raw_bytes(self) -> int:
        """Bytes of all rows."""
        return sum(len(row.head if isinstance(row, RowFault) else row) for row in self.payloads)


class Batch(NamedTuple):
    """Examples of one split and the rows that were rejected on the way; no row is in neither."""

    key: str
    split: InputSplit
    examples: pa.RecordBatch
    rejects: pa.RecordBatch
    """:data:`versatune.schemas.arrow.REJECT`."""
    counts: Counter[str]
    """What happened to rows that stayed or multiplied, such as ``expanded`` or ``pii.email``."""
    raw_bytes: int = 0
    """Of the rows as read, by which progress is told."""
    fields: FieldCounts = FieldCounts()  # never changed once a batch has it
    """Which fields of the raw rows were used, and which were not."""


def rejected_rows(
    rows: Sequence[int] | pa.Array,
    items: Sequence[int] | pa.Array,
    *,
    stages: Sequence[str],
    reasons: Sequence[str],
    details: Sequence[str],
    payloads: Sequence[bytes],
) -> pa.RecordBatch:
    """Return rows of :data:`versatune.schemas.arrow.REJECT`; all arguments have one entry for each."""
    columns = [rows, items, stages, reasons, details, payloads]
    return pa.record_batch(
        [
            column if isinstance(column, pa.Array) else one_array(column, field.type)
            for column, field in zip(columns, REJECT, strict=True)
        ],
        schema=REJECT,
    )


def one_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return values as one Arrow array, whose texts have at most 2 GiB together.

    Raises:
        DataError: they have more.
    """
    array = pa.array(values, kind)
    if isinstance(array, pa.ChunkedArray):
        raise DataError(
            f"build.batch_rows: the examples of one batch of rows hold more than 2 GiB of text (values: {len(values):,}); expected less."
            " Some rows stand for many examples that repeat a long passage: set it lower, such as 64"
        )
    return array


def with_rejects(batch: Batch, examples: pa.RecordBatch, rejects: pa.RecordBatch) -> Batch:
    """Return a batch after a step: the examples that are left, and its rejects beside those that were there."""
    if rejects.num_rows and batch.rejects.num_rows:
        both = pa.Table.from_batches([batch.rejects, rejects]).combine_chunks()
        rejects = both.to_batches()[0]
    return batch._replace(examples=examples, rejects=rejects if rejects.num_rows else batch.rejects)


def example_payloads(examples: pa.RecordBatch) -> list[bytes]:
    """Return examples as JSON that can be read again as raw rows: the payload of those rejected after cleaning."""
    sides = (examples.column(name).to_pylist() for name in ("tools", "rejected", "unlearned"))
    return [_payload(*row) for row in zip(conversations(examples), *sides, strict=True)]


def _payload(messages: list[Turn], tools: str | None, worse: str | None, unlearned: list[int]) -> bytes:
    turns: list[dict[str, Any]] = [{"role": role, "content": content} for role, content in messages]
    for number in unlearned:
        turns[number]["train"] = False
    row: dict[str, Any] = {"messages": turns}
    if messages[0][0] == "text":
        row = {"text": messages[0][1]}
    elif worse is not None:
        row = {"prompt": turns[:-1], "chosen": messages[-1][1], "rejected": worse}
    if tools is not None:
        row["tools"] = tools
    return orjson.dumps(row)
