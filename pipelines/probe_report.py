"""The report of a probe whose samples are all kept: label, estimate, write."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from versatune.mixing.estimate_shares import ShareEstimate
from versatune.mixing.estimators import hard_counts, unlabelled_bounds
from versatune.mixing.weights import row_to_token_weights
from versatune.models.look import look
from versatune.pipelines.probe_plan import ProbePlan
from versatune.schemas.arrow import generation_schema
from versatune.schemas.errors import RunError
from versatune.schemas.files import sha256_bytes
from versatune.schemas.probe import Estimate, ProbeReport, TokenShares, Unlabelled
from versatune.transforms.classifier.classify import undetermined
from versatune.transforms.probing.generate import reject_reason, sample_seed
from versatune.transforms.probing.generation_store import read_failures, read_store
from versatune.transforms.probing.look import Seen, label_texts
from versatune.transforms.transport.part_store import Kept
from versatune.transforms.transport.storage import replace_bytes

_GENERATIONS = "generations.parquet"
_TRUNCATED = "length"


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """All samples that were drawn, by index.

    Attributes:
        table: n rows of ``generation_schema``; one that could not be had is without text and the reason says why.
        kept: those that were had, with where they came from.
    """

    table: pa.Table
    kept: Kept

    @property
    def counts(self) -> npt.NDArray[np.bool_]:
        """Which ones enter the estimates, (n,)."""
        return np.array(self.column("reject")) == ""

    @property
    def probabilities(self) -> npt.NDArray[np.float32]:
        """Label probabilities of those that enter the estimates, (counted, k)."""
        column = self.table.column("domain_probs").combine_chunks()
        every = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)
        return np.asarray(every[self.counts])

    def column(self, name: str) -> list[Any]:
        """Return a column's values."""
        values: list[Any] = self.table.column(name).to_pylist()
        return values


def write_report(plan: ProbePlan, seen: Seen, *, before: set[int], runner: str) -> str:
    """Write the report's directory and the pointer to it; return the path of ``probe.json``.

    Args:
        plan: of the probe.
        seen: up to its last look.
        before: indices of the samples that an earlier run had kept.
        runner: Beam's.

    Raises:
        RunError: fewer than two samples count.
    """
    drawn = seen.looks[-1].samples if seen.stop else plan.look.samples
    labelled = _label(plan, drawn)
    generations = _parquet(labelled.table)
    environment = {**_environment(labelled.kept, before), "runner": runner}
    report = _report(plan, seen, drawn, labelled, environment, sha256_bytes(generations))
    home, folder = f"{plan.config.home}/probe", report.digest[:12]
    replace_bytes(f"{home}/{folder}/{_GENERATIONS}", generations)
    replace_bytes(f"{home}/{folder}/probe.json", report.to_bytes())
    pointer = {"path": f"{folder}/probe.json", "digest": report.digest}
    replace_bytes(f"{home}/latest.json", orjson.dumps(pointer, option=orjson.OPT_APPEND_NEWLINE))
    return f"{home}/{folder}/probe.json"


def _parquet(table: pa.Table) -> bytes:
    stream = pa.BufferOutputStream()
    pq.write_table(table, stream, compression="zstd")
    return bytes(stream.getvalue().to_pybytes())


def _label(plan: ProbePlan, drawn: int) -> Labelled:
    kept = read_store(plan.store, 0, drawn)
    texts = kept.table.column("text").to_pylist()
    k = len(plan.classifier.labels)
    found = _labelled(kept.table, [reject_reason(text) for text in texts], label_texts(texts, plan.classifier))
    have, failures = set(kept.table.column("index").to_pylist()), read_failures(plan.store)
    failed = [index for index in range(drawn) if index not in have]
    without_text = pa.Table.from_pydict(
        {
            "index": failed,
            "seed": [sample_seed(plan.config.seed, index) for index in failed],
            "text": [""] * len(failed),
            "num_tokens": [0] * len(failed),
            "finish_reason": [""] * len(failed),
        },
        schema=kept.table.schema,
    )
    uniform = np.full((len(failed), k), 1.0 / k, np.float32)
    missing = _labelled(without_text, [failures[index] for index in failed], uniform)
    return Labelled(table=pa.concat_tables([found, missing]).sort_by("index"), kept=kept)


def _labelled(table: pa.Table, rejects: list[str], probabilities: npt.NDArray[np.float32]) -> pa.Table:
    k = probabilities.shape[1]
    labels = pa.FixedSizeListArray.from_arrays(pa.array(probabilities.ravel()), k)
    arrays = [column.combine_chunks() for column in table.columns]
    return pa.Table.from_arrays([*arrays, pa.array(rejects, pa.string()), labels], schema=generation_schema(k))


