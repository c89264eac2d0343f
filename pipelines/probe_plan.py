"""Everything that a probe decides before its first sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from versatune.mixing.correction import refusal
from versatune.mixing.label_errors import LabelErrors
from versatune.pipelines.staging import stage_classifier
from versatune.schemas.config import Config, ModelConfig, ProbeEndpointConfig
from versatune.schemas.errors import ConfigError, DataError, nearest
from versatune.schemas.model_files import check_model_folder, context_length, model_digest
from versatune.schemas.model_source import model_folder
from versatune.schemas.probe import EstimateName, ModelRecord, Rounds
from versatune.transforms.classifier.fasttext_classifier import DomainClassifier, shared_classifier
from versatune.transforms.engines.endpoint import check_endpoint
from versatune.transforms.engines.endpoint_engine import EndpointEngine, EndpointEnginePlan
from versatune.transforms.engines.engine import Engine
from versatune.transforms.engines.vllm_engine import VllmEngine, VllmSettings
from versatune.transforms.probing.generation_store import store_key
from versatune.transforms.probing.look import LookPlan
from versatune.transforms.transport.model_fetch import fetch_model
from versatune.transforms.transport.storage import is_local

_DOCUMENT_END = "<|endoftext|>"
_MOST_ROUNDS = 500  # each is a step of the graph and makes the intervals a little wider
_SPARE_TOKENS = 8  # the prompt is one token; the rest costs nothing


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
    if endpoint is not None:
        check_endpoint(endpoint.url, "probe.endpoint.url")
    if probe.samples < 2:
        raise ConfigError(f"probe.samples is {probe.samples}; an interval needs at least 2, a useful one some hundreds")
    if probe.max_rounds > _MOST_ROUNDS:
        raise ConfigError(
            f"probe.samples_per_round is {probe.samples_per_round}, which makes {probe.max_rounds:,} rounds of {probe.samples:,} samples;"
            f" expected at most {_MOST_ROUNDS}, so raise it"
        )
    folder = (
        None
        if endpoint is not None and config.model is None
        else model_folder(config, needed_for="a probe", fetch=fetch_model)
    )
    if folder is not None and endpoint is None:  # behind an endpoint it is there for its tokenizer
        check_model_folder(folder)
    token_id, token = _prompt(config, folder)
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
        max_model_len=_max_model_len(config, folder) if folder and not endpoint else 0,
        classifier=classifier,
        look=_look_plan(config, classifier, f"{config.home}/probe/generations/{key}"),
    )


def prompt_token(model: ModelConfig, folder: Path, wanted: str) -> tuple[int, str]:
    """Return id and text of the token every sample starts from: where a document began when the model was trained.

    That is the begin-of-sequence token, else the end-of-sequence one, unless the chat template writes it at every turn: then a chat model
    was given the token later, and its documents were parted by ``<|endoftext|>``, if the vocabulary has that.

    Args:
        wanted: auto for this choice, bos, eos or a token of the vocabulary.
    """
    tokenizer = _tokenizer(model, folder)
    if wanted not in ("auto", "bos", "eos"):
        return _vocabulary_id(tokenizer, folder, wanted), wanted
    names = ("bos", "eos") if wanted == "auto" else (wanted,)
    tokens = [token for name in names if (token := getattr(tokenizer, f"{name}_token")) is not None]
    if not tokens:
        missing = "neither a bos_token nor an eos_token" if wanted == "auto" else f"no {wanted}_token"
        raise DataError(
            f"model {folder}: its tokenizer defines {missing}, so there is nothing to start a sample from; set it in"
            " tokenizer_config.json, or name a token of the vocabulary in probe.prompt_token"
        )
    token = str(tokens[0])
    if wanted == "auto" and _DOCUMENT_END in tokenizer.get_vocab() and _parts_turns(tokenizer, token):
        token = _DOCUMENT_END
    return int(tokenizer.convert_tokens_to_ids(token)), token


def _tokenizer(model: ModelConfig, folder: Path) -> Any:
    from transformers import AutoTokenizer  # seconds, which --help need not pay

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=model.trust_remote_code, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"model {folder}: its tokenizer cannot be loaded ({reason}); save model and tokenizer again"
        ) from error


def _parts_turns(tokenizer: Any, token: str) -> bool:
    """Say whether the chat template writes a token at every turn of a conversation."""
    if not tokenizer.chat_template:
        return False
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False)).count(token) > 1
    except (ValueError, TypeError, TemplateError):  # a template that wants something else tells nothing
        return False


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
    card_errors = classifier.label_errors
    errors = LabelErrors.from_json(card_errors, config.taxonomy.domains) if card_errors else None
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
        estimator=_estimator(config, errors),
        errors=errors,
    )


def _estimator(config: Config, errors: LabelErrors | None) -> EstimateName:
    """Return the estimate that is chosen: the best that this classifier allows, unless the configuration names one."""
    wanted = config.probe.estimator
    why = "its card says nothing of its errors" if errors is None else refusal(errors)
    if wanted == "auto":
        return "soft" if why else "corrected"
    if wanted == "corrected" and why:
        raise ConfigError(
            f"probe.estimator is corrected, which this classifier does not allow: {why}. Take soft, hard or em, or train a"
            " classifier with `versatune classifier train`, which measures its errors"
        )
    return wanted


def _model_record(config: Config, folder: Path | None) -> ModelRecord:
    endpoint, model = config.probe.endpoint, config.model
    if endpoint is None:
        assert model is not None  # model_folder() refuses such a configuration
        assert folder is not None
        return ModelRecord(name=Path(model.path).name, revision=model.revision, weights_sha256=model_digest(folder))
    # Nothing of the folder: it gave the tokenizer, and the server may have other weights by the name that it is asked for.
    return ModelRecord(name=endpoint.model, revision=None, weights_sha256=None, endpoint=endpoint.url)


def _prompt(config: Config, folder: Path | None) -> tuple[int, str]:
    """Return id and text of the first token."""
    endpoint = config.probe.endpoint
    if endpoint is not None and endpoint.prompt_token_id is not None:
        return endpoint.prompt_token_id, f"token {endpoint.prompt_token_id}"
    if folder is None:
        raise ConfigError(
            "probe.endpoint: there is nothing to start a sample from; set probe.endpoint.prompt_token_id to the id of the model's"
            " begin-of-sequence token, or model.path to a folder with its tokenizer"
        )
    assert config.model is not None  # where there is a folder there is a model
    return prompt_token(config.model, folder, config.probe.prompt_token)


def _vocabulary_id(tokenizer: Any, folder: Path, token: str) -> int:
    vocabulary = tokenizer.get_vocab()
    if token not in vocabulary:
        known = tokenizer.all_special_tokens
        raise ConfigError(
            f"probe.prompt_token is '{token}', which the tokenizer of {folder} has not{nearest(token, known)}"
        )
    return int(vocabulary[token])


def _max_model_len(config: Config, folder: Path) -> int:
    """Return the engine's context length in tokens: what is needed, or what is asked for, if the model has it."""
    needed, context = config.probe.max_new_tokens + 1, context_length(folder)
    if context is not None and needed > context:
        raise ConfigError(
            f"probe.max_new_tokens is {config.probe.max_new_tokens}; model {folder.name} has a context of {context} tokens and "
            f"the prompt takes one, so set it to {context - 1} or less"
        )
    asked = config.probe.engine.max_model_len
    if asked is None:
        return min(config.probe.max_new_tokens + _SPARE_TOKENS, context or config.probe.max_new_tokens + _SPARE_TOKENS)
    if asked < needed:
        raise ConfigError(
            f"probe.engine.max_model_len is {asked}; probe.max_new_tokens and the prompt need {needed}. Leave it out."
        )
    return asked
