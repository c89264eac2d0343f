"""Low-rank adapters: how they are put on a model and taken off."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import get_peft_model

from versatune.models.adapters import find_targets, works
from versatune.schemas.config import LoraConfig
from versatune.schemas.errors import ConfigError
from versatune.sft_runner.model import Trainee


def add_adapter(
    trainee: Trainee,
    config: LoraConfig,
    seed: int,
    *,
    section: str = "train.lora",
    say: Callable[[str], None] = lambda notice: None,
) -> Trainee:
    """Put a fresh low-rank adapter on a model; only the adapter is trained. It starts as the identity.

    Args:
        trainee: the model.
        config: size and place of the adapter.
        seed: of its first values.
        section: where its settings stand, for the messages.
        say: hears what the adapter leaves out.

    Raises:
        ConfigError: peft cannot adapt what is asked for; the message names a list that works.
    """
    model = trainee.model
    targets = find_targets(model, config, section)
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
            f"{section}.target_modules: {' '.join(str(error).split())[:300]}. A list that works for this model: {works(model)}"
        ) from None
    _try(adapted, section)
    for notice in targets.notices:
        say(f"{section}: {notice}")
    return replace(trainee, model=adapted)


def remove_adapter(trainee: Trainee) -> None:
    """Take an adapter off again; the model it was put on is as before, and all its weights are trained."""
    trainee.model.unload().requires_grad_(True)


def _try(adapted: Any, section: str) -> None:
    """Refuse adapters that a family's code cannot run with, before the first step.

    Raises:
        ConfigError: with what the code says.
    """
    ids = torch.arange(4, device=adapted.device)[None]
    try:
        with torch.no_grad():
            adapted(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    except Exception as error:  # noqa: BLE001  # whatever the model's code raises
        reason = " ".join(str(error).split())[:300]
        adapted.unload()
        raise ConfigError(
            f"{section}.target_modules: with these adapters the model does not run ({type(error).__name__}: {reason}); name fewer modules, such as"
            " [q_proj, v_proj]"
        ) from None
