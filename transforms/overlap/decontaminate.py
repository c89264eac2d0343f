"""Rows that hold text of evaluation sets are rejected: a model must not be trained on what it will be tested with.

Looked for are runs of ``ngram`` words (Brown et al. 2020, arXiv 2005.14165, appendix C, take 13 of them) of every question and answer
of a benchmark. A text of fewer words, down to ``min_words``, is looked for as a whole. What stands in many items of one
benchmark is its template ("choose the correct answer from the following options") and no item's content, and is not looked for.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import PCollection

from versatune.schemas.config import BenchmarkConfig, Config, DecontaminateConfig, FieldMap, SourceConfig
from versatune.schemas.errors import DataError
from versatune.schemas.files import canonical_json, sha256_bytes
from versatune.transforms.formats.listing import source_splits
from versatune.transforms.formats.splits import ALL
from versatune.transforms.overlap.shingles import (
    Words,
    running_sums,
    span_hashes,
    words_of_conversations,
    words_of_texts,
)
from versatune.transforms.reading.read import read_rows
from versatune.transforms.shapes.base import RowError, strings_in
from versatune.transforms.shapes.conversation import parse_row, read_examples
from versatune.transforms.transport.batch import Batch, RowFault, example_payloads, rejected_rows, with_rejects
from versatune.transforms.transport.storage import open_arrow, replace_bytes

STAGE = "decontaminate"
BENCHMARK_OVERLAP = "benchmark_overlap"
DECONTAMINATE_REASONS = {BENCHMARK_OVERLAP: "the example shares text with an evaluation set (build.decontaminate)"}

TEMPLATE_ITEMS = 10
TEMPLATE_SHARE = 0.01
"""A run of words that stands in at least 10 items of a benchmark, and in 1 % of them, belongs to its template.

