"""What a build would make of a file, without building: shapes, rows before and after, problems, a field map to paste."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from versatune.schemas.config import Config, FieldMap, SourceConfig
from versatune.schemas.dataset import FieldUse
from versatune.transforms.cleaning.tails import count_tail, tail_advice
from versatune.transforms.formats.blocks import HEAD
from versatune.transforms.formats.compressed import codec_of
from versatune.transforms.formats.detect import ARROW, DELIMITED, JSON, LINES, PARQUET, extensions, text_kind
from versatune.transforms.formats.fault import FormatError
from versatune.transforms.formats.hub import SCHEME
from versatune.transforms.formats.option_proposal import Proposal, propose_options
from versatune.transforms.reading.field_use import absent_field, absent_fields, field_uses, unused_texts
from versatune.transforms.reading.read import plan_inputs, read_rows
from versatune.transforms.shapes import unanswered
from versatune.transforms.shapes.base import NORMALIZE_REASONS, READ_REASONS, Example, Row, RowError, shown_keys
from versatune.transforms.shapes.base import plain_name as plain
from versatune.transforms.shapes.columns import are_few
from versatune.transforms.shapes.conversation import parse_row, read_examples
from versatune.transforms.shapes.field_advice import ADVISED, advice
from versatune.transforms.shapes.field_audit import FieldAudit
from versatune.transforms.shapes.field_proposal import propose_fields
from versatune.transforms.shapes.field_yaml import source_yaml
from versatune.transforms.shapes.registry import SHAPES, detect_layout
from versatune.transforms.transport.batch import InputSplit, RawBatch, RowFault
from versatune.transforms.transport.storage import open_stored

PREVIEWS = 3
_INSPECT = "inspect"
_SOURCE = f"source '{_INSPECT}': "  # the one of the file: nobody else knows it
_READING = tuple(shape for shape in SHAPES if shape is not unanswered)
_FIELD_MAP = "field map"
_SHOWN_LAYOUTS = 3
_LOOKED_AT = 8  # files, for options


class ShapeScore(NamedTuple):
    """How well a shape fits the sampled rows."""

    name: str
    matches: float
    """Share of the rows that have its fields."""
    reads: float
    """Share of the rows that it reads without an error."""


class Preview(NamedTuple):
    """A row before and after."""

    row: int
    """Row number in the file or its part."""
    before: bytes
    """As it was read."""
    after: list[Example]
    error: RowError | None
    """Why there is nothing after."""


class Problem(NamedTuple):
    """Rows that would be rejected for one reason."""

    reason: str
    meaning: str
    rows: int
    row: int
    """One of them: its number in the file."""
    detail: str
    """What is wrong with that one."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What was found in a file or a folder."""

    uri: str
    container: str
    """Format of the (first) file, such as ``gzip, JSON Lines``."""
    files: int
    rows: int
    """Sampled."""
    complete: bool
    """The sample is everything."""
    examples: int
    """That the sampled rows give."""
    refused: list[str]
    """Files that cannot be read, each with what to do."""
    scores: list[ShapeScore]
    """Of the shapes that fit any row, best first."""
    detected: list[tuple[str, int]]
    """What reads the rows, and how many of them."""
    fields: FieldMap | None
    """The field map in use."""
    proposed: FieldMap | None
    """A field map to try: on the most frequent rows that fit no shape, or where the one that fits leaves out a number's unit."""
    source: str
    """The source as YAML for the configuration, with what is proposed; empty where nothing is."""
    field_uses: list[FieldUse]
    """Which fields went into the examples of the sampled rows, and which texts did not; without a source's name."""
    advice: list[str]
    """What to do, in sentences; empty if all is well."""
    previews: list[Preview]
    problems: list[Problem]


class _Sampled(NamedTuple):
    number: int
    payload: bytes | RowFault


