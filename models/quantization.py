"""Base models whose files hold quantised weights: which can be trained on, and how they are loaded for that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from versatune.models.files import text_sections
from versatune.schemas.errors import ConfigError

_CAN_BE_DEQUANTIZED = ("fp8", "mxfp4")
"""Methods that transformers turns back into plain weights while it loads, on any device."""


def quantization(folder: Path) -> str | None:
    """Return the method by which a model's weights are quantised, in the words of its config.json; None where they are not."""
    for section in text_sections(folder):
        settings = section.get("quantization_config")
        if isinstance(settings, dict):
            return _method(settings)
    return None


def dequantized(method: str | None) -> dict[str, Any]:
    """Return what from_pretrained() has to be told, so that the weights in memory are plain ones."""
    if method is None:
        return {}
    from transformers.utils.quantization_config import FineGrainedFP8Config, Mxfp4Config

    maker: Any = FineGrainedFP8Config if method == "fp8" else Mxfp4Config
    return {"quantization_config": maker(dequantize=True)}


def check_quantization(folder: Path, name: str, method: str) -> None:
    """Refuse quantised weights that a run could not learn on, or could not write back.

    Args:
        folder: of the model.
        name: model.path, for the message.
        method: full or lora.

    Raises:
        ConfigError: naming the kind of quantisation and what to do.
    """
    found = quantization(folder)
    if found is None:
        return
    remedy = "save a copy in bfloat16 (transformers: load it with dequantize, then save_pretrained) and take that as model.path"
    if found not in _CAN_BE_DEQUANTIZED:
        raise ConfigError(
            f"model.path {name}: its weights are quantised ({found}), and no export of what is trained on them would be right. Take the"
            f" model that was quantised, or {remedy}"
        )
    if method == "full":
        raise ConfigError(
            f"model.path {name}: its weights are quantised ({found}), and train.method is full: all of them would change, and {found} cannot"
            f" hold them. Set train.method: lora (the export is in bfloat16), or {remedy}"
        )


def _method(settings: dict[str, Any]) -> str:
    if settings.get("load_in_4bit") or settings.get("load_in_8bit"):
        return "bitsandbytes"
    return str(settings.get("quant_method") or "of an unknown method")
