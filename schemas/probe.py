"""The probe report: a base model's own domain distribution, with intervals."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from schemas.document import Document, Part


class ModelRecord(Part):
    """Which model, exactly."""

    name: str = Field(description="folder name or hub id; not part of any check")
    revision: str | None
    weights_sha256: str = Field(description="of the sorted (file name, sha256) pairs of its weight and config files")


class Estimate(Part):
    """One estimate of the distribution; vectors are in taxonomy order and shares of documents."""

    name: Literal["soft", "hard"]
    shares: list[float]
    standard_errors: list[float]
    lower: list[float] = Field(description="simultaneous interval, lower ends")
    upper: list[float] = Field(description="simultaneous interval, upper ends")


class ProbeReport(Document):
    """What the base model writes about when nobody asks."""

    KIND: ClassVar[str] = "versatune/probe"
    FORMAT_VERSION: ClassVar[int] = 3
    OUTSIDE_DIGEST: ClassVar[frozenset[str]] = frozenset({"created_at", "environment", "generations"})

    created_at: str
    environment: dict[str, Any] = Field(description="engine, versions, tokens per second, reused generations")
    domains: list[str]
    model: ModelRecord
    prompt_token_id: int
    prompt_token: str
    sampling: dict[str, Any] = Field(description="temperature, top_p, repetition_penalty, max_new_tokens")
    seed: int
    samples: int = Field(description="generations drawn")
    counted: int = Field(description="generations that entered the estimates")
    rejected: dict[str, int] = Field(description="generations left out, by reason")
    undetermined: int = Field(description="counted generations whose highest probability is below undetermined_below")
    undetermined_below: float = Field(description="the classifier's threshold: below it no domain can be relied on")
    finish_reasons: dict[str, int]
    alpha: float
    estimates: list[Estimate]
    chosen: Literal["soft", "hard"] = Field(description="the estimate that a mixture uses")
    classifier_sha256: str
    generations: str = Field(description="the labelled generations, a Parquet file relative to this one")

    @property
    def estimate(self) -> Estimate:
        """The estimate that a mixture uses."""
        return next(estimate for estimate in self.estimates if estimate.name == self.chosen)

    @property
    def distribution(self) -> list[float]:
        """The chosen estimate's shares, in taxonomy order."""
        return self.estimate.shares
