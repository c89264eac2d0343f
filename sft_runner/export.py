"""The trained model as a folder that transformers and vLLM load: safetensors, configuration, tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import PeftModel

from versatune.models.files import read_json
from versatune.schemas.chat_template import configured_template
from versatune.schemas.config import Config

_COPIED = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "spiece.model",
    "chat_template*",
    "generation_config.json",
)
_NAMED = "additional_chat_templates"
"""A folder of templates with names, such as tool_use, beside chat_template.jinja."""


def write_model(config: Config, model: Any, base: Path, made: Path, *, ends: Sequence[int]) -> None:
    """Write the trained model into the folder ``made``.

    The weights take the number format of the base model's files. Tokenizer and generation files are copied from the base model; a chat
    template of the configuration replaces the tokenizer's, all of them if there are several.
    """
    dtype = _stored_dtype(config, base)
    state = {name: tensor.detach().to(dtype) for name, tensor in model.state_dict().items()}
    model.save_pretrained(made, state_dict=state)
    settings = read_json(made / "config.json")
    (made / "config.json").write_text(json.dumps(settings | {"dtype": str(dtype).removeprefix("torch.")}, indent=2))
    for pattern in _COPIED:
        for file in base.glob(pattern):
            shutil.copyfile(file, made / file.name)
    _end_at(made / "generation_config.json", ends)
    if (template := configured_template(config)) is not None:
        (made / "chat_template.jinja").write_text(template, encoding="utf-8")
    elif (base / _NAMED).is_dir():
        shutil.copytree(base / _NAMED, made / _NAMED)


def merged_model(config: Config, base: Path, adapter: Path) -> Any:
    """Return the base model in float32 with an adapter merged into it."""
    assert config.model is not None  # run() checked
    model = transformers.AutoModelForCausalLM.from_pretrained(
        base,
        dtype=torch.float32,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=config.model.trust_remote_code,
    )
    return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()


def _stored_dtype(config: Config, base: Path) -> torch.dtype:
    assert config.model is not None  # run() checked
    found = transformers.AutoConfig.from_pretrained(
        base, local_files_only=True, trust_remote_code=config.model.trust_remote_code
    ).dtype
    return found if isinstance(found, torch.dtype) else torch.float32


def _end_at(file: Path, ends: Sequence[int]) -> None:
    """Let generation end at these tokens, and at those at which it ended before."""
    settings = read_json(file) if file.is_file() else {}
    before = settings.get("eos_token_id")
    before = before if isinstance(before, list) else [] if before is None else [before]
    if after := [*before, *(token for token in dict.fromkeys(ends) if token not in before)]:
        settings["eos_token_id"] = after if len(after) > 1 else after[0]
    file.write_text(json.dumps(settings, indent=2))