Passages that several questions share stay below it: 10 questions on one passage do so in a benchmark of 1,000 items or more."""

_ENTRIES = pa.schema(
    [
        pa.field("hash", pa.uint64(), nullable=False),  # of the words; ascending
        pa.field("words", pa.uint16(), nullable=False),
        pa.field("benchmark", pa.uint16(), nullable=False),
        pa.field("beginning", pa.uint64(), nullable=False),  # hash of the first min_words words
    ]
)
_CHUNK_ITEMS = 4096
_CHUNK_ROWS = 256  # rows whose words are in memory at once: ten times their text
_SLOTS = 16  # of a filter for each hash: one in 70 passes by chance
_PROBES = (0, 32)  # which bits of a hash are looked at
_MAX_SLOTS = 2**26
_PART_BYTES = 2**62  # benchmarks are read in one go


class Benchmark(NamedTuple):
    """What is looked for of one evaluation set."""

    name: str
    items: int
    """Questions, with or without answers."""
    runs: int
    """Different runs of words that are looked for."""
    templates: int
    """Runs that are not, because too many items have them."""
    too_short: int
    """Items of which nothing is looked for: every text has fewer than ``min_words`` words or is a template, or the row is no JSON."""


class Overlap(NamedTuple):
    """What a row shares with one benchmark."""

    benchmark: str
    runs: int
    """Different runs of words."""
    words: int
    """In the longest of them."""


@dataclass(frozen=True)
class BenchmarkIndex:
    """Everything that is looked for, by hash."""

    ngram: int
    min_words: int
    benchmarks: tuple[Benchmark, ...]
    entries: pa.RecordBatch
    """Sorted by hash, then benchmark."""

    @classmethod
    def build(cls, benchmarks: Mapping[str, Iterable[Sequence[str]]], settings: DecontaminateConfig) -> BenchmarkIndex:
        """Index benchmarks.

        Args:
            benchmarks: for each name the items, each of them some texts.
            settings: lengths.
        """
        built = [
            _index_items(number, name, benchmarks[name], settings) for number, name in enumerate(sorted(benchmarks))
        ]
        entries = pa.Table.from_batches([part for _, part in built], _ENTRIES)
        entries = entries.sort_by([("hash", "ascending"), ("benchmark", "ascending")]).combine_chunks()
        batch = entries.to_batches()[0] if len(entries) else pa.RecordBatch.from_pylist([], _ENTRIES)
        return cls(settings.ngram, settings.min_words, tuple(benchmark for benchmark, _ in built), batch)

    def save(self, path: str) -> None:
        """Write the index for the workers."""
        head = orjson.dumps([self.ngram, self.min_words, [list(benchmark) for benchmark in self.benchmarks]])
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, _ENTRIES.with_metadata({b"index": head})) as writer:
            writer.write_batch(self.entries.replace_schema_metadata({b"index": head}))
        replace_bytes(path, sink.getvalue().to_pybytes())

    @classmethod
    def load(cls, path: str) -> BenchmarkIndex:
        """Read what :meth:`save` wrote; of a local file only what is needed is in memory."""
        with open_arrow(path) as stream:
            file = pa.ipc.open_file(stream)
            ngram, min_words, benchmarks = orjson.loads(file.schema.metadata[b"index"])
            entries = file.get_batch(0).replace_schema_metadata(None)
        return cls(ngram, min_words, tuple(Benchmark(*benchmark) for benchmark in benchmarks), entries)

    @property
    def digest(self) -> str:
        """Sha256 of all that is looked for, by name of the benchmark; the order of items and files does not matter."""
        columns = b"".join(column.to_numpy().tobytes() for column in self.entries.columns)
        names = [benchmark.name for benchmark in self.benchmarks]
        return sha256_bytes(canonical_json([self.ngram, self.min_words, names, sha256_bytes(columns)]))

    def summary(self) -> list[Benchmark]:
        """Return what is looked for, by benchmark, in the order of their names."""
        return list(self.benchmarks)

    def overlaps(self, words: Words) -> dict[int, list[Overlap]]:
        """Return what each row shares with benchmarks; rows that share nothing are left out."""
        sums = running_sums(words)
        found = [self._find(sums, *candidates) for candidates in self._candidates(words, sums)]
        seen: dict[tuple[int, int], dict[int, int]] = defaultdict(dict)
        for rows, entries in found:
            hashes, lengths, benchmarks = (
                self._column(name)[entries].tolist() for name in ("hash", "words", "benchmark")
            )
            for row, run, length, benchmark in zip(rows.tolist(), hashes, lengths, benchmarks, strict=True):
                seen[row, benchmark][run] = length
        shared: dict[int, list[Overlap]] = {}
        for (row, benchmark), runs in sorted(seen.items()):
            overlap = Overlap(self.benchmarks[benchmark].name, len(runs), max(runs.values()))
            shared.setdefault(row, []).append(overlap)
        return shared

    def _candidates(self, words: Words, sums: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """Yield (rows, first words, length) of the runs that begin as one that is looked for."""
        row_of = np.repeat(np.arange(len(words.offsets) - 1), np.diff(words.offsets))
        left = words.offsets[1:][row_of] - np.arange(len(row_of))  # words from here to the row's end
        if self.ngram in self._lengths:
            starts = np.flatnonzero(left >= self.ngram)
            starts = starts[self._runs.has(span_hashes(sums, starts, starts + self.ngram))]
            yield row_of[starts], starts, self.ngram
        if short := [length for length in self._lengths if length < self.ngram]:
            starts = np.flatnonzero(left >= self.min_words)
            starts = starts[self._beginnings.has(span_hashes(sums, starts, starts + self.min_words))]
            for length in short:
                fitting = starts[left[starts] >= length]
                yield row_of[fitting], fitting, length

    def _find(
        self, sums: np.ndarray, rows: np.ndarray, starts: np.ndarray, length: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (rows, entries) of the runs that are looked for; one run may be of several benchmarks."""
        hashes = span_hashes(sums, starts, starts + length)
        known = self._column("hash")
        first = np.searchsorted(known, hashes)
        counts = np.searchsorted(known, hashes, side="right") - first
        entries = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        right = self._column("words")[entries] == length
        return np.repeat(rows, counts)[right], entries[right]

    def _column(self, name: str) -> np.ndarray:
        return np.asarray(self.entries.column(name).to_numpy())

    @cached_property
    def _lengths(self) -> list[int]:
        return [int(length) for length in np.unique(self._column("words"))]

    @cached_property
    def _runs(self) -> _Set:
        return _Set(self._column("hash")[self._column("words") == self.ngram])

    @cached_property
    def _beginnings(self) -> _Set:
        return _Set(self._column("beginning")[self._column("words") < self.ngram])