def inspect_file(
    path_or_split: str | Path | InputSplit, fields: FieldMap | None = None, sample: int = 200
) -> Inspection:
    """Read some rows as a build would, and tell what becomes of them.

    Args:
        path_or_split: a file, a folder or a glob; of several files or parts each gives its first rows.
        fields: a field map to try in place of detection.
        sample: rows to read at most.

    Raises:
        DataError: no such file.
    """
    left_out: list[str] = []
    splits = [path_or_split] if isinstance(path_or_split, InputSplit) else _splits(str(path_or_split), left_out.append)
    notes: dict[str, str] = {}
    rows, refused, complete = _sample(splits, sample, notes)
    outcome = _Outcome(fields)
    for row in rows:
        outcome.add(row)
    strange = outcome.strange_layouts()
    counts = outcome.audit.counted()
    uses = field_uses({"": counts})
    uri = str(path_or_split) if not isinstance(path_or_split, InputSplit) else path_or_split.uri
    proposed = propose_fields(strange[0]) if strange else outcome.with_unit()
    options = _options(splits)
    pasted = {name: value for _, option in options if option.sure for name, value in option.options.items()}
    pasted |= {"fields": proposed} if proposed and not pasted else {}
    return Inspection(
        uri=uri,
        container=container_of(splits[0]) if splits else "",
        files=len({split.uri for split in splits}),
        rows=len(rows),
        complete=complete,
        examples=outcome.examples,
        refused=refused,
        scores=shape_scores(outcome.parsed) if fields is None else [],
        detected=outcome.detected.most_common(),
        fields=fields,
        proposed=proposed,
        source=source_yaml(uri, pasted) if pasted else "",
        field_uses=uses,
        advice=[
            *(line.removeprefix(_SOURCE) for line in left_out),
            *(f"{uri}: {option}" for uri, option in options),
            *(f"{uri}: {note}" for uri, note in notes.items() if uri not in dict(options)),
            *outcome.advice(strange, proposed),
            *(absent_field(path, counts.fields) for path in absent_fields(counts)),
            *(line for _, line in unused_texts(uses, {"": len(rows)})),
            *outcome.said_of_tails(),
        ],
        previews=outcome.previews,
        problems=outcome.problems(),
    )


def _options(splits: Sequence[InputSplit]) -> list[tuple[str, Proposal]]:
    """Return what the first files seem to need in their source's options, each option once, with a file that does."""
    found = {str(option): (split.uri, option) for split in splits[:_LOOKED_AT] for option in propose_options(split)}
    return list(found.values())


class _Outcome:
    """What became of the sampled rows."""

    def __init__(self, fields: FieldMap | None) -> None:
        self._fields = fields
        self.audit = FieldAudit(fields)
        self._errors: list[tuple[int, RowError]] = []
        self._answers: list[str] = []
        self._strange: list[dict[str, Any]] = []
        self._read: Counter[tuple[str, ...]] = Counter()
        self.parsed: list[dict[str, Any]] = []
        self.detected: Counter[str] = Counter()
        self.examples = 0
        self._tails: Counter[str] = Counter()
        self.previews: list[Preview] = []

    def add(self, sampled: _Sampled) -> None:
        number, payload = sampled
        found: list[Example] = []
        error = RowError(payload.reason, payload.detail) if isinstance(payload, RowFault) else None
        if not isinstance(payload, RowFault):
            faults: list[tuple[int, RowError]] = []
            try:
                row = parse_row(payload)
                self.parsed.append(row)
                found = read_examples(payload, self._fields, faults, self.audit)
            except RowError as raised:
                error = raised
                if raised.reason in ADVISED and self._fields is None:
                    self._strange.append(row)
            else:
                self._read[tuple(row)] += 1
                self.detected[_FIELD_MAP if self._fields is not None else _reader(row)] += 1
                self._errors += [(number, fault) for _, fault in faults]
        if error is not None:
            self._errors.append((number, error))
        self.examples += len(found)
        for example in found:
            count_tail(example, self._tails)
        self._answers += [example.messages[-1][1] for example in found if example.messages[-1][0] == "assistant"]
        if len(self.previews) < PREVIEWS:
            before = payload.head if isinstance(payload, RowFault) else payload
            self.previews.append(Preview(number, before, found, error))

    def problems(self) -> list[Problem]:
        counts = Counter(error.reason for _, error in self._errors)
        first = {error.reason: (row, error.detail) for row, error in reversed(self._errors)}
        meanings = {**READ_REASONS, **NORMALIZE_REASONS}
        return [
            Problem(reason, meanings.get(reason, ""), count, *first[reason]) for reason, count in counts.most_common()
        ]

    def strange_layouts(self) -> list[list[dict[str, Any]]]:
        """Return the rows whose fields mostly give nothing, those with the same fields together, the most rows first."""
        layouts: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for row in self._strange:
            layouts.setdefault(tuple(row), []).append(row)
        found = [rows for names, rows in layouts.items() if len(rows) > self._read[names]]
        return sorted(found, key=len, reverse=True)

    def with_unit(self) -> FieldMap | None:
        """Return a map that joins the answer and its unit, where the rows are read and have one."""
        proposed = propose_fields(self.parsed) if self._fields is None and self.parsed else None
        return proposed if proposed and "{" in (proposed.completion or "") else None

    def advice(self, strange: list[list[dict[str, Any]]], proposed: FieldMap | None) -> list[str]:
        told = [
            (f"{len(rows)} rows with the fields {shown_keys(rows[0])}: " if len(rows) < len(self.parsed) else "")
            + advice(propose_fields(rows), rows)
            for rows in strange[:_SHOWN_LAYOUTS]
        ]
        if len(strange) > 1 or (strange and len(strange[0]) < len(self.parsed)):
            told.append("A field map counts for all of a source: put files that need one into a source of their own.")
        if proposed and not strange:
            told.append(f"The answers are numbers, and their unit is not learned. {advice(proposed, self.parsed)}")
        if are_few(self._answers):
            told.append(
                f"The answers are only {len(set(self._answers))} different short texts. Check that each prompt says what is"
                " asked; if it does not, the rows teach a model to answer so to any such text."
            )
        return told

    def said_of_tails(self) -> Iterator[str]:
        """Yield a line if many answers end with a literal end marker."""
        advice = tail_advice(_INSPECT, self._tails, self.examples)
        if advice:
            yield advice.removeprefix(_SOURCE)


