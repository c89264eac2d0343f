"""The manifest of a dataset version: the only contract between ETL and everything after it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from versatune.schemas.document import Document, Part
from versatune.schemas.inside import InsidePath
from versatune.schemas.model_facts import ModelFacts
from versatune.schemas.taxonomy import Taxonomy
from versatune.schemas.template_record import THOUGHTS_LEFT_OUT, TemplateRecord

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = get_args(Split)

# Names of counts, in fragments and in the books.
EXPANDED = "expanded"
REPAIRED = "repaired"
DECONTAMINATE = "decontaminate."
"""Before a benchmark's name."""
TAIL = "tail."
"""Before an end marker that the last answer of examples ends with."""
DROPPED_TAIL = "dropped_tail."
"""Before an end marker that was taken off."""

OTHER_FIELDS = "(all other fields)"
"""In place of a field's path: what a source with hundreds of field names has beside those that are listed."""


class Shard(Part):
    """One Parquet file."""

    path: InsidePath = Field(description="relative to the manifest's directory")
    split: Split
    domain: str
    rows: int
    tokens: int = Field(description="0 when the dataset is not tokenized")
    loss_tokens: int
    bytes: int
    sha256: str
    licenses: list[str]


class SideFile(Part):
    """One Parquet file beside the data: rejected rows, lineage, near-duplicates."""

    path: InsidePath = Field(description="relative to the manifest's directory")
    rows: int
    bytes: int
    sha256: str


class InputFile(Part):
    """One raw file that was read, or refused as a whole."""

    source: str
    uri: str = Field(description="as the configuration gives it: relative to its directory, or a full URI")
    bytes: int
    sha256: str
    rows: int = Field(description="0 when it was refused")
    license: str
    refused: str = Field(description="why none of its rows is in the dataset; empty when it was read")
    note: str = Field(default="", description="what was decided about it without being sure; empty when nothing was")


class SourceBooks(Part):
    """What became of a source's rows: read + expanded = written + duplicates + near_duplicates + rejected, exactly."""

    source: str
    read: int = Field(description="rows in the files")
    expanded: int = Field(description="examples beyond one for each row that was read")
    written: dict[str, int] = Field(description="examples by domain")
    duplicates: dict[str, int] = Field(description="exact duplicates of a written example, by domain")
    near_duplicates: dict[str, int] = Field(description="near-duplicates of a written example, by domain")
    undetermined: dict[str, int] = Field(description="written examples whose domain cannot be relied on, by domain")
    rejected: dict[str, int] = Field(description="by '<stage>.<reason>'")
    counts: dict[str, int] = Field(description="what cleaning did to rows, and benchmark hits, by kind")
    cut: dict[str, int] = Field(default_factory=dict, description="written examples cut at max_tokens, by domain")
    cut_tokens: dict[str, int] = Field(
        default_factory=dict, description="tokens that were cut off them, at least so many, by domain"
    )

    @model_validator(mode="after")
    def _balance(self) -> Self:
        parts = {
            name: sum(getattr(self, name).values()) for name in ("written", "duplicates", "near_duplicates", "rejected")
        }
        if sum(parts.values()) != self.read + self.expanded:
            raise ValueError(
                f"books of source '{self.source}' do not balance: {self.read} rows read and {self.expanded} more examples in"
                f" them, {sum(parts.values())} accounted for ({', '.join(f'{rows} {name}' for name, rows in parts.items())})"
            )
        for domain, rows in self.undetermined.items():
            if rows > self.written.get(domain, 0):
                raise ValueError(
                    f"books of source '{self.source}': {rows} examples of {domain} are undetermined, only"
                    f" {self.written.get(domain, 0)} are written"
                )
        return self


class FieldUse(Part):
    """In how many of a source's rows a field went into examples, and in how many it holds text that did not."""

    source: str
    field: str = Field(
        description="its path; of what lies in a field that was used only the unused is listed, items of a list as 'messages[].note'"
    )
    used: int = Field(description="rows in which its value was read, or stands in the examples anyway")
    unused: int = Field(description="rows in which it holds text that is in no example")
    prose: int = Field(description="rows, of the unused, in which its text has several words")
    mapped: int | None = Field(description="rows that have it, where the source's field map names it; else null")


class BenchmarkRecord(Part):
    """An evaluation set that was looked for in the rows."""

    name: str
    items: int = Field(description="texts in it")
    too_short: int = Field(description="texts too short to be looked for")
    hits: int = Field(description="rows rejected because they share text with it")


class DecontaminationRecord(Part):
    """What the dataset is clean of."""

    digest: str = Field(description="sha256 of everything that was looked for")
    benchmarks: list[BenchmarkRecord]


