"""The mixture manifest: which shards, how much of each domain, in what order, and why."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from versatune.schemas.config import MixerConfig
from versatune.schemas.dataset import Shard, TokenizerRecord
from versatune.schemas.document import Document, Part
from versatune.schemas.inside import ReferencePath


class DatasetRef(Part):
    """The dataset version that a mixture draws from."""

    path: ReferencePath = Field(description="directory of its manifest, relative to the mixture's file, or a URI")
    name: str
    version: str
    digest: str


class DomainPlan(Part):
    """One domain's part in the first segment."""

    domain: str
    rows: int = Field(description="training rows available")
    tokens: int
    loss_tokens: int
    requested_weight: float = Field(
        description="share of the budget that the policy asks for, before the mixer's floor"
    )
    cap: int = Field(description="most units one segment may take")
    count: int = Field(description="units allocated; whole numbers, exact total")
    realised_weight: float = Field(description="count / sum of counts")
    passes: float = Field(description="count / available units")
    row_share: float = Field(description="expected share of the segment's rows")
    token_share: float = Field(description="expected share of the segment's tokens")
    loss_token_share: float = Field(description="expected share of the segment's loss tokens")


class MixtureManifest(Document):
    """What to train on and why. Composing one reads manifests only, never rows."""

    KIND: ClassVar[str] = "versatune/mixture"
    MADE_BY: ClassVar[str] = "versatune mix CONFIG"
    FORMAT_VERSION: ClassVar[int] = 3
    OUTSIDE_DIGEST: ClassVar[frozenset[str]] = frozenset({"created_at", "dataset"})

    created_at: str
    name: str
    dataset: DatasetRef
    dataset_digest: str = Field(description="the dataset manifest's own digest")
    tokenizer: TokenizerRecord | None
    domains: list[str]
    shards: list[Shard] = Field(description="every shard of both splits, as the dataset pins it")
    policy: Literal["versatune-constant", "uniform", "proportional", "explicit"]
    unit: Literal["rows", "tokens", "loss_tokens"]
    budget: int = Field(description="units asked for in one segment")
    segments: int
    shortfall: int = Field(description="units of the budget that the caps leave unfilled")
    max_passes: float
    on_shortfall: Literal["shorten", "error"]
    redraw: Literal["fresh", "continue", "fixed"]
    order: Literal["interleave", "shuffle"]
    seed: int
    hash: Literal["blake2b-64"] = "blake2b-64"
    plan: list[DomainPlan]
    dropped_mass: float = Field(
        description="weight that policy on_empty: drop or general moved away from empty domains"
    )
    mixer: MixerConfig
    probe_digest: str | None = Field(description="of the probe report that the policy used")
    decision: dict[str, Any] = Field(description="the numbers from which the weights can be recomputed")
