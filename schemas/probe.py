"""The probe report: a base model's own domain distribution, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from versatune.schemas.document import Document, Part
from versatune.schemas.inside import InsidePath
from versatune.schemas.model_facts import ModelFacts

EstimateName = Literal["soft", "hard", "corrected", "em"]


class ModelRecord(Part):
    """Which model, exactly; of one behind an endpoint, what the endpoint calls it."""

    name: str = Field(description="folder name, hub id or the endpoint's name; not part of any check")
    revision: str | None
    weights_sha256: str | None = Field(
        description="of the sorted (file name, sha256) pairs of its weight and config files; null behind an endpoint"
    )
    endpoint: str | None = Field(default=None, description="address of the API that generated; null for an own engine")


class Estimate(Part):
    """One estimate of the distribution; vectors are in taxonomy order and shares of documents."""

    name: EstimateName
    shares: list[float]
    standard_errors: list[float] = Field(description="of sampling and, where it is known, of the labels")
    sampling_errors: list[float] = Field(
        description="standard errors of sampling alone: what more samples make smaller"
    )
    lower: list[float] = Field(description="interval, lower ends: for all domains and planned looks at once")
    upper: list[float] = Field(description="interval, upper ends")
    covers: Literal["sampling and labels", "sampling"] = Field(description="which errors the interval allows for")


class Rounds(Part):
    """How the probe was to go on, and when it was to stop; fixed before the first sample."""

    samples_per_round: int
    min_rounds: int
    max_rounds: int
    half_width: float | None = Field(description="widest half-width to stop at; null: no stop before the last round")
    max_change: float = Field(description="largest change of a share since the round before to stop at")

    @property
    def planned_looks(self) -> int:
        """How many looks may end the probe: intervals hold for all of them at once."""
        return 1 if self.half_width is None else self.max_rounds


class Look(Part):
    """The chosen estimate after one round; vectors are in taxonomy order."""

    round: int
    samples: int = Field(description="drawn so far")
    counted: int = Field(description="of those, in the estimate")
    shares: list[float]
    half_widths: list[float] = Field(description="of sampling alone, for all domains and planned looks at once")
    change: float | None = Field(description="largest change of a share since the round before")
    stop: bool


class Unlabelled(Part):
    """What the hard shares could be if every sample that was left out had a domain, one and the same."""

    lower: list[float]
    upper: list[float]


class TokenShares(Part):
    """The chosen estimate as shares of tokens: a domain's documents times their mean length."""

    shares: list[float]
    mean_tokens: list[float] = Field(description="generated tokens of a counted sample, by domain")
    truncated: float = Field(
        description="share of counted samples that reached max_new_tokens: lengths are at least this"
    )


class ProbeReport(Document):
    """What the base model writes about when nobody asks."""

    KIND: ClassVar[str] = "versatune/probe"
    MADE_BY: ClassVar[str] = "versatune probe CONFIG"
    FORMAT_VERSION: ClassVar[int] = 4
    DIGEST_VERSION: ClassVar[int | None] = 3
    EARLIER: ClassVar[Mapping[int, Mapping[str, str]]] = {
        3: {"generations_sha256": "the texts and probabilities of its generations (their number is compared)"}
    }
    OUTSIDE_DIGEST: ClassVar[frozenset[str]] = frozenset(
        {"created_at", "environment", "model_facts", "generations", "generations_sha256"}
    )

    created_at: str
    environment: dict[str, Any] = Field(description="engines, versions, tokens per second, reused generations")
    domains: list[str]
    model: ModelRecord
    model_facts: ModelFacts | None = Field(default=None, description="what its files say; null behind an endpoint")
    prompt_token_id: int
    prompt_token: str
    sampling: dict[str, Any] = Field(description="temperature, top_p, repetition_penalty, max_new_tokens")
    seed: int
    rounds: Rounds
    looks: list[Look]
    stopped_by: Literal["precision", "budget"] = Field(
        description="precision: the intervals are narrow and stable enough; budget: every planned sample is drawn"
    )
    samples: int = Field(description="generations drawn")
    counted: int = Field(description="generations that entered the estimates")
    rejected: dict[str, int] = Field(description="generations left out, by reason")
    undetermined: int = Field(description="counted generations whose highest probability is below undetermined_below")
    undetermined_below: float = Field(description="the classifier's threshold: below it no domain can be relied on")
    finish_reasons: dict[str, int]
    alpha: float
    estimates: list[Estimate]
    refused: dict[str, str] = Field(description="estimates that cannot be given, with the reason")
    unlabelled: Unlabelled
    tokens: TokenShares
    chosen: EstimateName = Field(description="the estimate that a mixture uses")
    classifier_sha256: str
    generations: InsidePath = Field(description="the labelled generations, a Parquet file relative to this one")
    generations_sha256: str | None = Field(default=None, description="of that file; null in a report of format 3")

    @property
    def estimate(self) -> Estimate:
        """The estimate that a mixture uses."""
        return next(estimate for estimate in self.estimates if estimate.name == self.chosen)

    @property
    def distribution(self) -> list[float]:
        """The chosen estimate's shares, in taxonomy order."""
        return self.estimate.shares
