"""The audit of a finished run, again: its checkpoint beside what lies in ``model/`` and ``adapter/``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from versatune.schemas.lock import only_one
from versatune.schemas.progress import Progress
from versatune.sft_runner.audit import Findings, audit_export
from versatune.sft_runner.publish import ADAPTER, MODEL, base_name, merge, save_adapter
from versatune.sft_runner.train import trained_run


def audit_run(directory: Path, progress: Progress, fetch: Callable[[str], Path] | None = None) -> Findings:
    """Compare a run's export with its last checkpoint; errors as of :func:`versatune.sft_runner.train.export`."""
    with only_one(directory, "train"):
        work, _ = trained_run(directory, progress, fetch)
        subject = work.subject()
        model: Any = subject.trainee.model
        adapter, trained = None, dict[str, torch.Tensor]()
        if isinstance(model, PeftModel):
            adapter = directory / ADAPTER
            with (
                tempfile.TemporaryDirectory() as place
            ):  # the checkpoint's adapter, whatever the run's folder holds now
                trained = save_adapter(model, Path(place), base_name(subject, directory))
                model = merge(subject, Path(place))
        progress.say(f"audit: {directory / MODEL}")
        return audit_export(subject, model, directory / MODEL, adapter, trained)
