"""Pool and probe become a mixture: which weights, how many units of each domain, and why. Manifests in, manifest out."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from versatune.mixing.allocation import allocate_capped, row_caps
from versatune.mixing.arrays import FloatArray
from versatune.mixing.weights import drop_empty_domains, explicit, floor, proportional, uniform, versatune_constant
from versatune.schemas.config import Config, MixConfig, MixerConfig
from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.errors import ConfigError, DataError
from versatune.schemas.mixture import DatasetRef, DomainPlan, MixtureManifest
from versatune.schemas.probe import ProbeReport

Totals = dict[str, dict[str, int]]
_EXPANSION_OVER_A_RUN = 0.4


def compose(
    config: Config, dataset: DatasetManifest, dataset_path: str, probe: ProbeReport | None = None
) -> MixtureManifest:
    """Decide what the first segment trains on and what governs the following ones.

    Args:
        config: its ``mix`` section is the policy; seed and name go into the manifest.
        dataset: the pool. Only its totals are read, so the cost grows with shards, not with rows.
        dataset_path: directory of the dataset's manifest, relative to where the mixture will lie.
        probe: the base model's distribution; needed by policy versatune-constant.

    Raises:
        ConfigError, DataError: weights, domains, caps or units that cannot be used; the message says which.
    """
    mix = config.mix
    pool = dataset.totals("train")
    available = np.array([pool[domain][mix.unit] for domain in dataset.taxonomy.domains], dtype=np.float64)
    _check_pool(dataset, mix, available)
    wanted, decision = _policy_weights(config, dataset, available, probe)
    weights, dropped_mass = drop_empty_domains(wanted, available, dataset.taxonomy.domains, mix.on_empty)
    caps = row_caps(available, mix.max_passes)
    first = floor(weights, mix.mixer.floor, available > 0.0) if mix.mixer.floor else weights
    counts, shortfall = allocate_capped(first, mix.budget, caps)
    if shortfall and mix.on_shortfall == "error":
        raise DataError(
            f"mix.budget asks for {mix.budget:,} {mix.unit} a segment, but {mix.max_passes:g} passes over the pool give"
            f" {mix.budget - shortfall:,}; lower the budget, raise mix.max_passes, or set mix.on_shortfall: shorten"
        )
    return MixtureManifest.create(
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        name=config.name,
        dataset=DatasetRef(path=dataset_path, name=dataset.name, version=dataset.version, digest=dataset.digest),
        dataset_digest=dataset.digest,
        tokenizer=dataset.tokenizer,
        domains=list(dataset.taxonomy.domains),
        shards=dataset.shards,
        policy=mix.policy,
        unit=mix.unit,
        budget=mix.budget,
        segments=mix.segments,
        shortfall=shortfall,
        max_passes=mix.max_passes,
        on_shortfall=mix.on_shortfall,
        redraw=mix.redraw,
        order=mix.order,
        seed=config.seed,
        plan=_plan(dataset.taxonomy.domains, pool, mix.unit, weights, caps, counts),
        dropped_mass=dropped_mass,
        mixer=resolved_mixer(mix),
        probe_digest=probe.digest if probe and mix.policy == "versatune-constant" else None,
        decision=decision,
    )


def _check_pool(dataset: DatasetManifest, mix: MixConfig, available: FloatArray) -> None:
    if mix.unit != "rows" and dataset.tokenizer is None:
        raise ConfigError(
            f"mix.unit is '{mix.unit}', but dataset {dataset.name} {dataset.version} has no token counts; build it with"
            " a model configured and build.tokenize: true, or use mix.unit: rows"
        )
    if not available.any():
        raise DataError(f"dataset {dataset.name} {dataset.version} has no training rows; there is nothing to mix")


def _policy_weights(
    config: Config, dataset: DatasetManifest, available: FloatArray, probe: ProbeReport | None
) -> tuple[FloatArray, dict[str, Any]]:
    """Return the weights the policy asks for (k,) and the numbers they come from."""
    mix, taxonomy = config.mix, dataset.taxonomy
    if mix.policy == "uniform":
        return uniform(available > 0.0), {"active": (available > 0.0).tolist()}
    if mix.policy == "proportional":
        return proportional(available), {f"available_{mix.unit}": [int(n) for n in available]}
    if mix.policy == "explicit":
        weights = taxonomy.vector(mix.weights or {})
        return explicit(weights), {"given": weights}
    probe = _usable(probe, config, dataset)
    chosen = probe.estimate
    shares = np.asarray(chosen.shares)
    return versatune_constant(shares / shares.sum()), {
        "estimate": chosen.name,
        "probe": chosen.shares,
        "lower": chosen.lower,
        "upper": chosen.upper,
        "samples": probe.counted,
        "model": probe.model.name,
    }


def _usable(probe: ProbeReport | None, config: Config, dataset: DatasetManifest) -> ProbeReport:
    """Refuse a probe that says nothing about this dataset and this model."""
    if probe is None:
        raise DataError(
            "mix.policy is 'versatune-constant', which needs a probe report; run `versatune probe CONFIG` first"
        )
    if tuple(probe.domains) != dataset.taxonomy.domains:
        raise DataError(
            f"the probe reports domains {probe.domains}, the dataset has {list(dataset.taxonomy.domains)}; probe again with the"
            " configuration that built the dataset"
        )
    if probe.classifier_sha256 != dataset.classifier.sha256:
        raise DataError(
            f"the probe was labelled by classifier {probe.classifier_sha256[:12]}..., the dataset by"
            f" {dataset.classifier.sha256[:12]}...; their shares cannot be compared, so run build and probe again with one classifier"
        )
    endpoint = config.probe.endpoint
    model = endpoint.model if endpoint else Path(config.model.path).name if config.model else probe.model.name
    if model != probe.model.name:
        raise DataError(
            f"the newest probe is of model {probe.model.name}, the configuration names {model}; run `versatune probe CONFIG`"
        )
    return probe


def _plan(
    domains: tuple[str, ...], pool: Totals, unit: str, weights: FloatArray, caps: Any, counts: Any
) -> list[DomainPlan]:
    """Return the table of the first segment; shares in the other units are expectations from mean lengths."""
    available = np.array([max(pool[domain][unit], 1) for domain in domains], dtype=np.float64)
    passes = counts / available
    shares = {
        kind: _shares(passes * np.array([pool[domain][kind] for domain in domains], dtype=np.float64))
        for kind in ("rows", "tokens", "loss_tokens")
    }
    total = max(int(counts.sum()), 1)
    return [
        DomainPlan(
            domain=domain,
            **pool[domain],
            requested_weight=float(weights[j]),
            cap=int(caps[j]),
            count=int(counts[j]),
            realised_weight=float(counts[j]) / total,
            passes=float(passes[j]),
            row_share=shares["rows"][j],
            token_share=shares["tokens"][j],
            loss_token_share=shares["loss_tokens"][j],
        )
        for j, domain in enumerate(domains)
    ]


def _shares(amounts: FloatArray) -> list[float]:
    total = float(amounts.sum())
    return [float(amount) / total if total else 0.0 for amount in amounts]


def resolved_mixer(mix: MixConfig) -> MixerConfig:
    """Fill in the default growth of domain expansion, which depends on the number of segments."""
    if mix.mixer.name == "versatune_expansion" and mix.mixer.delta is None:
        return mix.mixer.model_copy(update={"delta": _EXPANSION_OVER_A_RUN / mix.segments})
    return mix.mixer
