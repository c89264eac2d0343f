"""One look at a model folder, for every stage: what its files say, and whether it can be trained.

The second question is answered by transformers itself, on shapes without values. That takes some seconds, most of them imports, so an answer
that was yes is remembered by the files' names, sizes and times.
"""

from __future__ import annotations

import contextlib
from importlib.metadata import version
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any, TypeVar

from versatune.models.files import check_model_folder, context_length, read_json, tensors_of, text_sections
from versatune.models.fit import check_model_fit, embedding_rows
from versatune.models.generation import GENERATION, check_generation_settings
from versatune.models.loading import is_multimodal
from versatune.models.quantization import check_quantization, quantization
from versatune.models.weights import weight_files
from versatune.schemas.config import Config, LoraConfig, ModelConfig
from versatune.schemas.files import sha256_json, write_atomic
from versatune.schemas.model_facts import ModelFacts
from versatune.schemas.remote import cache_home
from versatune.schemas.version import VERSION

T = TypeVar("T")
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
    tensors = [t for file in weight_files(folder) for t in tensors_of(file).values()]
    settings = read_json(folder / "config.json")
    return ModelFacts(
        name=Path(name).name,
        model_type=_if(str, settings.get("model_type")),
        architecture=next(
            (name for name in _if(list, settings.get("architectures")) or [] if isinstance(name, str)), None
        ),
        parameters=sum(prod(tensor["shape"]) for tensor in tensors) or None,
        formats={kind: sum(t["dtype"] == kind for t in tensors) for kind in sorted({t["dtype"] for t in tensors})},
        embedding_rows=embedding_rows(folder),
        context=context_length(folder),
        bos=_first(folder, "bos_token_id", int),
        eos=_eos(folder),
        pad=_first(folder, "pad_token_id", int),
        tied=_first(folder, "tie_word_embeddings", bool),
        quantization=quantization(folder),
        multimodal=is_multimodal(folder),
        experts=next((found for key in _EXPERTS if (found := _first(folder, key, int))), None),
        own_code=bool(settings.get("auto_map")),
    )


def check_trainable(folder: Path, config: Config) -> list[str]:
    """Refuse a model that training would refuse, or would train wrongly, before anything is made for it.

    A folder without weights is one of a tokenizer: there is nothing to look at. Where torch is not installed, quantised weights alone are found; training
    then looks again.

    Returns:
        What its user should know: settings that the export mends, weights that are drawn at random because model.allow_missing allows it.

    Raises:
        ConfigError, DataError: the weights are not those of the configuration, are quantised, or belong to a model that cannot be trained.
    """
    model = config.model
    assert model is not None  # there is a folder
    if not any(file for pattern in _WEIGHTS for file in folder.glob(pattern)):
        return []
    check_model_folder(folder)
    check_model_fit(folder, max_tokens=0)  # pad id and tokens; how long rows are is the build's to compare
    check_quantization(folder, model.path, config.train.method)
    # Before the weights: transformers refuses some of them with the whole model.
    notices = [notice] if (notice := check_generation_settings(folder)) else []
    if find_spec("torch") is None or find_spec("transformers") is None:
        return notices
    wanted = _adapters(config)
    remembered = _memory() / _key(folder, model, wanted)
    if remembered.is_file():
        return notices + remembered.read_text(encoding="utf-8").splitlines()
    from versatune.models.adapters import find_targets
    from versatune.models.causality import check_kind_causal
    from versatune.models.loading import load_shapes, made_up_notice

    shapes, made_up, _ = load_shapes(folder, model)
    check_kind_causal(folder, model)
    for section, lora in wanted:
        find_targets(shapes, lora, section)
    drawn = [made_up_notice(folder, made_up)] if made_up else []
    with contextlib.suppress(OSError):  # a cache that cannot be written costs seconds, no more
        write_atomic(remembered, "\n".join(drawn).encode())
    return notices + drawn


def _memory() -> Path:
    return cache_home() / "looks"


def _adapters(config: Config) -> list[tuple[str, LoraConfig]]:
    """Return the adapters that a run would put on the model, and where they are configured."""
    train = config.train
    own = [("train.lora", train.lora)] if train.method == "lora" else []
    return own + ([("train.reference.lora", train.reference.lora)] if train.reference.source == "self_adapter" else [])


def _key(folder: Path, model: ModelConfig, adapters: list[tuple[str, LoraConfig]]) -> str:
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
            version("torch"),
            str(folder.resolve()),
            files,
            model.allow_missing,
            model.trust_remote_code,
            [[section, lora.model_dump(mode="json")] for section, lora in adapters],
        ]
    )


def _sections(folder: Path) -> list[dict[str, Any]]:
    """Return what says something of the model's ids, the more telling first."""
    file = folder / GENERATION
    return [*([read_json(file)] if file.is_file() else []), *text_sections(folder)]


def _first(folder: Path, key: str, kind: type[T]) -> T | None:
    return next((value for section in _sections(folder) if (value := _if(kind, section.get(key))) is not None), None)


def _if(kind: type[T], value: Any) -> T | None:
    """Return a value if it is of a kind: people write other things into these files, and nobody reads them."""
    return value if isinstance(value, kind) else None


def _eos(folder: Path) -> list[int]:
    found = [section.get("eos_token_id") for section in _sections(folder)]
    ids = [token for value in found for token in (value if isinstance(value, list) else [value])]
    return list(dict.fromkeys(token for token in ids if isinstance(token, int)))
