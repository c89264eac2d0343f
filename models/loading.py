"""A base model's weights, loaded as anybody would load them; what would be made up, left out or unlike the files is refused by name.

This is the one place that calls ``AutoModelForCausalLM``. torch and transformers are imported when a model is asked for: it takes seconds.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from versatune.models.files import read_json
from versatune.models.quantization import dequantized, quantization
from versatune.schemas.config import ModelConfig
from versatune.schemas.errors import ConfigError, DataError

if TYPE_CHECKING:
    import torch

LOAD_ERRORS = Exception
"""What transformers, its plug-ins or a model's own code raise of a folder that they cannot use: anything."""
_OTHER_PARTS = ("vision_config", "audio_config", "vq_config", "speech_config")
_BUFFERS = re.compile(r"\.(attn|attention)\.(masked_)?bias$|\.inv_freq$|\.position_ids$")
"""Masks and positions that earlier versions of transformers stored with the weights; they are made anew."""
_OF_TEXT = ("language_model", "text_model", "lm_head")
_NAMED = 3


class Loaded(NamedTuple):
    """A model and what loading it said."""

    model: Any
    """A transformers model on the CPU, or of weights without values."""
    made_up: list[str]
    """Weights that the files lack and model.allow_missing allows: drawn from the seed."""
    carried: list[str]
    """Weights of the files that the trained model does not have: another part of a multimodal model, or what model.allow_missing allows."""


def load_model(folder: Path, model: ModelConfig, *, dtype: torch.dtype, seed: int = 0) -> Loaded:
    """Load a causal language model on the CPU, all its weights in one number format.

    Args:
        folder: of the model.
        model: whether its own code may run, and which weights may be missing.
        dtype: of the weights in memory.
        seed: of those that are missing and allowed to be.

    Raises:
        DataError: transformers cannot load it, or its weights are not those of the model; the message names them.
        ConfigError: the model is not one that can be trained.
    """
    return _load(folder, model, dtype, "cpu", seed)


def load_shapes(folder: Path, model: ModelConfig) -> Loaded:
    """Load names and shapes alone: whether :func:`load_model` would refuse the weights, in a second and without memory.

    Raises:
        DataError, ConfigError: as :func:`load_model`.
    """
    import torch

    return _load(folder, model, torch.float32, "meta", 0)


def model_config(folder: Path, model: ModelConfig) -> Any:
    """Return the configuration as transformers has it.

    Raises:
        DataError: it cannot be read.
    """
    import transformers

    try:
        return transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=model.trust_remote_code
        )
    except LOAD_ERRORS as error:
        raise _unusable(folder, error) from None


def pad_id(config: Any) -> int:
    """Return an id to pad with: any token will do, for padding is masked and has no loss."""
    found = getattr(config.get_text_config(), "pad_token_id", None)
    if found is None:
        found = getattr(config, "pad_token_id", None)
    return 0 if found is None or found < 0 else int(found)


def is_multimodal(folder: Path) -> bool:
    """Say whether a configuration has parts besides text."""
    config = read_json(folder / "config.json")
    return any(isinstance(config.get(part), dict) for part in _OTHER_PARTS)


def _load(folder: Path, model: ModelConfig, dtype: torch.dtype, device: str, seed: int) -> Loaded:
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers does not type it
    config = model_config(folder, model)
    _check_class(folder, config, model)
    quantized = quantization(folder)
    load: Any = transformers.AutoModelForCausalLM.from_pretrained  # typed as if it never returned two things
    try:
        with torch.random.fork_rng(devices=[]), _no_report():
            torch.manual_seed(seed)
            loaded, info = load(
                folder,
                config=config,
                dtype=dtype,
                device_map="meta" if device == "meta" else None,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                local_files_only=True,
                trust_remote_code=model.trust_remote_code,
                output_loading_info=True,
                **dequantized(quantized),
            )
    except LOAD_ERRORS as error:
        raise _unusable(folder, error) from None
    if quantized and device != "meta":
        loaded = loaded.to(dtype)
    _keep_weights_as_they_are(loaded)
    made_up, carried = _differences(folder, model, info)
    return Loaded(loaded, made_up, carried)


def _check_class(folder: Path, config: Any, model: ModelConfig) -> None:
    """Refuse a kind of model that transformers has no causal language model for, before anything is read.

    Raises:
        ConfigError: naming the kind.
    """
    from transformers import AutoModelForCausalLM

    own = getattr(config, "auto_map", None) or {}
    if "AutoModelForCausalLM" in own and model.trust_remote_code:
        return
    if type(config) in AutoModelForCausalLM._model_mapping:  # noqa: SLF001  # there is no other way to ask
        return
    kind = config.model_type
    why = (
        "a multimodal model whose text part transformers does not load by itself; save that part as a model of its own (its"
        " language_model, with save_pretrained), and train it"
        if is_multimodal(folder)
        else "no causal language model of transformers; expected one that AutoModelForCausalLM loads"
    )
    raise ConfigError(f"model.path {model.path}: config.json says that it is of the type {kind}, which is {why}")


def _differences(folder: Path, model: ModelConfig, info: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return the weights that were made up, and those that are carried along.

    Raises:
        DataError: weights are missing, unknown or of another shape, and model.allow_missing does not name them.
    """
    missing, unknown = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
    shapes = sorted(str(entry[0] if isinstance(entry, tuple) else entry) for entry in info["mismatched_keys"])
    several = is_multimodal(folder)
    carried = [
        name for name in unknown if _BUFFERS.search(name) or (several and not any(part in name for part in _OF_TEXT))
    ]
    refused = [
        ("is missing from the files, and would be drawn at random", _not_allowed(missing, model)),
        (
            "is in the files and not in the model, which would be trained without it",
            _not_allowed(unknown, model, carried),
        ),
        ("has another shape in the files than in the model", shapes),
    ]
    found = [f"{_names(names)} {what}" for what, names in refused if names]
    if found:
        raise DataError(
            f"model {folder}: {'; '.join(found)}. Take the config.json that belongs to the weights, download the model again, or, where that is"
            " meant, name them in model.allow_missing (patterns such as 'lm_head.*')"
        )
    return missing, unknown


def made_up_notice(folder: Path, names: list[str]) -> str:
    """Say which weights training begins with that no file holds."""
    return (
        f"model {folder}: {_names(names)} {'is' if len(names) == 1 else 'are'} in none of its files, which model.allow_missing allows; training"
        " begins with values drawn from the seed"
    )


def _not_allowed(names: Iterable[str], model: ModelConfig, besides: Iterable[str] = ()) -> list[str]:
    kept = set(besides)
    return [
        name
        for name in names
        if name not in kept and not any(fnmatchcase(name, pattern) for pattern in model.allow_missing)
    ]


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _keep_weights_as_they_are(model: Any) -> None:
    """Turn off what changes weights in place when a model is evaluated: RWKV divides them so that float16 does not overflow."""
    if getattr(model.config, "rescale_every", 0):
        model.config.rescale_every = 0


@contextlib.contextmanager
def _no_report() -> Iterator[None]:
    """Keep back transformers' table of missing weights: what matters of it is raised by name."""
    logger = logging.getLogger("transformers")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _unusable(folder: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return DataError(f"model {folder}: transformers cannot load it ({type(error).__name__}: {reason})")