def index_benchmarks(config: Config) -> BenchmarkIndex | None:
    """Read the configured evaluation sets and index them; None where there are none.

    Raises:
        DataError: no such file, or one that cannot be read; a benchmark in which nothing can be looked for.
    """
    settings = config.build.decontaminate
    if not settings.benchmarks:
        return None
    index = BenchmarkIndex.build(
        {benchmark.name: _items(benchmark, config) for benchmark in settings.benchmarks}, settings
    )
    for benchmark in index.benchmarks:
        if not benchmark.runs:
            raise DataError(
                f"benchmark '{benchmark.name}': none of its {benchmark.items} items has a text of at least"
                f" {settings.min_words} words that is its own, so nothing can be looked for; check build.decontaminate: 'files',"
                " 'fields' and 'min_words'"
            )
    return index


def _items(benchmark: BenchmarkConfig, config: Config) -> Iterator[list[str]]:
    """Yield the texts of each item of a benchmark's files."""
    source = SourceConfig(name=benchmark.name, files=benchmark.files, fields=benchmark.fields, split=ALL)
    for split in source_splits(source, config.directory, _PART_BYTES):
        rows = read_rows(split, max_row_bytes=config.build.max_row_bytes)
        while True:
            try:
                batch = next(rows)
            except StopIteration as end:
                if end.value.refused:
                    raise DataError(f"benchmark '{benchmark.name}': {end.value.refused}") from None
                break
            for payload in batch.payloads:
                if isinstance(payload, RowFault):
                    yield []  # counted among the items of which nothing is looked for
                else:
                    yield from texts_of_row(payload, benchmark.fields)


def texts_of_row(payload: bytes, fields: FieldMap | None = None) -> list[list[str]]:
    """Return the texts of each item of a benchmark's row: its turns; where it is no example (no answer is given), all its strings."""
    try:
        examples = read_examples(payload, fields)
    except RowError:
        try:
            return [list(strings_in(parse_row(payload)))]
        except RowError:
            return [[]]
    return [[content for role, content in example.messages if role != "system"] for example in examples]


def decontaminate_batch(batch: Batch, index: BenchmarkIndex) -> Batch:
    """Reject the examples that share text with a benchmark; ``counts`` gets ``decontaminate.<benchmark>`` for each.

    All turns are searched, system turns too, and the worse answer of a preference pair.
    """
    examples = batch.examples
    overlaps: dict[int, list[Overlap]] = {}
    for start in range(0, examples.num_rows, _CHUNK_ROWS):
        for row, found in _overlaps(examples.slice(start, _CHUNK_ROWS), index).items():
            overlaps[start + row] = found
    if not overlaps:
        return batch
    numbers = sorted(overlaps)
    hit = examples.take(pa.array(numbers))
    rejects = rejected_rows(
        hit.column("row"),
        hit.column("item"),
        stages=[STAGE] * len(numbers),
        reasons=[BENCHMARK_OVERLAP] * len(numbers),
        details=[_detail(overlaps[row]) for row in numbers],
        payloads=example_payloads(hit),
    )
    kept = np.ones(len(examples), bool)
    kept[numbers] = False
    counts = Counter(f"{STAGE}.{overlap.benchmark}" for found in overlaps.values() for overlap in found)
    return with_rejects(batch, examples.filter(pa.array(kept)), rejects)._replace(counts=batch.counts + counts)


def _overlaps(examples: pa.RecordBatch, index: BenchmarkIndex) -> dict[int, list[Overlap]]:
    overlaps = index.overlaps(words_of_conversations(examples.column("messages")))
    worse = examples.column("rejected")
    if worse.null_count < len(worse):
        for row, found in index.overlaps(words_of_texts(pc.fill_null(worse, ""))).items():
            overlaps[row] = _united(overlaps.get(row, []), found)
    return overlaps


def _united(first: list[Overlap], second: list[Overlap]) -> list[Overlap]:
    """Return one overlap for each benchmark; a run that both sides of a pair have counts once, if it is the only one."""
    united = {overlap.benchmark: overlap for overlap in first}
    for name, runs, words in second:
        known = united.get(name, Overlap(name, 0, 0))
        united[name] = Overlap(name, max(known.runs, runs), max(known.words, words))
    return [united[name] for name in sorted(united)]


def _detail(overlaps: list[Overlap]) -> str:
    shown = [f"{name} ({runs} run{'s' * (runs > 1)} of up to {words} words)" for name, runs, words in overlaps]
    return f"shares text with {', '.join(shown)}"