class RepairRecord(Part):
    """Rows that took the place of rejected ones."""

    sha256: str = Field(description="of the repaired rows")
    rows: int = Field(description="repaired rows given")
    used: int = Field(description="rejected rows that one of them replaced")


class ClassifierRecord(Part):
    """The classifier that chose the domains, and what its card says of its errors; null where the card does not tell."""

    sha256: str
    labels: list[str]
    undetermined_below: float = Field(description="an example whose highest probability is lower is undetermined")
    confusion: list[list[int]] | None = Field(
        description="[predicted][true] rows of sources that the model was not trained on"
    )
    precision_determined: float | None = Field(
        description="share of right domains among determined rows of such sources"
    )
    unseen_ece: float | None = Field(description="expected calibration error on such sources")


class TokenizerRecord(Part):
    """The tokenizer and chat template that made ``input_ids`` and ``loss_mask``."""

    name: str = Field(description="model folder's name or hub id; not part of any check")
    sha256: str = Field(description="of the tokenizer's serialised form")
    chat_template_sha256: str
    max_tokens: int
    template: TemplateRecord


class DatasetManifest(Document):
    """A dataset version: what it holds, where it comes from, and the books."""

    KIND: ClassVar[str] = "versatune/dataset"
    MADE_BY: ClassVar[str] = "versatune build CONFIG"
    FORMAT_VERSION: ClassVar[int] = 5
    # Where rows came from is not what the dataset is: the same rows from other files make the same dataset.
    OUTSIDE_DIGEST: ClassVar[frozenset[str]] = frozenset(
        {"version", "created_at", "environment", "parent", "model", "inputs", "fields", "rejects", "lineage"}
    )

    name: str
    version: str
    created_at: str = Field(description="UTC, ISO 8601")
    environment: dict[str, Any] = Field(description="runner, workers, versions: what may differ between equal builds")
    parent: str | None = Field(description="digest of the version that this one continues")
    schema_version: int
    code_version: str
    taxonomy: Taxonomy
    classifier: ClassifierRecord
    tokenizer: TokenizerRecord | None
    model: ModelFacts | None = Field(default=None, description="the model whose tokenizer that is; null without tokens")
    inputs: list[InputFile]
    books: list[SourceBooks]
    fields: list[FieldUse] = Field(
        description="by source, the fields that went into examples, and those whose texts did not, the most unused first"
    )
    shards: list[Shard]
    near_duplicates: SideFile | None = Field(
        description="which examples were dropped for which; null when not looked for"
    )
    decontamination: DecontaminationRecord | None
    repairs: RepairRecord | None
    rejects: list[SideFile]
    lineage: list[SideFile]
    config: dict[str, Any] = Field(description="the configuration that decides the rows")

    @property
    def side_files(self) -> list[SideFile]:
        """Every file beside the data."""
        return [*self.rejects, *self.lineage, *([self.near_duplicates] if self.near_duplicates else [])]

    @property
    def files(self) -> list[Shard | SideFile]:
        """Every file of the version but the manifest and the card."""
        return [*self.shards, *self.side_files]

    @property
    def cut_rows(self) -> int:
        """Written rows that were cut at the tokenizer's max_tokens."""
        return sum(sum(book.cut.values()) for book in self.books)

    @property
    def cut_tokens(self) -> int:
        """Tokens that were cut off these rows, at least so many."""
        return sum(sum(book.cut_tokens.values()) for book in self.books)

    @property
    def rows_that_lose_thoughts(self) -> int:
        """Rows with thoughts that the chat template does not write."""
        return sum(book.counts.get(THOUGHTS_LEFT_OUT, 0) for book in self.books)

    @property
    def undetermined_rows(self) -> dict[str, int]:
        """Written rows whose domain cannot be relied on, by domain, every domain present."""
        return {domain: sum(b.undetermined.get(domain, 0) for b in self.books) for domain in self.taxonomy.domains}

    @property
    def undetermined_shares(self) -> dict[str, float | None]:
        """What share of each domain's written rows is undetermined; None for a domain without rows."""
        written = {domain: sum(book.written.get(domain, 0) for book in self.books) for domain in self.taxonomy.domains}
        return {d: rows / written[d] if written[d] else None for d, rows in self.undetermined_rows.items()}

    def totals(self, split: str) -> dict[str, dict[str, int]]:
        """Return ``{domain: {rows, tokens, loss_tokens}}`` of a split, every domain present."""
        out = {domain: {"rows": 0, "tokens": 0, "loss_tokens": 0} for domain in self.taxonomy.domains}
        for shard in self.shards:
            if shard.split == split:
                for unit, amount in (
                    ("rows", shard.rows),
                    ("tokens", shard.tokens),
                    ("loss_tokens", shard.loss_tokens),
                ):
                    out[shard.domain][unit] += amount
        return out
