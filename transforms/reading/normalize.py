"""Raw rows to examples: a batch at a time, each row on its own, with a reason for every row that is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection

from versatune.schemas.arrow import MESSAGES, NORMALIZED
from versatune.schemas.config import BuildConfig, SourceConfig
from versatune.schemas.dataset import EXPANDED, REPAIRED
from versatune.schemas.errors import RunError
from versatune.transforms.cleaning.chain import make_cleaner
from versatune.transforms.cleaning.tails import count_tail, drop_tails
from versatune.transforms.reading.repairs import Repairs, no_repairs
from versatune.transforms.shapes.base import (
    CLEAN_REASONS,
    MAX_EXPANDED_CHARS,
    READ_REASONS,
    WEIGHT_NOT_APPLIED,
    Example,
    RowError,
)
from versatune.transforms.shapes.conversation import example_id, read_examples
from versatune.transforms.shapes.field_audit import FieldAudit
from versatune.transforms.transport.batch import Batch, RawBatch, RowFault, example_payloads, one_array, rejected_rows

Cleaner = Callable[[Example, Counter[str]], Example]
"""Cleans an example, or raises RowError; counts what it changed."""


def normalize_batch(
    raw: RawBatch, source: SourceConfig, cleaner: Cleaner | None = None, repairs: Repairs | None = None
) -> Batch:
    """Turn each row of a batch into examples, or into a reject; every row ends in one of the two.

    Args:
        raw: rows of one split.
        source: gives the field map, if there is one.
        cleaner: the configured cleaning; None does nothing.
        repairs: what takes the place of rows that were rejected before, at whatever stage.

    Raises:
        RunError: a pattern of the configuration could not be decided on a row.
    """
    examples, rejects, counts = _Examples(), _Rejects(), Counter[str]()
    repairs = repairs or no_repairs()
    faults: list[tuple[int, RowError]] = []
    audit = FieldAudit(source.fields)
    for row, payload in enumerate(raw.payloads, raw.first):
        repaired = repairs.of(payload)
        try:
            found = _read(payload if repaired is None else repaired, source, faults, audit)
        except RowError as error:
            rejects.add(row, 0, payload, error)
            continue
        several = len(found) + len(faults) - 1
        if several and (excess := _too_much(found)):
            rejects.add(row, 0, payload, excess)
            faults.clear()
            continue
        if repaired is not None:
            counts[REPAIRED] += 1
        if several:
            counts[EXPANDED] += several
            places = _places(len(found), faults)
            rejects.add_several(row, payload, faults)
            faults.clear()
        for number, example in enumerate(found):
            item = places[number] if several else 0
            try:
                ready = _ready(example, source.drop_tail, cleaner, repairs, counts)
                examples.add(row, item, ready)
                if WEIGHT_NOT_APPLIED in ready.tags:
                    counts[WEIGHT_NOT_APPLIED] += 1
            except RowError as error:
                rejects.add(row, item, _alone(example) if several else payload, error)
            except RunError as error:
                raise RunError(f"source '{source.name}': {raw.split.uri}, row {row}: {error}") from None
    return Batch(raw.key, raw.split, examples.batch(), rejects.batch(), counts, raw.raw_bytes, audit.counted())


def _ready(
    example: Example, tails: Sequence[str], cleaner: Cleaner | None, repairs: Repairs, counts: Counter[str]
) -> Example:
    """Return an example as it goes on: cleaned, and repaired if it was rejected as an example before, here or at a later stage."""
    if repairs.rows:
        example = _repaired(example, repairs, counts)
    dropped = Counter[str]() if tails else None
    if dropped is not None:
        example = drop_tails(example, tails, dropped)
    if cleaner:
        example = cleaner(example, counts)
        if repairs.rows:
            example = _repaired(example, repairs, counts)
    if dropped:
        counts.update(dropped)
    count_tail(example, counts)
    return example


def _repaired(example: Example, repairs: Repairs, counts: Counter[str]) -> Example:
    row = repairs.of(_alone(example))
    if row is None:
        return example
    found = read_examples(row)
    if len(found) > 1:
        raise RowError(
            "wrong_type", f"the repaired row gives {len(found)} examples in place of one; give each its own row"
        )
    counts[REPAIRED] += 1
    return found[0]


def _read(
    payload: bytes | RowFault, source: SourceConfig, faults: list[tuple[int, RowError]], audit: FieldAudit
) -> list[Example]:
    if isinstance(payload, RowFault):
        raise RowError(payload.reason, payload.detail)
    return read_examples(payload, source.fields, faults, audit)


def _too_much(examples: Sequence[Example]) -> RowError | None:
    """Return why a row that repeats a long passage in thousands of examples is rejected: a batch of them would not fit into memory."""
    chars = sum(len(content) for example in examples for _, content in example.messages)
    if chars <= MAX_EXPANDED_CHARS:
        return None
    return RowError(
        "too_large",
        f"its {len(examples):,} examples have {chars:,} characters; expected at most {MAX_EXPANDED_CHARS:,} from one row",
    )


def _places(good: int, faults: list[tuple[int, RowError]]) -> list[int]:
    """Return the positions in their row of the examples that can be used."""
    bad = {item for item, _ in faults}
    return [item for item in range(good + len(bad)) if item not in bad]


def _alone(example: Example) -> bytes:
    """Return one of a row's examples as a row of its own."""
    columns = _Examples()
    columns.add(0, 0, example)
    return example_payloads(columns.batch())[0]


