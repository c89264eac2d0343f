"""One look at a model folder, for every stage: what its files say, and whether it can be trained.

The second question is answered by transformers itself, on shapes without values. That takes some seconds, most of them imports, so an answer
that was yes is remembered by the files' names, sizes and times.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

from versatune.models.files import check_model_folder, context_length, read_json, tensors_of, text_sections
from versatune.models.fit import embedding_rows
from versatune.models.generation import GENERATION, check_generation_settings
from versatune.models.loading import is_multimodal
from versatune.models.quantization import check_quantization, quantization
from versatune.schemas.config import Config, ModelConfig
from versatune.schemas.files import sha256_json, write_atomic
from versatune.schemas.model_facts import ModelFacts
from versatune.schemas.version import VERSION

_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts", "num_experts_per_layer")
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.ckpt")


def look(folder: Path, name: str) -> ModelFacts | None:
    """Return what a model's files say of it, from JSON and headers; None for a folder of a tokenizer alone.

    Args:
        folder: of the model.
        name: model.path, or a hub id.

    Raises:
        DataError: a file is not what its name says.
    """
    if not (folder / "config.json").is_file():
        return None
    tensors = [t for file in folder.glob("*.safetensors") for t in tensors_of(file).values()]
    settings = read_json(folder / "config.json")
    return ModelFacts(
        name=Path(name).name,
        model_type=settings.get("model_type"),
        architecture=next(iter(settings.get("architectures") or []), None),
        parameters=sum(prod(tensor["shape"]) for tensor in tensors) or None,
        formats={kind: sum(t["dtype"] == kind for t in tensors) for kind in sorted({t["dtype"] for t in tensors})},
        embedding_rows=embedding_rows(folder),
        context=context_length(folder),
        bos=_first(folder, "bos_token_id"),
        eos=_eos(folder),
        pad=_first(folder, "pad_token_id"),
        tied=_first(folder, "tie_word_embeddings"),
        quantization=quantization(folder),
        multimodal=is_multimodal(folder),
        experts=next((found for key in _EXPERTS if (found := _first(folder, key))), None),
        own_code=bool(settings.get("auto_map")),
    )


def check_trainable(folder: Path, config: Config) -> None:
    """Refuse a model that training would refuse, or would train wrongly, before anything is made for it.

    A folder without weights is one of a tokenizer: there is nothing to look at. Where torch is not installed, quantised weights alone are found; training
    then looks again.

    Raises:
        ConfigError, DataError: the weights are not those of the configuration, are quantised, or belong to a model that cannot be trained.
    """
    model = config.model
    assert model is not None  # there is a folder
    if not any(file for pattern in _WEIGHTS for file in folder.glob(pattern)):
        return
    check_model_folder(folder)
    check_quantization(folder, model.path, config.train.method)
    check_generation_settings(folder)  # before the weights: transformers refuses some of them with the whole model
    if find_spec("torch") is None or find_spec("transformers") is None:
        return
    remembered = _memory() / _key(folder, model)
    if remembered.is_file():
        return
    from versatune.models.causality import check_kind_causal
    from versatune.models.loading import load_shapes

    load_shapes(folder, model)
    check_kind_causal(folder, model)
    write_atomic(remembered, b"")


def _memory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "versatune" / "looks"


def _key(folder: Path, model: ModelConfig) -> str:
    """Return what changes when a file of the model does, or who looks at it."""
    files = [
        [file.name, stat.st_size, stat.st_mtime_ns]
        for file in sorted(folder.iterdir())
        if file.is_file() and (stat := file.stat())
    ]
    return sha256_json(
        [
            VERSION,
            version("transformers"),
            str(folder.resolve()),
            files,
            model.allow_missing,
            model.trust_remote_code,
        ]
    )


def _sections(folder: Path) -> list[dict[str, Any]]:
    """Return what says something of the model's ids, the more telling first."""
    file = folder / GENERATION
    return [*([read_json(file)] if file.is_file() else []), *text_sections(folder)]


def _first(folder: Path, key: str) -> Any:
    return next((value for section in _sections(folder) if (value := section.get(key)) is not None), None)


def _eos(folder: Path) -> list[int]:
    found = [section.get("eos_token_id") for section in _sections(folder)]
    ids = [token for value in found for token in (value if isinstance(value, list) else [value])]
    return list(dict.fromkeys(token for token in ids if isinstance(token, int)))
