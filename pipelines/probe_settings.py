"""What a probe is told, checked without an engine: samples and rounds, where a sample starts, how long it may be, which estimate is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from versatune.mixing.correction import refusal
from versatune.mixing.label_errors import LabelErrors
from versatune.models.files import context_length
from versatune.models.tokenizer import load_tokenizer
from versatune.schemas.config import Config, ModelConfig, ProbeConfig
from versatune.schemas.errors import ConfigError, DataError, nearest
from versatune.schemas.probe import EstimateName
from versatune.transforms.classifier.fasttext_classifier import DomainClassifier
from versatune.transforms.engines.endpoint import check_endpoint

_DOCUMENT_END = "<|endoftext|>"
_MOST_ROUNDS = 500  # each is a step of the graph and makes the intervals a little wider
_SPARE_TOKENS = 8  # the prompt is one token; the rest costs nothing


def check_settings(config: Config, folder: Path | None, classifier: DomainClassifier) -> None:
    """Refuse what a probe would, without reading the model's weights.

    Args:
        config: its section ``probe``.
        folder: of the model; behind an endpoint, of its tokenizer, or None.
        classifier: labels the samples.

    Raises:
        ConfigError, DataError: samples, rounds, context, prompt or estimator cannot be used.
    """
    check_numbers(config.probe)
    prompt(config, folder)
    if folder is not None and config.probe.endpoint is None:
        max_model_len(config, folder)
    estimator(config, label_errors(config, classifier))


def check_numbers(probe: ProbeConfig) -> None:
    """Refuse an address that is none, and numbers of samples and rounds that give no intervals."""
    if probe.endpoint is not None:
        check_endpoint(probe.endpoint.url, "probe.endpoint.url")
    if probe.samples < 2:
        raise ConfigError(f"probe.samples is {probe.samples}; an interval needs at least 2, a useful one some hundreds")
    if probe.max_rounds > _MOST_ROUNDS:
        raise ConfigError(
            f"probe.samples_per_round is {probe.samples_per_round}, which makes {probe.max_rounds:,} rounds of {probe.samples:,} samples;"
            f" expected at most {_MOST_ROUNDS}, so raise it"
        )


def prompt(config: Config, folder: Path | None) -> tuple[int, str]:
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


def prompt_token(model: ModelConfig, folder: Path, wanted: str) -> tuple[int, str]:
    """Return id and text of the token every sample starts from: where a document began when the model was trained.

    That is the begin-of-sequence token, else the end-of-sequence one, unless the chat template writes it at every turn: then a chat model
    was given the token later, and its documents were parted by ``<|endoftext|>``, if the vocabulary has that.

    Args:
        wanted: auto for this choice, bos, eos or a token of the vocabulary.
    """
    tokenizer = load_tokenizer(folder, trust_remote_code=model.trust_remote_code)
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


def _parts_turns(tokenizer: Any, token: str) -> bool:
    """Say whether the chat template writes a token at every turn of a conversation."""
    if not tokenizer.chat_template:
        return False
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False)).count(token) > 1
    except (ValueError, TypeError, TemplateError):  # a template that wants something else tells nothing
        return False


def _vocabulary_id(tokenizer: Any, folder: Path, token: str) -> int:
    vocabulary = tokenizer.get_vocab()
    if token not in vocabulary:
        known = tokenizer.all_special_tokens
        raise ConfigError(
            f"probe.prompt_token is '{token}', which the tokenizer of {folder} has not{nearest(token, known)}"
        )
    return int(vocabulary[token])


def max_model_len(config: Config, folder: Path) -> int:
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


def label_errors(config: Config, classifier: DomainClassifier) -> LabelErrors | None:
    """Return how the classifier errs, if its card says so."""
    errors = classifier.label_errors
    return LabelErrors.from_json(errors, config.taxonomy.domains) if errors else None


def estimator(config: Config, errors: LabelErrors | None) -> EstimateName:
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
