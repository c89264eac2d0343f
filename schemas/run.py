"""The run record: what was trained, from what, with what result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import orjson
from pydantic import Field

from versatune.schemas.document import Document, Part
from versatune.schemas.errors import DataError
from versatune.schemas.inside import InsidePath, ReferencePath
from versatune.schemas.model_facts import ModelFacts
from versatune.schemas.validation import validate


class ReferenceLosses(Part):
    """The r_j of the learnable potential, nats per loss token, taxonomy order."""

    source: Literal["self_adapter", "given", "zero"]
    losses: list[float]
    protocol: dict[str, Any] = Field(description="rows, epochs, learning rate and held-out curve per domain")


class MeasuredReferences(Document):
    """What is measured of references so far, domain by domain: a killed run measures none twice."""

    KIND: ClassVar[str] = "versatune/references"
    MADE_BY: ClassVar[str] = "versatune train CONFIG"

    domains: dict[str, dict[str, Any]] = Field(description="by domain its loss, protocol and held-out curve")


class CheckpointRecord(Part):
    """One line of weights.jsonl: everything needed to recompute an update (vectors in taxonomy order)."""

    checkpoint: int = Field(description="t: 0 is the base model, t is the end of segment t")
    step: int
    tokens_seen: int
    loss_tokens_seen: int
    loss: list[float | None] = Field(description="held-out nats per loss token; null for a domain without rows")
    loss_se: list[float | None]
    loss_change_z: list[float | None] = Field(
        description="paired change of the loss since the last checkpoint, in standard errors; what phi_min_z is compared with"
    )
    loss_tokens: list[int] = Field(description="held-out loss tokens")
    loss_per_byte: list[float | None] = Field(description="held-out nats per UTF-8 byte of target text")
    train_loss: list[float | None] = Field(description="mean over the segment; null before the first or where unseen")
    reference: list[float]
    gamma: list[float] | None
    phi: list[float] | None
    condition: dict[str, Any] | None = Field(description="lhs, rhs, expanded: versatune_expansion only")
    weights_before: list[float]
    weights_unguarded: list[float] | None
    weights: list[float] = Field(description="weights of the next segment")
    rows: list[int] = Field(description="rows drawn so far")
    tokens: list[int] = Field(description="tokens drawn so far")
    loss_tokens_drawn: list[int]
    passes: list[float] = Field(description="rows drawn so far / rows available")
    warnings: list[str]


def read_checkpoints(file: Path) -> list[CheckpointRecord]:
    """Read a run's ``weights.jsonl``, one record per checkpoint.

    Raises:
        DataError: there is none, or it is not whole.
    """
    try:
        lines = [orjson.loads(line) for line in file.read_bytes().splitlines()]
    except (OSError, orjson.JSONDecodeError) as error:
        raise DataError(
            f"{file}: not the checkpoints of a run ({error}); delete {file.parent} and run `versatune train CONFIG`"
        ) from None
    return [validate(CheckpointRecord, line, str(file)) for line in lines]


class AuditedDomain(Part):
    """The same few held-out rows under the model in memory and under what was written; nats per loss token."""

    domain: str
    rows: int
    loss_run: float = Field(description="at the run's last evaluation")
    loss_model: float = Field(description="of model/, loaded anew")
    loss_adapter: float | None = Field(description="of the base model with adapter/; null for a full fine-tune")


class ExportAudit(Part):
    """What was written, loaded as anybody would, beside what was trained."""

    tensors: int = Field(description="compared, value by value, with the trained model")
    carried: int = Field(description="of the base model's files, not trained, compared byte by byte")
    domains: list[AuditedDomain] = Field(description="those with held-out rows")
    largest_difference: float = Field(description="between a domain's losses, nats per loss token")
    tolerance: float = Field(description="what the largest difference may be")
    ends: dict[str, str] = Field(
        description="how it was seen that generation ends at a token: 'generated', or from the settings alone where the class cannot generate"
    )
    seconds: float
    share: float = Field(description="of the seconds of the whole run")


class RunRecord(Document):
    """A finished run; its absence means the run has not finished."""

    KIND: ClassVar[str] = "versatune/run"
    MADE_BY: ClassVar[str] = "versatune train CONFIG"
    FORMAT_VERSION: ClassVar[int] = 4
    DIGEST_VERSION: ClassVar[int | None] = 3
    EARLIER: ClassVar[Mapping[int, Mapping[str, str]]] = {
        3: {"files": "weights.jsonl, metrics.jsonl, references.json, export.json and adapter/"}
    }
    OUTSIDE_DIGEST: ClassVar[frozenset[str]] = frozenset(
        {"created_at", "environment", "mixture_path", "model_facts", "audit", "files"}
    )

    created_at: str
    environment: dict[str, Any] = Field(description="machine, versions, seconds, tokens per second")
    mixture_path: ReferencePath = Field(description="relative to this file")
    mixture_digest: str
    dataset_digest: str
    model_sha256: str = Field(description="digest of the base model's files")
    model_facts: ModelFacts | None = Field(default=None, description="what the base model's files say")
    config: dict[str, Any] = Field(description="the train section")
    domains: list[str]
    reference: ReferenceLosses
    loss_before: list[float | None]
    loss_after: list[float | None]
    steps: int
    segments: int
    model: InsidePath = Field(description="exported model folder, relative to this file")
    model_files: dict[InsidePath, str] = Field(description="sha256 by file name")
    files: dict[InsidePath, str] | None = Field(
        default=None,
        description="sha256 of what else the run wrote for good: logs, references, export plan, adapter; null in a record of format 3",
    )
    audit: ExportAudit = Field(description="of what the model's folder holds, before it took its name")