def _reader(row: Row) -> str:
    """Name the shape that reads a row which can be read."""
    layout = detect_layout(tuple(row))
    row = {plain(name): value for name, value in row.items()} if layout.plain_names else row
    for shape in layout.shapes:
        try:
            shape.to_examples(row)
        except RowError:
            continue
        return shape.NAME
    return "qa_pairs"


def shape_scores(rows: Sequence[Row]) -> list[ShapeScore]:
    """Return how well each shape fits the rows, those that fit none left out, best first."""
    matches: Counter[str] = Counter()
    reads: Counter[str] = Counter()
    for row in rows:
        plain_row = {plain(name): value for name, value in row.items()}
        for shape in _READING:
            form = next((form for form in (row, plain_row) if shape.matches(form)), None)
            if form is None:
                continue
            matches[shape.NAME] += 1
            try:
                reads[shape.NAME] += any(isinstance(item, Example) for item in shape.to_examples(form))
            except RowError:
                continue
    scores = [ShapeScore(name, matches[name] / len(rows), reads[name] / len(rows)) for name in matches]
    return sorted(scores, key=lambda score: (-score.reads, -score.matches))


def _splits(path: str, say: Callable[[str], None]) -> list[InputSplit]:
    return plan_inputs(Config(name=_INSPECT, sources=[SourceConfig(name=_INSPECT, files=[path])]), say)


def _sample(splits: Sequence[InputSplit], sample: int, notes: dict[str, str]) -> tuple[list[_Sampled], list[str], bool]:
    """Return the first rows of each split, what was refused, and whether that is everything; note what is said of files read to their ends."""
    rows: list[_Sampled] = []
    refused: list[str] = []
    complete = True
    each = max(1, -(-sample // max(1, len(splits))))
    for split in splits:
        if len(rows) >= sample:
            return rows, refused, False
        wanted = min(each, sample - len(rows))
        found: list[_Sampled] = []
        with closing(_until_refused(split, wanted, refused, notes)) as batches:
            for batch in batches:
                found += [_Sampled(batch.first + place, payload) for place, payload in enumerate(batch.payloads)]
                if len(found) > wanted:
                    complete = False
                    break
        rows += islice(found, wanted)
    return rows, refused, complete


def _until_refused(
    split: InputSplit, wanted: int, refused: list[str], notes: dict[str, str]
) -> Generator[RawBatch, None, None]:
    record = yield from read_rows(split, batch_rows=wanted + 1)
    if record.note:
        notes[split.uri] = record.note
    if record.refused:
        refused.append(record.refused.removeprefix(_SOURCE))


def container_of(split: InputSplit) -> str:
    """Name a file's format, and its compression."""
    if split.location.startswith(SCHEME):
        return "dataset of the Hugging Face hub"
    name = split.member or split.location
    extension, _ = extensions(name)
    with closing(open_stored(split.location)) as file:
        head = file.read(HEAD)
    codec = "zip" if split.member else codec_of(head)
    return f"{codec}, {_by_name(extension)}" if codec else _by_content(head, name, extension)


def _by_content(head: bytes, name: str, extension: str) -> str:
    if head.startswith(b"PAR1"):
        return "Parquet"
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")) or extension in ARROW:
        return "Arrow"
    try:
        kind = text_kind(head.removeprefix(b"\xef\xbb\xbf"), name, whole=len(head) < HEAD)
    except FormatError:
        return "unknown"
    return {"lines": "JSON Lines", "document": "JSON", "text": "plain text"}.get(kind) or _by_name(extension)


def _by_name(extension: str) -> str:
    if extension in DELIMITED:
        return {".csv": "CSV", ".tsv": "TSV"}.get(extension, "delimited text")
    if extension in PARQUET | ARROW:
        return "Parquet" if extension in PARQUET else "Arrow"
    if extension in JSON:
        return "JSON Lines" if extension in LINES else "JSON"
    return "plain text"
