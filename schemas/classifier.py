"""The configuration of `versatune classifier train`: which rows, in what shares, and how fastText learns from them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from versatune.schemas.config import Name, PositiveInt, Section, Share
from versatune.schemas.taxonomy import DEFAULT_TAXONOMY, Taxonomy


class RowGroup(Section):
    """Training rows of one kind."""

    name: Name
    """Name in the card; rows of ``texts`` and ``terms`` have it as their source."""
    files: list[str] = Field(min_length=1)
    """Paths or globs relative to this file; ``${NAME}`` stands for an environment variable."""
    form: Literal["rows", "texts", "terms"] = "rows"
    """rows: JSON Lines (.gz) of {text, domain, source}. texts: files named ``<language>-<domain>.txt``, one text a line (``\\n`` is
    a line break, a line that starts with ``# `` a heading). terms: files named alike, one term a line, put into ``templates``."""
    templates: str | None = None
    """For terms: a file with one template a line, in which {0} to {4} stand for terms; all domains share the templates."""
    share: Annotated[float, Field(gt=0.0)] = 1.0
    """Part of each domain's training lines, relative to the other groups that have rows of the domain."""
    balance: Share = 0.5
    """How sources share a group's lines: in proportion to rows to the power of this (1: by size, 0: all alike)."""
    hold_out: Share = 0.0
    """For rows: part of them, chosen by a hash of the text, that is not trained on but measured, as ``held_out`` files are."""

    @model_validator(mode="after")
    def _form(self) -> Self:
        if (self.form == "terms") != (self.templates is not None):
            raise ValueError("'templates' goes with form: terms, and only with it")
        if self.hold_out and self.form != "rows":
            raise ValueError("'hold_out' goes with form: rows; texts and terms are not measured")
        return self


class FastTextSettings(Section):
    """fastText's own settings; ``search`` changes some of them."""

    lr: Annotated[float, Field(gt=0.0)] = 0.8
    """Learning rate at the start; it falls to 0 along a line."""
    dim: PositiveInt = 16
    """Numbers in a vector."""
    epoch: PositiveInt = 5
    """Times each line is read."""
    word_ngrams: PositiveInt = 2
    """Longest run of words that has a vector of its own."""
    min_chars: Annotated[int, Field(ge=0)] = 4
    """Shortest part of a word that has a vector; 0 with ``max_chars`` 0: words only."""
    max_chars: Annotated[int, Field(ge=0)] = 6
    """Longest part of a word that has a vector."""
    buckets: PositiveInt = 100_000
    """Vectors that parts of words and runs of words share."""
    min_count: PositiveInt = 1
    """Words that occur more seldom have no vector."""
    dsub: PositiveInt = 2
    """Numbers of a vector that one byte of the quantised model stands for."""


class SearchSettings(Section):
    """A search for better fastText settings, by what they are worth on sources left out of training."""

    trials: Annotated[int, Field(ge=0)] = 0
    """Settings to try besides the given ones; each is trained several times, without one source of every domain at a time."""
    lr: list[Annotated[float, Field(gt=0.0)]] = Field(default=[0.3, 0.5, 0.8, 1.2], min_length=1)
    """Values to draw from."""
    dim: list[PositiveInt] = Field(default=[8, 16, 32], min_length=1)
    """Values to draw from."""
    epoch: list[PositiveInt] = Field(default=[5, 10, 20], min_length=1)
    """Values to draw from."""
    word_ngrams: list[PositiveInt] = Field(default=[1, 2], min_length=1)
    """Values to draw from."""
    buckets: list[PositiveInt] = Field(default=[50_000, 100_000, 200_000], min_length=1)
    """Values to draw from."""


class ClassifierTraining(Section):
    """Everything that decides a classifier. Relative paths are relative to the file that holds them."""

    output: str = "classifier"
    """Directory for domains.ftz and its card domains.json."""
    page: str | None = None
    """Where the card goes as a page for people, its plots in images/ beside it; card.md in the output when absent."""
    taxonomy: Taxonomy = DEFAULT_TAXONOMY
    """The domains."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Every random choice derives from it."""
    train: list[RowGroup] = Field(min_length=1)
    """What to learn from."""
    held_out: list[str] = Field(default=[])
    """Labelled rows to measure the finished model on; never trained on, nor chosen by."""
    exclude_sources: list[str] = Field(default=[])
    """Sources whose rows are not trained on: they are measured as unseen sources."""
    licences: str | None = None
    """A JSON file that says of every source its ``licence``, whether to ``use`` it (false: excluded), and the ``reason``; perhaps
    a ``note`` for readers of the card."""
    licence: str | None = None
    """Licence of the model file, for the card."""
    remarks: str | None = None
    """What readers of the card should know besides."""
    rows_per_domain: PositiveInt = 3000
    """Training lines of each domain: rows are sampled or repeated to this many, so that no domain is favoured."""
    fasttext: FastTextSettings = FastTextSettings()
    """How fastText learns."""
    search: SearchSettings = SearchSettings()
    """Whether to look for better settings."""
    precision: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.92
    """What share of the determined rows of unseen sources has to be right; decides the threshold of ``undetermined``."""
    max_bytes: PositiveInt = 3_000_000
    """The quantised model may not be larger."""

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [group.name for group in self.train]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(
                    f"two groups of 'train' are named '{name}'; give each its own name, or list their files under one"
                )
        return self
