"""A model's weights, written into files like those of another folder: same names, number formats and files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from versatune.models.files import read_json, tensors_of

if TYPE_CHECKING:
    import torch

_ONE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_METADATA = {"format": "pt"}


def weight_files(folder: Path) -> list[Path]:
    """Return the files that transformers loads: those that the index names, else the one; others (consolidated.safetensors) hold the same again."""
    index = folder / _INDEX
    names = set(read_json(index)["weight_map"].values()) if index.is_file() else {_ONE}
    return [folder / name for name in sorted(names) if (folder / name).is_file()]


def write_weights(model: Any, base: Path, made: Path) -> None:
    """Write each tensor of the base model's files again: with the model's value, or unchanged where the model does not have it.

    Weights that the model has and no file of the base model, such as an output layer that was shared before, come behind the last file's.

    Args:
        model: in memory, in any number format.
        base: the folder whose files are followed.
        made: where they are written.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    from versatune.models.rounding import rounded

    files = weight_files(base)
    values = _values(model, {name for file in files for name in tensors_of(file)})
    for file in files:
        tensors = {}
        with safe_open(file, "pt") as stored:
            for name in stored.keys():  # noqa: SIM118  # no dictionary
                tensor = stored.get_tensor(name)
                tensors[name] = rounded(values.pop(name), tensor.dtype) if name in values else tensor
        if file == files[-1]:
            format_ = next((t.dtype for t in tensors.values() if t.is_floating_point()), None)
            tensors |= {name: rounded(value, format_ or value.dtype) for name, value in values.items()}
        save_file(_apart(tensors), made / file.name, metadata=_METADATA)
    if (base / _INDEX).is_file():
        _write_index(read_json(base / _INDEX), list(values), files[-1].name, made / _INDEX)


def write_plain_weights(model: Any, base: Path, made: Path) -> None:
    """Write a model whose base's files hold quantised weights: in bfloat16, but for what they hold in float32, under the plain model's names."""
    import torch
    from safetensors.torch import save_file

    from versatune.models.rounding import rounded

    wide = {
        name for file in weight_files(base) for name, tensor in tensors_of(file).items() if tensor["dtype"] == "F32"
    }
    model._weight_conversions = None  # noqa: SLF001  # those of a plain model, without the steps that undo the quantisation
    tensors = {
        name: rounded(value, torch.float32 if name in wide else torch.bfloat16)
        for name, value in _values(model, set()).items()
    }
    save_file(_apart(tensors), made / _ONE, metadata=_METADATA)


def _values(model: Any, known: set[str]) -> dict[str, torch.Tensor]:
    """Return the model's weights by the names that files give them; one that several share by one name, unless the files have more of them."""
    from transformers.core_model_loading import revert_weight_conversion

    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    values = revert_weight_conversion(model, state)
    rename = _prefixed(known, getattr(model, "base_model_prefix", ""))
    values = {rename(name): value for name, value in values.items()}
    written = {value.data_ptr() for name, value in values.items() if name in known}
    for name, value in list(values.items()):
        if name not in known and value.numel():
            if value.data_ptr() in written:
                del values[name]
            written.add(value.data_ptr())
    return values


def _prefixed(known: set[str], prefix: str) -> Callable[[str], str]:
    """Return what gives a weight the name that the files have for it, with or without the model's prefix."""

    def rename(name: str) -> str:
        for other in (name, f"{prefix}.{name}", name.removeprefix(f"{prefix}.")):
            if other in known:
                return other
        return name

    return rename


def _apart(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors of which no two share memory, as the format wants it."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.contiguous().clone() if storage in seen else tensor.contiguous()
        seen.add(storage)
    return apart


def _write_index(index: dict[str, Any], added: list[str], file: str, target: Path) -> None:
    index["weight_map"] |= dict.fromkeys(added, file)
    target.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
