"""From a trained model to ``model/`` and ``adapter/``: written beside their places, audited, and only then given their names."""

from __future__ import annotations

import gc
import json
import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftModel

from versatune.models.files import read_json
from versatune.schemas.errors import RunError
from versatune.schemas.files import atomic_directory, sha256_file, sync
from versatune.schemas.inside import inside
from versatune.schemas.progress import Progress
from versatune.schemas.run import ExportAudit
from versatune.sft_runner.audit import Subject, audit_export
from versatune.sft_runner.export import merged_model, write_model

MODEL, ADAPTER, RECORD = "model", "adapter", "run.json"
_SETS = ("target_modules", "exclude_modules")
"""What peft holds as sets, and writes in an order that is another in every process."""


_PINNED = ("weights.jsonl", "metrics.jsonl", "references.json", "export.json")
"""Files of a run that change no more once it has ended; the rest is in checkpoints, which pin themselves, and in the model's folder."""


class Published(NamedTuple):
    """What was published."""

    files: dict[str, str]  # sha256 of every file of model/ by its path in it
    audit: ExportAudit


def publish(subject: Subject, run: Path, progress: Progress) -> Published:
    """Write ``run/model``, under LoRA ``run/adapter`` too, and audit both before either appears.

    The trainee's model is used up. The run's record goes before the new model comes: who is killed in between has a run that has not
    finished, and no record of a model that is gone.

    Raises:
        RunError: what was written is not what was trained. Nothing is published; what stood there before stays.
    """
    with ExitStack() as places:
        made = places.enter_context(atomic_directory(run / MODEL))
        progress.say(f"export: {run / MODEL}")
        adapter, trained = None, {}
        if isinstance(subject.trainee.model, PeftModel):
            adapter = places.enter_context(atomic_directory(run / ADAPTER))
            trained = save_adapter(subject.trainee.model, adapter, base_name(subject, run))
            model = merge(subject, adapter)
        else:
            model = subject.trainee.model
        write_model(subject.config, model, subject.base, made, ends=list(subject.ends.values()))
        files = sorted(file for folder in (made, adapter) if folder for file in folder.rglob("*") if file.is_file())
        for file in files:
            file.chmod(0o644)  # safetensors writes for the owner alone; others may serve the model
            sync(file)
        progress.say(f"audit: {run / MODEL}")
        audit, problems = audit_export(subject, model, made, adapter, trained)
        if problems:
            raise RunError(refusal(run, problems))
        (run / RECORD).unlink(missing_ok=True)
        digests = {f.relative_to(made).as_posix(): sha256_file(f) for f in files if f.is_relative_to(made)}
    return Published(digests, audit)


def pinned_files(run: Path) -> dict[str, str]:
    """Return the sha256 of what a run wrote for good beside its model, by path: logs, references, export plan and adapter."""
    names = [name for name in _PINNED if (run / name).is_file()]
    adapter = inside(run, ADAPTER)
    names += sorted(file.relative_to(run).as_posix() for file in adapter.rglob("*") if file.is_file())
    return {name: sha256_file(inside(run, name)) for name in names}


def refusal(run: Path, problems: list[str]) -> str:
    """Say what differs, and what is still there."""
    return "\n".join(
        [
            f"{run}: the export is not the model that was trained, so nothing was published:",
            *(f"  {problem}" for problem in problems),
            f"The last checkpoint stays. `versatune export {run}` tries again without training, once the cause is mended",
        ]
    )


def base_name(subject: Subject, run: Path) -> str:
    """Return what an adapter says of its base: a hub id or an address as it is, a folder as it is seen from the run's."""
    assert subject.config.model is not None  # it was trained
    path = subject.config.model.path
    local = "://" not in path and Path(subject.config.resolve(path)).is_dir()
    return os.path.relpath(subject.base, run) if local else path


def save_adapter(model: PeftModel, folder: Path, base: str) -> dict[str, torch.Tensor]:
    """Write the adapter by itself, and of what base it is; return copies of its tensors by name, on the CPU."""
    model.peft_config[model.active_adapter].base_model_name_or_path = base
    model.save_pretrained(str(folder), save_embedding_layers=False)
    file = folder / "adapter_config.json"
    settings = read_json(file)
    for name in _SETS:
        if isinstance(settings.get(name), list):
            settings[name].sort()
    file.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return {name: p.detach().cpu().clone() for name, p in model.named_parameters() if p.requires_grad}


def merge(subject: Subject, adapter: Path) -> Any:
    """Merge the adapter into the base model as its files have it; the model that was trained makes room first."""
    subject.trainee = replace(subject.trainee, model=None)
    gc.collect()
    return merged_model(subject.config, subject.base, adapter)