def _report(
    plan: ProbePlan, seen: Seen, drawn: int, labelled: Labelled, environment: dict[str, Any], generations_sha256: str
) -> ProbeReport:
    config, rounds = plan.config, plan.look.rounds
    counted, rejected = labelled.probabilities, Counter(filter(None, labelled.column("reject")))
    if len(counted) < 2:
        raise RunError(
            f"probe: only {len(counted)} of {drawn} samples of {plan.model.name} count (left out: {dict(rejected)}); expected at "
            "least 2. Raise probe.samples or probe.max_new_tokens, or check that the model writes text at all."
        )
    found = plan.look.estimates(counted)
    lower, upper = unlabelled_bounds(hard_counts(counted).astype(np.float64), drawn)
    return ProbeReport.create(
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        environment=environment,
        domains=list(config.taxonomy.domains),
        model=plan.model,
        model_facts=look(plan.folder, plan.model.name) if plan.folder and not plan.model.endpoint else None,
        prompt_token_id=plan.prompt_token_id,
        prompt_token=plan.prompt_token,
        sampling=plan.sampling,
        seed=config.seed,
        rounds=rounds,
        looks=list(seen.looks),
        stopped_by="precision" if seen.stop else "budget",
        samples=drawn,
        counted=len(counted),
        rejected=dict(sorted(rejected.items())),
        undetermined=int(undetermined(counted, plan.classifier.undetermined_below).sum()),
        undetermined_below=plan.classifier.undetermined_below,
        finish_reasons=dict(sorted(Counter(filter(None, labelled.column("finish_reason"))).items())),
        alpha=config.probe.alpha,
        estimates=[_estimate(estimate) for estimate in found.estimates],
        refused=dict(found.refused),
        unlabelled=Unlabelled(lower=lower.tolist(), upper=upper.tolist()),
        tokens=_tokens(found[plan.look.estimator].shares, labelled),
        chosen=plan.look.estimator,
        classifier_sha256=plan.classifier.sha256,
        generations=_GENERATIONS,
        generations_sha256=generations_sha256,
    )


def _estimate(found: ShareEstimate) -> Estimate:
    return Estimate(
        name=found.name,
        shares=found.shares.tolist(),
        standard_errors=found.standard_errors.tolist(),
        sampling_errors=found.sampling_errors.tolist(),
        lower=found.lower.tolist(),
        upper=found.upper.tolist(),
        covers=found.covers,
    )


def _tokens(shares: npt.NDArray[np.float64], labelled: Labelled) -> TokenShares:
    """Turn shares of documents into shares of tokens: a sample's tokens belong to the domains in proportion to its probabilities."""
    counts = labelled.counts
    weights = labelled.probabilities.astype(np.float64)
    tokens = np.array(labelled.column("num_tokens"), np.float64)[counts]
    mean = (weights * tokens[:, None]).sum(axis=0) / np.maximum(weights.sum(axis=0), np.finfo(np.float64).tiny)
    truncated = np.array(labelled.column("finish_reason"))[counts] == _TRUNCATED
    return TokenShares(
        shares=row_to_token_weights(shares, mean).tolist(),
        mean_tokens=mean.tolist(),
        truncated=float(truncated.mean()),
    )


def _environment(kept: Kept, before: set[int]) -> dict[str, Any]:
    """Sum up which engine generated what, how fast, and what was there before."""
    indices = kept.table.column("index").to_pylist()
    origins: Counter[tuple[str, bool]] = Counter()
    for index, batch in zip(indices, kept.batch, strict=True):
        origins[_engine(kept.batches[batch]), index in before] += 1
    used = [kept.batches[number] for number in sorted(set(kept.batch))]
    seconds = sum(batch.get("seconds", 0.0) for batch in used)
    tokens = sum(batch.get("tokens", 0) for batch in used)
    reused = sum(count for (_, is_reused), count in origins.items() if is_reused)
    return {
        "engines": [
            {"engine": engine, "samples": count, "reused": is_reused}
            for (engine, is_reused), count in sorted(origins.items())
        ],
        "engine_start_seconds": max(
            (batch["start_seconds"] for batch in used if "start_seconds" in batch), default=None
        ),
        "tokens": tokens,
        "generation_seconds": round(seconds, 1),
        "tokens_per_second": round(tokens / seconds, 1) if seconds else None,
        "generated": len(indices) - reused,
        "reused": reused,
    }


def _engine(about: dict[str, Any]) -> str:
    """Name an engine by what it said of itself: vllm 0.32.0, torch 2.13.0, cpu."""
    torch = f"torch {about['torch']}" if "torch" in about else None
    return ", ".join(filter(None, [about.get("engine", "unknown"), torch, about.get("device")]))
