"""Raw rows to conversations in one form, or to rejects with a reason: no row disappears."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import apache_beam as beam
import orjson
import pyarrow as pa
from apache_beam.pvalue import PCollection, TaggedOutput

import transforms.arrow_coder  # noqa: F401  # registers how record batches travel
from schemas.arrow import MESSAGES, NORMALIZED, ORIGIN, REJECT
from schemas.config import FieldMap, SourceConfig
from transforms.formats.delimited import CELLS_KEY, HEADER_KEY
from transforms.shapes.base import PART_OF_ROLE, READ_REASONS, Message, RowError, type_name
from transforms.shapes.registry import to_messages


class Normalized(NamedTuple):
    """A batch, divided."""

    examples: pa.RecordBatch
    """:data:`schemas.arrow.NORMALIZED`."""
    rejects: pa.RecordBatch
    """:data:`schemas.arrow.REJECT`, payloads whole."""


def normalize_batch(batch: pa.RecordBatch, source: SourceConfig) -> Normalized:
    """Turn each row of a batch into an example or a reject; the numbers of rows add up.

    Args:
        batch: :data:`schemas.arrow.RAW_ROW`, all of one source and file.
        source: gives the licence, and the field map if there is one.
    """
    examples, rejects = _Examples(), _Rejects()
    uri = batch.column("uri")[0].as_py() if batch.num_rows else ""
    for row, payload in zip(batch.column("row").to_pylist(), batch.column("payload").to_pylist(), strict=True):
        try:
            messages = row_messages(payload, source.fields)
        except RowError as error:
            rejects.add(row, payload, error)
        else:
            examples.add(row, messages)
    return Normalized(examples.batch(source, uri), rejects.batch(source, uri))


def row_messages(payload: bytes, fields: FieldMap | None = None) -> list[Message]:
    """Return the cleaned turns of one raw row.

    Raises:
        RowError: the row has to be rejected.
    """
    return check_turns(to_messages(_parse(payload), fields))


def check_turns(messages: list[Message]) -> list[Message]:
    """Clean every content and check the order of the speakers.

    Allowed are an optional system turn, then user and assistant in turn, ending with the assistant. A blank system
    turn and user turns after the last answer are left out; everything else that differs is refused.

    Raises:
        RowError: blank or missing text, wrong order, no answer.
    """
    last = len(messages)
    while last and messages[last - 1][0] != "assistant":
        last -= 1
    if last == 0:
        raise RowError("no_answer", f"the conversation has {len(messages)} turns and none by the assistant")
    cleaned: list[Message] = []
    expected = "user"
    for number, (role, raw) in enumerate(messages[:last]):
        content = clean_text(raw)
        if role == "system":
            if cleaned:
                raise RowError("system_not_first", f"turn {number} is a system turn; expected it first, and once")
            if content:
                cleaned.append((role, content))
            continue
        if role != expected:
            if not cleaned or cleaned[-1][0] == "system":
                raise RowError("starts_with_assistant", f"turn {number} is the assistant's; expected the user's first")
            raise RowError("roles_do_not_alternate", f"turns {number - 1} and {number} are both of role {role}")
        if not content:
            raise RowError(f"empty_{PART_OF_ROLE[role]}", f"turn {number} ({role}) is blank; expected text")
        cleaned.append((role, content))
        expected = "assistant" if role == "user" else "user"
    return cleaned


def clean_text(content: str) -> str:
    r"""Return text in Unicode form NFC, with \n as its only line break, without blanks around it.

    In text of several lines that begins indented, the first line keeps its indentation: it may be code.
    """
    if not content.isascii() and not unicodedata.is_normalized("NFC", content):
        content = unicodedata.normalize("NFC", content)
    if "\r" in content:
        content = content.replace("\r\n", "\n")
    stripped = content.strip()
    if content[:1].isspace() and "\n" in stripped:
        indent = content[: len(content) - len(content.lstrip())].rpartition("\n")[2]
        if len(indent) > 1 or indent == "\t":
            return indent + stripped
    return stripped


def example_id(messages: Sequence[Message]) -> str:
    """Return 32 hex digits: BLAKE2b-128 of the JSON array of [role, content] pairs, so equal content has equal ids."""
    return hashlib.blake2b(orjson.dumps(messages), digest_size=16).hexdigest()


class NormalizedRows(NamedTuple):
    """What normalising gives."""

    examples: PCollection[pa.RecordBatch]
    """Batches of :data:`schemas.arrow.NORMALIZED`."""
    rejects: PCollection[pa.RecordBatch]
    """Batches of :data:`schemas.arrow.REJECT`."""


@dataclass(kw_only=True)
class NormalizeRows(beam.PTransform[PCollection[pa.RecordBatch], NormalizedRows]):
    """Turn raw rows into examples and rejects; :func:`normalize_batch` for each element.

    In: batches of :data:`schemas.arrow.RAW_ROW`, each of one source, any order. Out: :class:`NormalizedRows`; batches
    without rows are not emitted. A bad row is a reject, never an exception.
    """

    sources: Sequence[SourceConfig]

    def expand(self, rows: PCollection[pa.RecordBatch]) -> NormalizedRows:
        """Apply to a collection of batches."""
        outputs = rows | "NormalizeBatch" >> beam.ParDo(_NormalizeFn(self.sources)).with_outputs(
            "rejects", main="examples"
        )
        return NormalizedRows(outputs["examples"], outputs["rejects"])


@beam.typehints.with_output_types(pa.RecordBatch, rejects=pa.RecordBatch)
class _NormalizeFn(beam.DoFn):
    def __init__(self, sources: Sequence[SourceConfig]) -> None:
        self._sources = {source.name: source for source in sources}

    def process(self, batch: pa.RecordBatch) -> Iterator[Any]:
        if batch.num_rows == 0:
            return
        examples, rejects = normalize_batch(batch, self._sources[batch.column("source")[0].as_py()])
        if examples.num_rows:
            yield examples
        if rejects.num_rows:
            yield TaggedOutput("rejects", rejects)


def _parse(payload: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise _why_not_json(payload, error) from None
    if type(value) is list and len(value) == 1:  # published lists of one-element lists
        value = value[0]
    if type(value) is not dict:
        raise RowError("not_an_object", f"the row is {type_name(value)}; expected an object with named fields")
    if CELLS_KEY in value and HEADER_KEY in value:
        cells, header = value[CELLS_KEY], value[HEADER_KEY]
        raise RowError("wrong_cell_count", f"the row has {_count(cells)} cells; the header names {_count(header)}")
    return value


def _why_not_json(payload: bytes, error: orjson.JSONDecodeError) -> RowError:
    try:
        payload.decode()
    except UnicodeDecodeError as undecodable:
        return RowError("not_utf8", f"byte {undecodable.start} of the row is not UTF-8")
    return RowError("not_json", f"{error.msg.split(':')[0]} at character {error.pos} of the row")


def _count(value: Any) -> int:
    return len(value) if isinstance(value, list) else 0


class _Examples:
    """Flat columns of accepted rows; Arrow takes them as they are, without a Python object per nested value."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._roles: list[str] = []
        self._contents: list[str] = []
        self._offsets = [0]
        self._rows: list[int] = []
        self._num_chars: list[int] = []

    def add(self, row: int, messages: list[Message]) -> None:
        roles, contents = zip(*messages, strict=True)
        self._ids.append(example_id(messages))
        self._roles += roles
        self._contents += contents
        self._offsets.append(len(self._roles))
        self._rows.append(row)
        self._num_chars.append(sum(map(len, contents)))

    def batch(self, source: SourceConfig, uri: str) -> pa.RecordBatch:
        count = len(self._ids)
        turns = pa.StructArray.from_arrays(
            [pa.array(self._roles, pa.string()), pa.array(self._contents, pa.string())],
            fields=list(MESSAGES.value_type),
        )
        messages = pa.ListArray.from_arrays(pa.array(self._offsets, pa.int32()), turns, type=MESSAGES)
        columns = [
            pa.array(self._ids, pa.string()),
            messages,
            pa.repeat(source.name, count),
            pa.repeat(source.license, count),
            _origins(uri, self._rows),
            pa.array(self._num_chars, pa.int32()),
        ]
        return pa.record_batch(columns, schema=NORMALIZED)


class _Rejects:
    """Flat columns of rejected rows."""

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._payloads: list[bytes] = []
        self._errors: list[RowError] = []

    def add(self, row: int, payload: bytes, error: RowError) -> None:
        self._rows.append(row)
        self._payloads.append(payload)
        self._errors.append(error)

    def batch(self, source: SourceConfig, uri: str) -> pa.RecordBatch:
        columns = [
            pa.repeat(source.name, len(self._rows)),
            _origins(uri, self._rows),
            pa.array(["read" if error.reason in READ_REASONS else "normalize" for error in self._errors], pa.string()),
            pa.array([error.reason for error in self._errors], pa.string()),
            pa.array([error.detail for error in self._errors], pa.string()),
            pa.array(self._payloads, pa.binary()),
        ]
        return pa.record_batch(columns, schema=REJECT)


def _origins(uri: str, rows: list[int]) -> pa.StructArray:
    return pa.StructArray.from_arrays([pa.repeat(uri, len(rows)), pa.array(rows, pa.int64())], fields=list(ORIGIN))