@dataclass(kw_only=True)
class Decontaminate(beam.PTransform[PCollection[Batch], PCollection[Batch]]):
    """Batches in; out the same without the examples that share text with a benchmark, which are among their rejects."""

    path: str
    """Of the index; every process reads it once."""

    def expand(self, batches: PCollection[Batch]) -> PCollection[Batch]:
        """Search on every worker."""
        return batches | "DecontaminateBatch" >> beam.ParDo(_DecontaminateFn(self.path))


@beam.typehints.with_output_types(Batch)
class _DecontaminateFn(beam.DoFn):
    def __init__(self, path: str) -> None:
        self._path = path

    def setup(self) -> None:
        """Map the index into memory."""
        self._index = BenchmarkIndex.load(self._path)

    def process(self, batch: Batch) -> Iterator[Batch]:
        yield decontaminate_batch(batch, self._index)


class _Set:
    """A set of hashes; a Bloom filter answers for most of those that are not in it, for a search in a long array is slow."""

    def __init__(self, hashes: np.ndarray) -> None:
        self._sorted = np.unique(hashes)
        bits = min(max(len(self._sorted) * _SLOTS, 2), _MAX_SLOTS).bit_length() - 1
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, bool)
        for probe in _PROBES:
            self._table[self._slots(self._sorted, probe)] = True

    def has(self, hashes: np.ndarray) -> np.ndarray:
        """Return the places of those that are in the set, (m,) int64."""
        places = np.arange(len(hashes))
        for probe in _PROBES:
            passed = self._table.take(self._slots(hashes, probe))
            hashes, places = hashes[passed], places[passed]
        at = np.minimum(np.searchsorted(self._sorted, hashes), len(self._sorted) - 1)
        return places[self._sorted[at] == hashes]

    def _slots(self, hashes: np.ndarray, probe: int) -> np.ndarray:
        return ((hashes << np.uint64(probe)) >> self._shift).view(np.int64)


def _index_items(
    number: int, name: str, items: Iterable[Sequence[str]], settings: DecontaminateConfig
) -> tuple[Benchmark, pa.RecordBatch]:
    """Index one benchmark."""
    items = iter(items)
    count, parts = 0, [_Runs.of([], 0, settings)]
    while chunk := list(islice(items, _CHUNK_ITEMS)):
        parts.append(_Runs.of(chunk, count, settings))
        count += len(chunk)
    runs = _Runs(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    order = np.lexsort((runs.item, runs.hashes))
    runs = runs.at(order)
    new_run = np.diff(runs.hashes, prepend=np.uint64(0)) != 0
    new_run[:1] = True
    new_pair = new_run | (np.diff(runs.item, prepend=-1) != 0)
    which = np.cumsum(new_run) - 1
    items_with = np.bincount(which[new_pair], minlength=int(new_run.sum()))
    own = items_with < max(TEMPLATE_ITEMS, TEMPLATE_SHARE * count)
    found = len(np.unique(runs.item[own[which]]))
    kept = runs.at(np.flatnonzero(new_run)[own])
    columns = [kept.hashes, kept.words.astype(np.uint16), np.full(len(kept.hashes), number, np.uint16), kept.beginnings]
    entries = pa.record_batch([pa.array(column) for column in columns], schema=_ENTRIES)
    return Benchmark(name, count, len(kept.hashes), int((~own).sum()), count - found), entries


class _Runs(NamedTuple):
    """Runs of words of some items; each (n,)."""

    hashes: np.ndarray
    words: np.ndarray
    beginnings: np.ndarray
    item: np.ndarray

    @classmethod
    def of(cls, items: list[Sequence[str]], first: int, settings: DecontaminateConfig) -> _Runs:
        """Return what can be looked for of some items, counted from ``first``."""
        words = words_of_texts(pa.array([text for item in items for text in item], pa.string()))
        sums = running_sums(words)
        item_of = np.repeat(np.arange(first, first + len(items)), np.array([len(item) for item in items], np.int64))
        sizes = np.diff(words.offsets)
        counts = np.where(sizes >= settings.min_words, np.maximum(sizes - settings.ngram + 1, 1), 0)
        text_of = np.repeat(np.arange(len(sizes)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        starts = words.offsets[text_of] + within
        lengths = np.minimum(sizes[text_of], settings.ngram)
        return cls(
            span_hashes(sums, starts, starts + lengths),
            lengths,
            span_hashes(sums, starts, starts + settings.min_words),
            item_of[text_of],
        )

    def at(self, numbers: np.ndarray) -> _Runs:
        """Return some of them."""
        return _Runs(*(column[numbers] for column in self))
