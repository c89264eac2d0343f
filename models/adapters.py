"""Where low-rank adapters can sit in a model of each family, and what that leaves out: asked before a build, and when they are put on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from versatune.models.name_pattern import fitting
from versatune.schemas.config import LoraConfig
from versatune.schemas.errors import ConfigError

ALL_LINEAR = "all-linear"
_RENAMED = "peft takes it for an expert's when it reads an adapter, and drops it"
_FUSED = "its kernels use the weight by itself, so an adapter would have no effect"
_DIRECT = "the weight is used by itself, so an adapter would learn nothing"
_GROUPED = "it multiplies groups of its input, and an adapter the whole"
_TUPLE = "it gives a tuple back, which no adapter can be added to"
FAMILIES: dict[str, dict[str, str]] = {
    "deepseek_v4": {"o_a_proj": _GROUPED},
    "falcon_h1": {"out_proj": _FUSED, "conv1d": _FUSED},
    "falcon_mamba": {"out_proj": _FUSED, "conv1d": _FUSED, "dt_proj": _DIRECT},
    "jamba": {"dt_proj": _DIRECT},
    "mamba": {"out_proj": _FUSED, "conv1d": _FUSED, "dt_proj": _DIRECT},
    "mamba2": {"out_proj": _FUSED, "conv1d": _FUSED},
    "nemotron_h": {"out_proj": _FUSED, "conv1d": _FUSED},
    "laguna": {"gate_proj": _RENAMED, "up_proj": _RENAMED, "down_proj": _RENAMED},
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


def find_targets(model: Any, config: LoraConfig, section: str) -> Targets:
    """Return where the adapters of a configuration sit.

    Args:
        model: with its weights, or with their shapes alone.
        config: of the adapters.
        section: where that stands, for the messages: train.lora, or train.reference.lora.

    Raises:
        ConfigError: a module that is named is not there, cannot be adapted or shares its weight with another; experts are asked for and there are
            none, or dropout with them.
    """
    experts = expert_parameters(model)
    if config.experts and not experts:
        raise ConfigError(
            f"{section}.experts is true, and the model has no experts whose weights peft could adapt; set it to false"
        )
    if config.experts and config.dropout:
        raise ConfigError(
            f"{section}.dropout is {config.dropout}, and peft adapts experts only without dropout; set it to 0"
        )
    parameters = list(experts) if config.experts else []
    if not isinstance(config.target_modules, str) or config.target_modules.lower() != ALL_LINEAR:
        _check_named(model, config.target_modules, f"{section}.target_modules")
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
    plain = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.ConvTranspose1d, torch.nn.Embedding, Conv1D)
    return {
        f"{name}.{kind}": parameter.numel()
        for name, module in model.named_modules()
        if not isinstance(module, plain) and "expert" in f"{name} {type(module).__name__}".lower()
        for kind, parameter in module.named_parameters(recurse=False)
        if parameter.ndim in (2, 3) and "bias" not in kind
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
            notices.append(f"all-linear leaves out {count} modules named {part}: {why}")
    if shared := sorted(shared_modules(model) & set(names)):
        notices.append(
            f"all-linear leaves out {len(shared)} modules that share their weights with others (such as {shared[0]}): what is learned for"
            " one would change all"
        )
    return notices


def _skipped(model: Any, experts: dict[str, int]) -> str:
    share = sum(experts.values()) / sum(parameter.numel() for parameter in model.parameters())
    return (
        f"all-linear leaves out the experts, {share:.0%} of the model's weights in {len(experts)} tensors, which are no linear modules; lora.experts:"
        " true adapts them too"
    )


def _check_named(model: Any, wanted: str | list[str], key: str) -> None:
    """Refuse modules that are named, in a list or by a pattern over whole names, and cannot have an adapter."""
    names = [name for name, _ in model.named_modules(remove_duplicate=False) if name]
    named = _named(names, wanted, key)
    why = ""
    if not named:
        why = "names no module of this model"
    elif shared := sorted(shared_modules(model) & set(named)):
        why = f"names {shared[0]}, whose weight other modules share: merged, the adapter of one would change all"
    elif left_out := sorted(name for name in named if name.rpartition(".")[2] in _reasons(model)):
        why = f"names {left_out[0]}, which cannot have an adapter: {_reasons(model)[left_out[0].rpartition('.')[2]]}"
    if why:
        raise ConfigError(f"{key} {why}. A list that works for this model: {works(model)}")


def _named(names: list[str], wanted: str | list[str], key: str) -> list[str]:
    """Return the names that peft takes: a pattern fits a whole name, an entry of a list its end."""
    if isinstance(wanted, str):
        return fitting(wanted, names, key)
    return [name for name in names if any(name == part or name.endswith(f".{part}") for part in wanted)]


def works(model: Any) -> str:
    """Return a list of modules that can have adapters, as it is written in a configuration."""
    return f"[{', '.join(_last_parts(all_linear(model)))}]"


def shared_modules(model: Any) -> set[str]:
    """Return the modules whose weight is another module's too, but for input and output embedding."""
    ends = {id(model.get_input_embeddings()), id(model.get_output_embeddings())}
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        weight = getattr(module, "weight", None)
        if isinstance(weight, torch.Tensor) and id(module) not in ends:
            owners.setdefault(id(weight), []).append(name)
    return {name for names in owners.values() if len(names) > 1 for name in names}


def _last_parts(names: Iterable[str]) -> list[str]:
    return sorted({name.rpartition(".")[2] for name in names})
