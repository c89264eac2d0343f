"""A model folder: whether it can be used, which model it is, how long its texts may be."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from versatune.schemas.errors import DataError, IntegrityError
from versatune.schemas.files import sha256_file, sha256_json

_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
# The chat template is not here: it changes conversations, and is pinned with their tokens, but not the model.
_IDENTITY = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    *_VOCABULARIES,
    "*.tiktoken",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_WITHOUT_POSITIONS = ("bloom",)  # ALiBi, whatever length it was trained with
_STRETCHED = ("linear", "dynamic", "yarn")  # llama3 and longrope write the stretched length
_CONTEXT_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_sequence_length",
    "seq_length",
    "n_ctx",
    "max_target_positions",
)
_AFTER_PADDING = (
    "roberta",
    "camembert",
    "xlm-roberta",
    "xlm-roberta-xl",
    "data2vec-text",
    "roberta-prelayernorm",
)  # first position: pad id + 1


def check_model_folder(folder: str | Path) -> None:
    """Refuse a folder that holds no usable transformers model in safetensors form.

    Raises:
        DataError: no such folder, no configuration, no weights or only pickled ones, cut-off weights, no tokenizer.
    """
    path = Path(folder)
    if not path.is_dir():
        raise DataError(
            f"model {path}: there is no such folder; expected one with config.json, *.safetensors and a tokenizer"
        )
    if not (path / "config.json").is_file():
        raise DataError(
            f"model {path}: it has no config.json; expected a model saved by transformers (save_pretrained)"
        )
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        raise DataError(f"model {path}: {_without_safetensors(path)}")
    for file in weights:
        _check_safetensors(file)
    _check_index(path)
    if not any((path / name).is_file() for name in _VOCABULARIES) and not any(path.glob("*.tiktoken")):
        raise DataError(
            f"model {path}: it has no tokenizer (none of {', '.join(_VOCABULARIES)}); save the tokenizer into the same folder;"
            " to build without tokens, set build.tokenize to false"
        )


def model_digest(folder: str | Path, *, generation: bool = True) -> str:
    """Return the sha256 of the sorted (file name, sha256) pairs of a folder's weights, configuration and tokenizer.

    Args:
        folder: of the model.
        generation: whether the settings of generation are part of it: they are for who generates, not for who trains.
    """
    names = {file for pattern in _IDENTITY for file in Path(folder).glob(pattern) if file.is_file()}
    if not generation:
        names.discard(Path(folder) / "generation_config.json")
    return sha256_json([[file.name, sha256_file(file)] for file in sorted(names)])


def check_model_digest(folder: str | Path, expected: str, name: str) -> None:
    """Refuse a folder with another model than the one that was planned.

    Raises:
        IntegrityError: :func:`model_digest` is another.
    """
    found = model_digest(folder)
    if found != expected:
        raise IntegrityError(
            f"model {name}: its files have the digest {found[:12]}, expected {expected[:12]}; somebody has changed them since"
            " the work was planned. Start it again"
        )


def tensors_of(file: Path) -> dict[str, dict[str, Any]]:
    """Return ``dtype``, ``shape`` and ``data_offsets`` of each tensor of a safetensors file, which are not read.

    Raises:
        DataError: it is no such file.
    """
    return _read_header(file)[1]


def context_length(folder: str | Path) -> int | None:
    """Return how many tokens the model can attend to; None if its configuration does not say, or where positions have no end (ALiBi)."""
    for section in text_sections(folder):
        if section.get("model_type") in _WITHOUT_POSITIONS or _has_alibi(section):
            return None
        for key in _CONTEXT_KEYS:
            if isinstance(section.get(key), int):
                return _scaled(int(section[key]), section) - _unused_positions(section)
    return None


def _unused_positions(section: dict[str, Any]) -> int:
    """Return how many of the learned positions no token has."""
    return int(section.get("pad_token_id") or 0) + 1 if section.get("model_type") in _AFTER_PADDING else 0


def text_sections(folder: str | Path) -> list[dict[str, Any]]:
    """Return what config.json says of the model, and what it says of the text part of one that has several."""
    config = read_json(Path(folder) / "config.json")
    nested = config.get("text_config")
    return [config, nested] if isinstance(nested, dict) else [config]


def _has_alibi(section: dict[str, Any]) -> bool:
    attention = section.get("attn_config")
    return bool(section.get("alibi") or (isinstance(attention, dict) and attention.get("alibi")))


def _scaled(length: int, section: dict[str, Any]) -> int:
    """Stretch a length that counts without the scaling of its rotary positions; where it is counted already nothing is lost."""
    scaling = section.get("rope_parameters") or section.get("rope_scaling")
    if not isinstance(scaling, dict) or scaling.get("rope_type", scaling.get("type")) not in _STRETCHED:
        return length
    factor, original = scaling.get("factor"), scaling.get("original_max_position_embeddings") or length
    if not isinstance(factor, int | float) or not isinstance(original, int):
        return length
    return max(length, int(original * factor))


def _without_safetensors(path: Path) -> str:
    pickles = sorted(file.name for pattern in _PICKLES for file in path.glob(pattern))
    if not pickles:
        return "it has no weights; expected *.safetensors"
    return (
        f"its weights are pickles ({', '.join(pickles[:3])}), which can run code when they are loaded; convert them to"
        " safetensors (transformers: save_pretrained)"
    )


def _check_safetensors(file: Path) -> None:
    """Compare a file's size with its header: finds cut-off downloads and Git LFS pointers without reading the tensors."""
    length, tensors = _read_header(file)
    expected = 8 + length + max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
    if file.stat().st_size != expected:
        raise DataError(
            f"model file {file}: it has {file.stat().st_size:,} bytes, its header promises {expected:,}; download it again"
        )


def _read_header(file: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the header's length in bytes and its tensors."""
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        header = stream.read(length) if 0 < length <= file.stat().st_size - 8 else b""
    try:
        tensors = json.loads(header)
        tensors.pop("__metadata__", None)
        [tensor["data_offsets"][1] for tensor in tensors.values()]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise DataError(f"model file {file}: not a safetensors file; download or save it again") from None
    return length, tensors


def _check_index(path: Path) -> None:
    for index in path.glob("*.safetensors.index.json"):
        weight_map = read_json(index).get("weight_map")
        missing = sorted(
            {str(name) for name in (weight_map or {}).values()} - {f.name for f in path.glob("*.safetensors")}
        )
        if missing:
            raise DataError(
                f"model {path}: {index.name} names {missing[0]}, which is not there; download the model again"
            )


def read_json(file: Path) -> dict[str, Any]:
    """Return a JSON object of a model folder.

    Raises:
        DataError: it cannot be read, or is none.
    """
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"model file {file}: not JSON ({error}); download or save the model again") from None
    if not isinstance(value, dict):
        raise DataError(f"model file {file}: holds {type(value).__name__}; expected keys and values")
    return value
