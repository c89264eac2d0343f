"""The audit of an export: what was written, loaded as anybody would load it, is what was trained.

Three questions: are the tensors those of the trained model, does a domain's loss come out as it did at the run's last evaluation, and
does generation end at the token that the rows taught. A rounding to 16 bits moves the loss a little; anything else that moves it is a fault.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from peft import PeftModel

from versatune.mixing.arrays import FloatArray
from versatune.models.loading import LOAD_ERRORS
from versatune.models.tokenizer import load_tokenizer
from versatune.schemas.config import Config
from versatune.schemas.errors import DataError
from versatune.schemas.run import AuditedDomain, ExportAudit
from versatune.sft_runner.audit_files import carried_tensors, file_problems, formats_of
from versatune.sft_runner.audit_stop import stop_problem
from versatune.sft_runner.audit_tensors import adapter_problems, tensor_problems
from versatune.sft_runner.evaluate import HeldOut, evaluate
from versatune.sft_runner.model import Trainee, load_trainee

ROWS = 4
"""Held-out rows of each domain."""
EXACT, ROUNDED = 1e-3, 2e-2
"""How far a domain's loss may be from the run's, nats per scored token: where everything is float32, and where files or arithmetic have 16
bits. docs/training.md says what was measured."""
_ROUNDING = (
    "it is the rounding alone: with the trained values in place of those in the files ({formats}) the loss is the run's. Train from a copy of the"
    " base model in float32 to keep what was trained"
)


@dataclass(kw_only=True)
class Subject:
    """What a run knows of the model that it trained."""

    config: Config
    base: Path
    """The base model's folder."""
    trainee: Trainee
    """How the run evaluates; its model is not used."""
    slices: Sequence[HeldOut]
    held_out_nll: Sequence[FloatArray]
    """Nats of every row of the slices at the last evaluation."""
    ends: Mapping[str, int]
    """The tokens that end what the rows teach, by their text."""


class Findings(NamedTuple):
    """The figures, and one line per thing that differs."""

    audit: ExportAudit
    problems: list[str]


def audit_export(
    subject: Subject, model: Any, made: Path, adapter: Path | None, trained: Mapping[str, torch.Tensor]
) -> Findings:
    """Compare an export with the run.

    Args:
        subject: the run.
        model: the trained model in memory, an adapter merged into it.
        made: the folder that holds the export.
        adapter: the folder of the adapter by itself; None for a full fine-tune.
        trained: the adapter's tensors as trained, by name.
    """
    started = time.monotonic()
    few = [HeldOut(s.rows, s.chosen[:ROWS]) for s in subject.slices]
    ran = [_loss(nll[:ROWS], s) for nll, s in zip(subject.held_out_nll, few, strict=True)]
    tolerance = _tolerance(subject, made)
    problems = [*file_problems(subject.base, made), *_tokenizer_problems(subject, made)]
    of_model = _look_at_model(subject, model, made, few, ran, tolerance)
    gc.collect()
    of_adapter = _look_at_adapter(subject, adapter, trained, few, ran, tolerance)
    problems += [*of_model.problems, *of_adapter.problems]
    domains = [
        AuditedDomain(domain=s.rows.domain, rows=len(s.chosen), loss_run=a, loss_model=b, loss_adapter=c)
        for s, a, b, c in zip(few, ran, of_model.losses, of_adapter.losses, strict=True)
        if a is not None and b is not None
    ]
    apart = [abs(x - d.loss_run) for d in domains for x in (d.loss_model, d.loss_adapter) if x is not None]
    audit = ExportAudit(
        tensors=of_model.tensors,
        carried=of_model.carried,
        domains=domains,
        largest_difference=max(apart, default=0.0),
        tolerance=tolerance,
        ends=of_model.ends,
        seconds=round(time.monotonic() - started, 3),
        share=0.0,  # the run knows its seconds
    )
    return Findings(audit, problems)


@dataclass
class _Seen:
    """What was seen of a folder: losses by domain, nats per scored token, and what is wrong."""

    losses: list[float | None]
    problems: list[str]
    tensors: int = 0
    carried: int = 0
    ends: dict[str, str] = field(default_factory=dict)


