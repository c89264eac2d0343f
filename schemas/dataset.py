"""The manifest of a dataset version: the only contract between ETL and everything after it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from schemas.document import Document, Part
from schemas.taxonomy import Taxonomy

SPLITS = ("train", "validation")


class Shard(Part):
    """One Parquet file."""

    path: str = Field(description="relative to the manifest's directory")
    split: Literal["train", "validation"]
    domain: str
    rows: int
    tokens: int = Field(description="0 when the dataset is not tokenized")
    loss_tokens: int
    bytes: int
    sha256: str
    licenses: list[str]


class RejectFile(Part):
    """One Parquet file of rejected rows."""

    path: str
    rows: int
    bytes: int
    sha256: str


class InputFile(Part):
    """One raw file that was read."""

    source: str
    uri: str = Field(description="as the configuration gives it: relative to its directory, or a full URI")
    bytes: int
    sha256: str
    rows: int


class SourceBooks(Part):
    """What became of a source's rows: read = written + duplicates + sum of rejected, exactly."""

    source: str
    read: int
    written: dict[str, int] = Field(description="rows by domain")
    duplicates: int
    rejected: dict[str, int] = Field(description="rows by '<stage>.<reason>'")

    @model_validator(mode="after")
    def _balance(self) -> Self:
        accounted = sum(self.written.values()) + self.duplicates + sum(self.rejected.values())
        if accounted != self.read:
            raise ValueError(
                f"books of source '{self.source}' do not balance: {self.read} rows read, {accounted} accounted for"
                f" ({sum(self.written.values())} written, {self.duplicates} duplicates,"
                f" {sum(self.rejected.values())} rejected)"
            )
        return self


class ClassifierRecord(Part):
    """The classifier that chose the domains."""

    sha256: str
    labels: list[str]
    confusion: list[list[int]] | None = Field(description="[predicted][true] rows on held-out data; null if unknown")


class TokenizerRecord(Part):
    """The tokenizer and chat template that made ``input_ids`` and ``loss_mask``."""

    name: str = Field(description="model folder's name or hub id; not part of any check")
    sha256: str = Field(description="of the tokenizer's serialised form")
    chat_template_sha256: str
    max_tokens: int


class DatasetManifest(Document):
    """A dataset version: what it holds, where it comes from, and the books."""

    KIND: ClassVar[str] = "versatune/dataset"
    OUTSIDE_DIGEST: ClassVar[frozenset[str]] = frozenset({"version", "created_at", "environment"})

    name: str
    version: str
    created_at: str = Field(description="UTC, ISO 8601")
    environment: dict[str, Any] = Field(description="runner, workers, versions: what may differ between equal builds")
    schema_version: int
    code_version: str
    taxonomy: Taxonomy
    classifier: ClassifierRecord
    tokenizer: TokenizerRecord | None
    inputs: list[InputFile]
    books: list[SourceBooks]
    shards: list[Shard]
    rejects: list[RejectFile]
    config: dict[str, Any] = Field(description="the configuration that decides the rows")

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
