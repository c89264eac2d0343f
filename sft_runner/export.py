"""The trained model as a folder that transformers and vLLM load: the base model's folder, with the trained values in it.

Every tensor of the base model's files is there again, under its name, in its number format and its file; what the trained model does not
have (a vision tower, layers for prediction ahead, buffers of old files) is carried through byte by byte.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from versatune.models.files import read_json, text_sections
from versatune.models.generation import mended
from versatune.models.loading import load_model
from versatune.models.quantization import quantization
from versatune.models.weights import write_plain_weights, write_weights
from versatune.schemas.config import Config
from versatune.sft_runner.export_template import write_templates
from versatune.sft_runner.shared_weights import is_tied, untie_where_adapted

_COPIED = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "*.spm",
    "*.codes",
    "chat_template*",
    "processor_config.json",
    "*preprocessor_config.json",
    "LICENSE*",
    "NOTICE*",
)
_CODE = "*.py"
_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def write_model(config: Config, model: Any, base: Path, made: Path, *, ends: Sequence[int]) -> None:
    """Write the trained model into the folder ``made``.

    Args:
        config: its chat template, and what that is given, replace the tokenizer's own.
        model: the trained model in memory, an adapter merged into it.
        base: the base model's folder.
        made: an empty folder.
        ends: ids of the tokens that end what the rows teach; generation with the export ends there.
    """
    assert config.model is not None  # it was trained
    patterns = (*_COPIED, _CODE) if config.model.trust_remote_code else _COPIED
    for file in sorted({file for pattern in patterns for file in base.glob(pattern) if file.is_file()}):
        shutil.copyfile(file, made / file.name)
    settings = read_json(base / "config.json")
    if quantization(base) is None:
        write_weights(model, base, made)
    else:
        write_plain_weights(model, base, made)
        _each_section(settings, lambda section: section.pop("quantization_config", None))
        settings["dtype"] = "bfloat16"
    if not is_tied(model):
        _each_section(settings, _say_untied)
    (made / "config.json").write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    _write_generation_settings(base, made, ends)
    write_templates(config, base, made)


def merged_model(config: Config, base: Path, adapter: Path) -> Any:
    """Return the base model with an adapter merged into it, both in float32: what the files of the base model hold is never rounded.

    An adapter on a weight that input and output share is merged into its own side alone, and the two are no longer shared.
    """
    assert config.model is not None  # it was trained
    model = load_model(base, config.model, dtype=torch.float32, seed=config.seed).model
    untie_where_adapted(model, adapter)
    return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()


def _write_generation_settings(base: Path, made: Path, ends: Sequence[int]) -> None:
    """Let generation end at these tokens, and at those at which it ended before."""
    file = base / "generation_config.json"
    known = {key: value for section in text_sections(base) for key in _IDS if (value := section.get(key)) is not None}
    settings = mended(read_json(file))[0] if file.is_file() else known
    before = settings.get("eos_token_id")
    before = before if isinstance(before, list) else [] if before is None else [before]
    if after := [*before, *(token for token in dict.fromkeys(ends) if token not in before)]:
        settings["eos_token_id"] = after if len(after) > 1 else after[0]
    (made / file.name).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _each_section(settings: dict[str, Any], change: Any) -> None:
    """Change a configuration, and what it says of the text part of a model that has several."""
    change(settings)
    if isinstance(nested := settings.get("text_config"), dict):
        change(nested)


def _say_untied(section: dict[str, Any]) -> None:
    section["tie_word_embeddings"] = False
