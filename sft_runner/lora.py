"""Low-rank adapters: on which modules of a model they sit, what that leaves out, and how they are put on and taken off."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import get_peft_model
from transformers.pytorch_utils import Conv1D

from versatune.schemas.config import LoraConfig
from versatune.schemas.errors import ConfigError
from versatune.sft_runner.model import Trainee
from versatune.sft_runner.shared_weights import shared_modules

ALL_LINEAR = "all-linear"
_FUSED = "its kernels use the weight by itself, so an adapter would have no effect"
_TUPLE = "it gives a tuple back, which no adapter can be added to"
FAMILIES: dict[str, dict[str, str]] = {
    "falcon_h1": {"out_proj": _FUSED, "conv1d": _FUSED},
    "falcon_mamba": {"out_proj": _FUSED, "conv1d": _FUSED},
    "mamba": {"out_proj": _FUSED, "conv1d": _FUSED},
    "mamba2": {"out_proj": _FUSED, "conv1d": _FUSED},
    "nemotron_h": {"out_proj": _FUSED, "conv1d": _FUSED},
    "llama4_text": {"router": _TUPLE},
    "phimoe": {"router": _TUPLE},
}
"""By model type, the linear modules that peft cannot adapt, by the last part of their names, and why."""
_OTHER_PARTS = frozenset(
    {
        "vision_tower",
        "vision_model",
        "visual",
        "audio_tower",
        "audio_model",
        "multi_modal_projector",
        "embed_vision",
        "embed_audio",
    }
)
"""Parts of multimodal models that texts never reach."""


@dataclass(frozen=True)
class Targets:
    """Where adapters sit."""

    modules: list[str] | str
    parameters: list[str] = field(default_factory=list)
    """Weights of experts, which are no modules."""
    notices: list[str] = field(default_factory=list)
    """What all-linear leaves out."""


def add_adapter(
    trainee: Trainee, config: LoraConfig, seed: int, say: Callable[[str], None] = lambda notice: None
) -> Trainee:
    """Put a fresh low-rank adapter on a model; only the adapter is trained. It starts as the identity.

    Args:
        trainee: the model.
        config: size and place of the adapter.
        seed: of its first values.
        say: hears what the adapter leaves out.

    Raises:
        ConfigError: peft cannot adapt what is asked for; the message names a list that works.
    """
    model = trainee.model
    targets = find_targets(model, config)
    torch.manual_seed(seed)
    adapter = PeftLoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=targets.modules,
        target_parameters=targets.parameters or None,
        # Classes of a model's own code may not generate, and peft asks for that only of this type.
        task_type="CAUSAL_LM" if hasattr(model, "prepare_inputs_for_generation") else None,
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tied weights, which the export gives each its own
            adapted = get_peft_model(model, adapter)
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        raise ConfigError(
            f"lora.target_modules: {' '.join(str(error).split())[:300]}. A list that works for this model:"
            f" [{', '.join(_last_parts(all_linear(model)))}]"
        ) from None
    for notice in targets.notices:
        say(notice)
    return replace(trainee, model=adapted)


def remove_adapter(trainee: Trainee) -> None:
    """Take an adapter off again; the model it was put on is as before, and all its weights are trained."""
    trainee.model.unload().requires_grad_(True)


def find_targets(model: Any, config: LoraConfig) -> Targets:
    """Return where the adapters of a configuration sit.

    Raises:
        ConfigError: a module that is named shares its weight with another, or experts are asked for and there are none, or dropout with them.
    """
    experts = expert_parameters(model)
    if config.experts and not experts:
        raise ConfigError(
            "lora.experts is true, and the model has no experts whose weights peft could adapt; set it to false"
        )
    if config.experts and config.dropout:
        raise ConfigError(
            f"lora.dropout is {config.dropout}, and peft adapts experts without dropout alone; set it to 0"
        )
    parameters = list(experts) if config.experts else []
    if config.target_modules != ALL_LINEAR:
        _refuse_shared(model, config.target_modules)
        return Targets(config.target_modules, parameters)
    notices = _left_out(model)
    if experts and not config.experts:
        notices.append(_skipped(model, experts))
    return Targets(all_linear(model), parameters, notices)


def all_linear(model: Any) -> list[str]:
    """Return the names of all linear modules that peft can adapt in this model, but for the output layer."""
    shared = shared_modules(model)
    kept = _reasons(model)
    return [
        name
        for name in _linear(model)
        if name not in shared and name.rpartition(".")[2] not in kept and _OTHER_PARTS.isdisjoint(name.split("."))
    ]


def expert_parameters(model: Any) -> dict[str, int]:
    """Return the weights of experts that are held in one tensor for all experts of a layer, with their sizes: no module, so not linear."""
    convolutions = (torch.nn.Conv1d, torch.nn.ConvTranspose1d)
    return {
        f"{name}.{kind}": parameter.numel()
        for name, module in model.named_modules()
        if not isinstance(module, convolutions) and "expert" in f"{name} {type(module).__name__}".lower()
        for kind, parameter in module.named_parameters(recurse=False)
        if parameter.ndim == 3
    }


def _linear(model: Any) -> list[str]:
    head = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
    ]


def _reasons(model: Any) -> dict[str, str]:
    """Return what the table says of a model, or of its text part."""
    kinds = (model.config.model_type, model.config.get_text_config().model_type)
    return {part: why for kind in kinds for part, why in FAMILIES.get(kind, {}).items()}


def _left_out(model: Any) -> list[str]:
    """Say which linear modules of a text model get no adapter."""
    names, notices = _linear(model), []
    for part, why in _reasons(model).items():
        if count := sum(name.rpartition(".")[2] == part for name in names):
            notices.append(f"lora: all-linear leaves out {count} modules named {part}: {why}")
    if shared := sorted(shared_modules(model) & set(names)):
        notices.append(
            f"lora: all-linear leaves out {len(shared)} modules that share their weights with others (such as {shared[0]}): what is learned for"
            " one would change all"
        )
    return notices


def _skipped(model: Any, experts: dict[str, int]) -> str:
    share = sum(experts.values()) / sum(parameter.numel() for parameter in model.parameters())
    return (
        f"lora: all-linear leaves out the experts, {share:.0%} of the model's weights in {len(experts)} tensors, which are no linear modules; lora.experts:"
        " true adapts them too"
    )


def _refuse_shared(model: Any, wanted: str | Iterable[str]) -> None:
    if isinstance(wanted, str):
        return  # a pattern, which peft alone can match
    shared = shared_modules(model)
    found = sorted(name for name in shared if any(f".{name}".endswith(f".{part}") for part in wanted))
    if found:
        raise ConfigError(
            f"lora.target_modules names {found[0]}, whose weight other modules share: merged, the adapter of one would change all. A list that works"
            f" for this model: [{', '.join(_last_parts(all_linear(model)))}]"
        )


def _last_parts(names: Iterable[str]) -> list[str]:
    return sorted({name.rpartition(".")[2] for name in names})