def _look_at_model(
    subject: Subject, model: Any, made: Path, few: Sequence[HeldOut], ran: Sequence[float | None], tolerance: float
) -> _Seen:
    """Load the export in float32, so that no value is rounded, and ask it everything."""
    seen = _Seen([None] * len(few), [])
    assert subject.config.model is not None  # it was trained
    load: Any = transformers.AutoModelForCausalLM.from_pretrained  # typed as if it never returned two things
    try:
        stranger, info = load(
            made,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=subject.config.model.trust_remote_code,
            output_loading_info=True,
        )
    except LOAD_ERRORS as error:
        seen.problems.append(f"model/: transformers does not load it ({_words(error)})")
        return seen
    seen.carried, wrong = carried_tensors(subject.base, made, stranger, info)
    stranger.to(subject.trainee.device)
    # Tensors first: some models change their weights when they are evaluated.
    seen.tensors, differing = tensor_problems(model, stranger, made)
    seen.losses = _losses(subject, stranger, few)
    off = _loss_problems("model", few, ran, seen.losses, tolerance)
    seen.problems += [*wrong, *differing, *off]
    for text, token in subject.ends.items():
        seen.ends[text], problem = stop_problem(stranger, few, text, token)
        seen.problems += [problem] if problem else []
    if off and not differing:
        stranger.load_state_dict(model.state_dict())
        if not _loss_problems("model", few, ran, _losses(subject, stranger, few), tolerance):
            seen.problems.append(_ROUNDING.format(formats=" and ".join(sorted(formats_of(made)))))
    return seen


def _look_at_adapter(
    subject: Subject,
    adapter: Path | None,
    trained: Mapping[str, torch.Tensor],
    few: Sequence[HeldOut],
    ran: Sequence[float | None],
    tolerance: float,
) -> _Seen:
    """Put the adapter on the base model, as the run held it, through peft."""
    seen = _Seen([None] * len(few), [])
    if adapter is None:
        return seen
    base = load_trainee(subject.config, subject.base)
    try:
        model = PeftModel.from_pretrained(base.model, str(adapter)).to(base.device)
    except LOAD_ERRORS as error:
        seen.problems.append(f"adapter/: peft does not put it on the base model ({_words(error)})")
        return seen
    seen.losses = _losses(subject, model, few)
    seen.problems += [*adapter_problems(trained, model), *_loss_problems("adapter", few, ran, seen.losses, tolerance)]
    return seen


def _tokenizer_problems(subject: Subject, made: Path) -> list[str]:
    """Say that the export's tokenizer does not load, or is not the base model's."""
    assert subject.config.model is not None  # it was trained
    trust = subject.config.model.trust_remote_code
    try:
        theirs, ours = (load_tokenizer(folder, trust_remote_code=trust) for folder in (subject.base, made))
    except DataError as error:
        return [f"model/: its tokenizer is of no use ({error})"]
    problems = []
    if theirs.backend_tokenizer.to_str() != ours.backend_tokenizer.to_str():
        problems.append("model/: its tokenizer is not the base model's")
    if not ours.chat_template:
        problems.append("model/: its tokenizer has no chat template")
    return problems


def _tolerance(subject: Subject, made: Path) -> float:
    narrow = subject.config.train.dtype != "float32" or formats_of(made) & {"BF16", "F16"}
    return ROUNDED if narrow else EXACT


def _loss(nll: FloatArray, few: HeldOut) -> float | None:
    """Nats per scored token; None for a domain without held-out rows."""
    return float(np.sum(nll) / few.tokens.sum()) if len(few.chosen) else None


def _losses(subject: Subject, model: Any, few: Sequence[HeldOut]) -> list[float | None]:
    trainee = replace(subject.trainee, model=model)
    return [_loss(evaluate(trainee, s, subject.config.train.micro_batch_rows), s) for s in few]


def _loss_problems(
    what: str, few: Sequence[HeldOut], ran: Sequence[float | None], now: Sequence[float | None], tolerance: float
) -> list[str]:
    return [
        f"{what}/: the loss of domain '{s.rows.domain}' is {loss:.4f} nats per token over {len(s.chosen)} held-out rows, and was {before:.4f} at"
        f" the run's last evaluation; expected a difference of at most {tolerance:g}"
        for s, before, loss in zip(few, ran, now, strict=True)
        if before is not None and loss is not None and not abs(loss - before) <= tolerance
    ]


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
