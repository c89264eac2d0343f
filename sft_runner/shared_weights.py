"""Weights that two modules share, such as input and output embedding: what an adapter on one of them means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

_FILE = "adapter_model.safetensors"


def is_tied(model: Any) -> bool:
    """Say whether the input embedding's weight is the output layer's too."""
    head = model.get_output_embeddings()
    return head is None or head.weight is model.get_input_embeddings().weight


def untie_where_adapted(model: Any, adapter: Path) -> None:
    """Give the output layer a weight of its own where the adapter sits on it or on the input embedding, and they share one.

    While it was trained, the adapter changed its own side alone; merged into a shared weight, it would change both.
    """
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if not is_tied(model) or head is None:
        return
    adapted = _adapted_modules(adapter)
    if not any(module in (head, embedding) for name, module in model.named_modules() if name in adapted):
        return
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    for settings in (model.config, model.config.get_text_config()):
        settings.tie_word_embeddings = False
    model.all_tied_weights_keys = {}


def _adapted_modules(adapter: Path) -> set[str]:
    """Return the names of the base model's modules that an adapter's file has weights for."""
    with safe_open(adapter / _FILE, "pt") as stored:
        names = [name.removeprefix("base_model.model.") for name in stored.keys()]  # noqa: SIM118  # no dictionary
    return {name.partition(".lora_")[0] for name in names}
