"""Everything that a probe decides before its first sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from versatune.models.files import check_model_folder, model_digest
from versatune.models.source import model_folder
from versatune.pipelines.probe_settings import check_numbers, estimator, label_errors, max_model_len, prompt
from versatune.pipelines.staging import stage_classifier
from versatune.schemas.config import Config, ProbeEndpointConfig
from versatune.schemas.probe import ModelRecord, Rounds
from versatune.transforms.classifier.fasttext_classifier import DomainClassifier, shared_classifier
from versatune.transforms.engines.endpoint_engine import EndpointEngine, EndpointEnginePlan
from versatune.transforms.engines.engine import Engine
from versatune.transforms.engines.vllm_engine import VllmEngine, VllmSettings
from versatune.transforms.probing.generation_store import store_key
from versatune.transforms.probing.look import LookPlan
from versatune.transforms.transport.model_fetch import fetch_model
from versatune.transforms.transport.storage import is_local


@dataclass(frozen=True, kw_only=True)
class ProbePlan:
    """What the samples are, where they are kept, and how they are looked at.

    Attributes:
        folder: of the model; behind an endpoint, of its tokenizer, or None.
        max_model_len: of an own engine, in tokens.
        look: what workers need to look at a round; its ``store`` is the directory of the generations.
    """

    config: Config
    model: ModelRecord
    folder: Path | None
    prompt_token_id: int
    prompt_token: str
    sampling: dict[str, Any]
    max_model_len: int
    classifier: DomainClassifier
    look: LookPlan

    @property
    def store(self) -> str:
        """The directory of the generations."""
        return self.look.store


def plan_probe(config: Config) -> ProbePlan:
    """Check everything that can be checked without an engine.

    Raises:
        ConfigError, DataError: the settings, the model or the classifier cannot be used.
    """
    probe, endpoint = config.probe, config.probe.endpoint
    check_numbers(probe)
    folder = (
        None
        if endpoint is not None and config.model is None
        else model_folder(config, needed_for="a probe", fetch=fetch_model)
    )
    if folder is not None and endpoint is None:  # behind an endpoint it is there for its tokenizer
        check_model_folder(folder)
    token_id, token = prompt(config, folder)
    sampling = {
        "temperature": probe.temperature,
        "top_p": probe.top_p,
        "repetition_penalty": probe.repetition_penalty,
        "max_new_tokens": probe.max_new_tokens,
        **({} if endpoint else {"dtype": probe.engine.dtype}),
    }
    model = _model_record(config, folder)
    key = store_key(
        model=model.weights_sha256 or [model.endpoint, model.name],
        prompt_token_id=token_id,
        sampling=sampling,
        seed=config.seed,
    )
    classifier = shared_classifier(config.classifier_path, config.taxonomy, config.classifier.sha256)
    return ProbePlan(
        config=config,
        model=model,
        folder=folder,
        prompt_token_id=token_id,
        prompt_token=token,
        sampling=sampling,
        max_model_len=max_model_len(config, folder) if folder and not endpoint else 0,
        classifier=classifier,
        look=_look_plan(config, classifier, f"{config.home}/probe/generations/{key}"),
    )


def engine_starter(plan: ProbePlan) -> Callable[[], Engine]:
    """Return what starts the engine on a worker: vLLM there, or a client of the endpoint."""
    probe = plan.config.probe
    if probe.endpoint is not None:
        return partial(EndpointEngine, _endpoint_plan(plan, probe.endpoint))
    engine = probe.engine
    assert plan.config.model is not None  # plan_probe() refuses such a configuration
    path = plan.config.resolve(plan.config.model.path)
    settings = VllmSettings(
        model=str(plan.folder) if is_local(path) else path,
        model_digest=plan.model.weights_sha256 or "",
        trust_remote_code=plan.config.model.trust_remote_code,
        dtype=engine.dtype,
        max_model_len=plan.max_model_len,
        max_num_seqs=engine.max_num_seqs,
        gpu_memory_utilization=engine.gpu_memory_utilization,
        cpu_kv_cache_gib=engine.cpu_kv_cache_gib,
        tensor_parallel_size=engine.tensor_parallel_size,
        enforce_eager=engine.enforce_eager,
        prompt_token_ids=(plan.prompt_token_id,),
        temperature=probe.temperature,
        top_p=probe.top_p,
        repetition_penalty=probe.repetition_penalty,
        max_new_tokens=probe.max_new_tokens,
    )
    return partial(VllmEngine, settings)


def _endpoint_plan(plan: ProbePlan, endpoint: ProbeEndpointConfig) -> EndpointEnginePlan:
    probe = plan.config.probe
    return EndpointEnginePlan(
        url=endpoint.url,
        model=endpoint.model,
        prompt_token_id=plan.prompt_token_id,
        temperature=probe.temperature,
        top_p=probe.top_p,
        repetition_penalty=probe.repetition_penalty,
        max_new_tokens=probe.max_new_tokens,
        concurrency=endpoint.concurrency,
        timeout_seconds=endpoint.timeout_seconds,
        retries=endpoint.retries,
        patience_seconds=endpoint.patience_seconds,
    )


def _look_plan(config: Config, classifier: DomainClassifier, store: str) -> LookPlan:
    probe = config.probe
    errors = label_errors(config, classifier)
    return LookPlan(
        store=store,
        taxonomy=config.taxonomy,
        classifier=stage_classifier(config.classifier_path, store),
        classifier_sha256=config.classifier.sha256,
        rounds=Rounds(
            samples_per_round=probe.samples_per_round,
            min_rounds=probe.min_rounds,
            max_rounds=probe.max_rounds,
            half_width=probe.half_width,
            max_change=probe.max_change,
        ),
        samples=probe.samples,
        alpha=probe.alpha,
        estimator=estimator(config, errors),
        errors=errors,
    )


def _model_record(config: Config, folder: Path | None) -> ModelRecord:
    endpoint, model = config.probe.endpoint, config.model
    if endpoint is None:
        assert model is not None  # model_folder() refuses such a configuration
        assert folder is not None
        return ModelRecord(name=Path(model.path).name, revision=model.revision, weights_sha256=model_digest(folder))
    # Nothing of the folder: it gave the tokenizer, and the server may have other weights by the name that it is asked for.
    return ModelRecord(name=endpoint.model, revision=None, weights_sha256=None, endpoint=endpoint.url)
