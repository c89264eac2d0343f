"""The trained model as a folder that transformers and vLLM load: safetensors, configuration, tokenizer."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
import transformers
from peft import PeftModel

from versatune.schemas.chat_template import configured_template
from versatune.schemas.config import Config
from versatune.schemas.files import atomic_directory, sha256_file
from versatune.sft_runner.model import Trainee

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


def export_model(config: Config, trainee: Trainee, base: Path, run: Path) -> dict[str, str]:
    """Write ``run/model``, and ``run/adapter`` beside it under LoRA.

    The weights take the number format of the base model's files. An adapter is merged into the base weights, so the folder
    needs no peft; the trainee is used up by this. Tokenizer and generation files are copied from the base model; a chat
    template of the configuration replaces the tokenizer's, all of them if there are several.

    Returns the sha256 of every file of ``run/model`` by its path in it.
    """
    model = trainee.model
    if isinstance(model, PeftModel):
        with atomic_directory(run / "adapter") as made:
            model.save_pretrained(str(made), save_embedding_layers=False)
        model = model.merge_and_unload()
    model.to(_stored_dtype(config, base))
    with atomic_directory(run / "model") as made:
        model.save_pretrained(made)
        for pattern in _COPIED:
            for file in base.glob(pattern):
                shutil.copyfile(file, made / file.name)
        if (template := configured_template(config)) is not None:
            (made / "chat_template.jinja").write_text(template, encoding="utf-8")
        elif (base / _NAMED).is_dir():
            shutil.copytree(base / _NAMED, made / _NAMED)
        files = sorted(file for file in made.rglob("*") if file.is_file())
        for file in files:
            file.chmod(0o644)  # safetensors writes for the owner alone; others may serve the model
        return {file.relative_to(made).as_posix(): sha256_file(file) for file in files}


def _stored_dtype(config: Config, base: Path) -> torch.dtype:
    assert config.model is not None  # run() checked
    found = transformers.AutoConfig.from_pretrained(
        base, local_files_only=True, trust_remote_code=config.model.trust_remote_code
    ).dtype
    return found if isinstance(found, torch.dtype) else torch.float32
