"""Every tensor of the export, as a model that was loaded from it has it, beside the trained one in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from versatune.models.rounding import is_rounded
from versatune.sft_runner.audit_files import some, stored_tensors

_FORMATS = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


def tensor_problems(model: Any, stranger: Any, made: Path) -> tuple[int, list[str]]:
    """Compare two models of one class, value by value.

    A value must be the trained one, rounded to the format of its tensor in the file and to nothing less. Where the names in file and model
    differ, or one tensor of the model is made of several of the file, each format that the files have will do.

    Args:
        model: what was trained, in memory.
        stranger: what was loaded from the export, in float32.
        made: the export.

    Returns:
        How many tensors were compared, and what is wrong.
    """
    stored = stored_tensors(made)
    every = {_FORMATS[s.format] for s in stored.values() if s.format in _FORMATS}
    trained, loaded = model.state_dict(), stranger.state_dict()
    problems = []
    if odd := sorted(trained.keys() ^ loaded.keys()):
        problems.append(f"{some(odd)}: in only one of the trained model and the one that model/ makes")
    pairs = [pair for pair in _shared(trained) if loaded.keys() >= set(pair)]
    if apart := [pair for pair in pairs if loaded[pair[0]].data_ptr() != loaded[pair[1]].data_ptr()]:
        problems.append(f"{some(list(apart[0]))}: one weight in the trained model, two in the one that model/ makes")
    other = []
    largest = 0.0
    for name in trained.keys() & loaded.keys():
        known = stored.get(name)
        formats = {_FORMATS[known.format]} if known is not None and known.format in _FORMATS else every
        ours, theirs = trained[name].detach().cpu(), loaded[name].detach().cpu()
        if not _same(ours, theirs, formats):
            other.append(name)
            if ours.shape == theirs.shape:
                largest = max(largest, float((ours.float() - theirs.float()).abs().max()))
    if other:
        problems.append(f"{some(sorted(other))}: not the trained values, off by up to {largest:.3g}")
    return len(trained.keys() & loaded.keys()), problems


def adapter_problems(trained: Mapping[str, torch.Tensor], model: Any) -> list[str]:
    """Compare an adapter as trained, by name, with the one that peft loaded; peft says nothing of tensors that a file lacks."""
    loaded = dict(model.named_parameters())
    missing = [name for name in trained if name not in loaded]
    problems = []
    if missing:
        problems.append(f"adapter/: {some(missing)}: not in the model that peft makes of it")
    other = [n for n, value in trained.items() if n in loaded and not torch.equal(value, loaded[n].detach().cpu())]
    if other:
        problems.append(f"adapter/: {some(other)}: not the trained values")
    return problems


def _same(ours: torch.Tensor, theirs: torch.Tensor, formats: Iterable[torch.dtype]) -> bool:
    """Tell whether each value is ours in one of the formats, rounded up or down."""
    if ours.shape != theirs.shape:
        return False
    if torch.equal(ours, theirs.to(ours.dtype)):
        return True
    if not ours.is_floating_point():
        return False
    fitting = torch.zeros(ours.shape, dtype=torch.bool)
    for dtype in formats:
        fitting |= is_rounded(ours, theirs.to(ours.dtype), dtype)
    return bool(fitting.all())


def _shared(state: Mapping[str, torch.Tensor]) -> list[tuple[str, str]]:
    """Return pairs of names of one weight."""
    first: dict[tuple[int, torch.Size], str] = {}
    names = [(first.setdefault((t.data_ptr(), t.shape), name), name) for name, t in state.items() if t.numel()]
    return [(one, other) for one, other in names if one != other]