class _Examples:
    """Flat columns of accepted rows; Arrow takes them as they are, without a Python object per nested value."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._roles: list[str] = []
        self._contents: list[str] = []
        self._ends = [0]
        self._tools: dict[int, str] = {}
        self._rejected: dict[int, str] = {}
        self._tags: dict[int, tuple[str, ...]] = {}
        self._unlearned: dict[int, tuple[int, ...]] = {}
        self._rows: list[int] = []
        self._items: list[int] = []
        self._num_chars: list[int] = []

    def add(self, row: int, item: int, example: Example) -> None:
        messages, tools, rejected, tags, unlearned = example
        position = len(self._ids)
        self._ids.append(example_id(example))
        chars = 0
        for role, content in messages:
            self._roles.append(role)
            self._contents.append(content)
            chars += len(content)
        self._ends.append(len(self._roles))
        self._rows.append(row)
        self._items.append(item)
        self._num_chars.append(chars)
        if tools is not None:
            self._tools[position] = tools
        if rejected is not None:
            self._rejected[position] = rejected
        if tags:
            self._tags[position] = tags
        if unlearned:
            self._unlearned[position] = unlearned

    def batch(self) -> pa.RecordBatch:
        count = len(self._ids)
        roles = pa.array(self._roles, pa.string())
        turns = pa.StructArray.from_arrays(
            [roles, one_array(self._contents, pa.string())], fields=list(MESSAGES.value_type)
        )
        columns = [
            pa.array(self._ids, pa.string()),
            pa.ListArray.from_arrays(pa.array(self._ends, pa.int32()), turns, type=MESSAGES),
            _lists(self._unlearned, count, pa.int32()),
            _sparse(self._tools, count),
            _sparse(self._rejected, count),
            _lists(self._tags, count, pa.string()),
            pa.array(self._num_chars, pa.int32()),
            pa.array(self._rows, pa.int64()),
            pa.array(self._items, pa.int32()),
        ]
        return pa.record_batch(columns, schema=NORMALIZED)


def _sparse(values: Mapping[int, str], count: int) -> pa.Array:
    return one_array(list(map(values.get, range(count))), pa.string()) if values else pa.nulls(count, pa.string())


def _lists(values: Mapping[int, tuple[Any, ...]], count: int, kind: pa.DataType) -> pa.Array:
    return pa.array([values.get(at, ()) for at in range(count)] if values else [()] * count, pa.list_(kind))


class _Rejects:
    """Flat columns of rejected rows."""

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._items: list[int] = []
        self._payloads: list[bytes] = []
        self._errors: list[RowError] = []

    def add(self, row: int, item: int, payload: bytes | RowFault, error: RowError) -> None:
        self._rows.append(row)
        self._items.append(item)
        self._payloads.append(payload.head if isinstance(payload, RowFault) else payload)
        self._errors.append(error)

    def add_several(self, row: int, payload: bytes | RowFault, faults: list[tuple[int, RowError]]) -> None:
        """Add what cannot be used of a row of several examples.

        Only the first holds the row, or an article of a thousand questions without an answer would be kept a thousand times.
        """
        for position, (item, error) in enumerate(faults):
            if position:
                detail = f"{error.detail} (the row is the payload of its item {faults[0][0]})"
                self.add(row, item, b"", RowError(error.reason, detail))
            else:
                self.add(row, item, payload, error)

    def batch(self) -> pa.RecordBatch:
        return rejected_rows(
            self._rows,
            self._items,
            stages=[_stage(error.reason) for error in self._errors],
            reasons=[error.reason for error in self._errors],
            details=[error.detail for error in self._errors],
            payloads=self._payloads,
        )


def _stage(reason: str) -> str:
    if reason in READ_REASONS:
        return "read"
    return "clean" if reason in CLEAN_REASONS else "normalize"


@dataclass(kw_only=True)
class NormalizeRows(beam.PTransform[PCollection[RawBatch], PCollection[Batch]]):
    """Turn raw rows into examples and rejects; :func:`normalize_batch` for each element.

    In: batches of raw rows, any order. Out: one :class:`Batch` for each. A bad row is a reject, never an exception.
    """

    sources: Sequence[SourceConfig]
    build: BuildConfig
    """Its sections ``clean`` and ``pii`` are applied."""
    repairs: str | None = None
    """Where repaired rows are, if there are some."""

    def expand(self, rows: PCollection[RawBatch]) -> PCollection[Batch]:
        """Apply to a collection of batches."""
        return rows | "NormalizeBatch" >> beam.ParDo(_NormalizeFn(self.sources, self.build, self.repairs))


@beam.typehints.with_output_types(Batch)
class _NormalizeFn(beam.DoFn):
    def __init__(self, sources: Sequence[SourceConfig], build: BuildConfig, repairs: str | None) -> None:
        self._sources = {source.name: source for source in sources}
        self._build, self._repairs_path = build, repairs

    def setup(self) -> None:
        """Make what cannot travel: compiled patterns, language models, repaired rows."""
        self._cleaner: Any = make_cleaner(self._build.clean, self._build.pii)
        self._repairs = Repairs.load(self._repairs_path) if self._repairs_path else no_repairs()

    def process(self, raw: RawBatch) -> Iterator[Batch]:
        yield normalize_batch(raw, self._sources[raw.split.source], self._cleaner, self._repairs)
