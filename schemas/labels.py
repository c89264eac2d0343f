"""The label record: what a judge said of some texts, and how far the classifier and given domains agree with it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from versatune.schemas.document import Document, Part
from versatune.schemas.inside import InsidePath
from versatune.schemas.model_facts import ModelFacts


class LabelFile(Part):
    """One file of labelled rows beside the record."""

    path: InsidePath = Field(description="relative to the record")
    rows: int
    sha256: str


class LabelInput(Part):
    """One file that was read."""

    path: str
    rows: int
    sha256: str


class JudgeRecord(Part):
    """Which model judged, exactly."""

    backend: Literal["vllm", "endpoint"]
    name: str = Field(description="folder name, hub id, or the name that the endpoint knows")
    weights_sha256: str | None = Field(
        description="of its weight, configuration and tokenizer files; null for an endpoint"
    )
    endpoint: str | None
    dtype: str | None = Field(description="as configured; null for an endpoint")


class Agreement(Part):
    """How far the judge's domains agree with others; over rows that have both."""

    rows: int
    accuracy: float | None = Field(description="share of rows with the same domain; null without rows")
    kappa: float | None = Field(description="Cohen's kappa; null where it is not defined")
    determined_rows: int = Field(description="of these rows, those that the judge is sure of")
    determined_accuracy: float | None
    table: list[list[int]] = Field(description="[judge][other] rows, in taxonomy order")


class LabelReport(Document):
    """What a judge said. Rows in = labelled + undetermined + left out."""

    KIND: ClassVar[str] = "versatune/labels"
    MADE_BY: ClassVar[str] = "versatune label FILE"
    OUTSIDE_DIGEST: ClassVar[frozenset[str]] = frozenset({"created_at", "environment", "judge_facts", "inputs"})

    created_at: str
    environment: dict[str, Any] = Field(
        description="engine, tokens and rows per second, answers that were kept from before"
    )
    inputs: list[LabelInput]
    domains: list[str]
    judge: JudgeRecord
    judge_facts: ModelFacts | None = Field(
        default=None, description="what the files of a judge say; null behind an endpoint"
    )
    questions: dict[str, Any] = Field(
        description="codes, and for each order of them what stands before and after the text"
    )
    prompt_sha256: str = Field(description="of the questions as the model gets them, with chat template and tokenizer")
    rotations: list[int] = Field(description="in each order the i-th code stands for domain (i + rotation) mod k")
    text_tokens: int = Field(
        description="of a text, so many tokens are shown; for an endpoint, four times as many characters"
    )
    undetermined_below: float
    rows: int = Field(description="rows read")
    texts: int = Field(description="different texts among them, each judged once")
    labelled: LabelFile
    undetermined: LabelFile
    left_out: int = Field(description="rows of a probe that it did not count")
    empty: int = Field(description="undetermined rows whose text is blank; nobody was asked")
    rows_by_domain: dict[str, int] = Field(description="labelled rows")
    unknown_given: int = Field(description="rows whose own domain is not in the taxonomy")
    unlisted_codes: int = Field(description="numbers that are bounds, because an endpoint did not list the code")
    position_bias: float | None = Field(
        description="mean over texts of the largest gap between the orders' probabilities of one domain; 0 to 1"
    )
    same_choice: float | None = Field(description="share of texts with the same most probable domain in every order")
    classifier_sha256: str | None
    fasttext: Agreement | None = Field(description="with the classifier; null where there is none for this taxonomy")
    given: Agreement | None = Field(description="with the rows' own domains; null where no row has one")
