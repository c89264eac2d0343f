"""The export's files beside the base model's: names and number formats of the tensors, and those that were carried through unchanged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open

from versatune.models.files import read_json, tensors_of
from versatune.models.weights import weight_files

_SHOWN = 3


class Stored(NamedTuple):
    """One tensor in a folder."""

    file: Path
    format: str  # as safetensors names it: F32, BF16, F16 ...
    shape: tuple[int, ...]


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """Return every tensor of the files that transformers loads of a folder, by its name; the tensors are not read."""
    return {
        name: Stored(file, tensor["dtype"], tuple(tensor["shape"]))
        for file in weight_files(folder)
        for name, tensor in tensors_of(file).items()
    }


def formats_of(folder: Path) -> set[str]:
    """Return the number formats of a folder's tensors."""
    return {stored.format for stored in stored_tensors(folder).values()}


def file_problems(base: Path, made: Path) -> list[str]:
    """Say which tensors of the base model's files the export lacks, and which have another number format or shape.

    A quantised base model is exported in 16 bits under other names: there is nothing to compare with.
    """
    if _quantised(base):
        return []
    theirs, ours = stored_tensors(base), stored_tensors(made)
    lost = [name for name in theirs if name not in ours]
    problems = []
    if lost:
        problems.append(f"{some(lost)} of the base model's files: missing in model/")
    for name in theirs.keys() & ours.keys():
        before, after = theirs[name], ours[name]
        if before.shape != after.shape:
            problems.append(
                f"tensor '{name}' has the shape {list(after.shape)}, in the base model's files {list(before.shape)}"
            )
    other = sorted(name for name in theirs.keys() & ours.keys() if theirs[name].format != ours[name].format)
    if other:
        name = other[0]
        problems.append(
            f"{some(other)}: number format {ours[name].format}, in the base model's files {theirs[name].format}"
        )
    return problems


def carried_tensors(base: Path, made: Path, model: Any, info: Mapping[str, Any]) -> tuple[int, list[str]]:
    """Compare what the model does not load with the base model's files, and refuse what it lacks.

    Args:
        base: the base model's folder.
        made: the export.
        model: the export as transformers loaded it.
        info: what transformers says of the loading.

    Returns:
        How many tensors were carried through, and what is wrong.
    """
    problems = [
        f"{some(sorted(map(str, info[kind])))}: {kind.removesuffix('_keys')} when model/ is loaded"
        for kind in ("missing_keys", "mismatched_keys")
        if info.get(kind)
    ]
    ignored = [re.compile(pattern) for pattern in getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()]
    unexpected = set(map(str, info.get("unexpected_keys", ())))
    theirs, ours = stored_tensors(base), stored_tensors(made)
    # Patterns of what is ignored are wide: GPT-2's "attn.bias" fits "c_attn.bias", which is trained.
    known = {name.removeprefix(f"{model.base_model_prefix}.") for name in model.state_dict()}
    carried = [
        name
        for name in ours
        if name in unexpected
        or (
            name.removeprefix(f"{model.base_model_prefix}.") not in known
            and any(pattern.search(name) for pattern in ignored)
        )
    ]
    strange = [name for name in carried if name not in theirs]
    if strange:
        problems.append(
            f"{some(strange)}: in model/, but neither in the base model's files nor in the model that they make"
        )
    changed = [name for name in carried if name in theirs and not _same_bytes(name, theirs[name].file, ours[name].file)]
    if changed:
        problems.append(
            f"{some(changed)}: not part of what was trained, and no longer what the base model's files hold"
        )
    return len(carried) - len(strange), problems


def some(names: list[str]) -> str:
    """Name the first few of several tensors."""
    shown = ", ".join(f"'{name}'" for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"{'tensor' if len(names) == 1 else 'tensors'} {shown}{more}"


def _quantised(folder: Path) -> bool:
    return bool(read_json(folder / "config.json").get("quantization_config"))


def _same_bytes(name: str, one: Path, other: Path) -> bool:
    with safe_open(one, "pt") as first, safe_open(other, "pt") as second:
        a, b = first.get_tensor(name), second.get_tensor(name)
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(a.contiguous().reshape(-1).view(torch.uint8), b.contiguous().reshape(-1).view(torch.uint8))
