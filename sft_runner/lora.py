"""Low-rank adapters: how they are put on a model and taken off."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import get_peft_model

from versatune.models.adapters import find_targets, works
from versatune.schemas.config import LoraConfig
from versatune.schemas.errors import ConfigError
from versatune.sft_runner.model import Trainee, check_trains


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
    made = replace(trainee, model=adapted)
    try:
        check_trains(
            made, f"{section}.target_modules: with these adapters the model cannot be trained; name fewer modules"
        )
    except ConfigError:
        adapted.unload()
        raise
    for notice in targets.notices:
        say(f"{section}: {notice}")
    return made


def remove_adapter(trainee: Trainee) -> None:
    """Take an adapter off again; the model it was put on is as before, and all its weights are trained."""
    trainee.model.unload().requires_grad_(True)
