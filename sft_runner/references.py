"""Reference losses: what each domain's held-out loss comes down to when the base model learns that domain alone.

They are the r_j of the learnable potential (arXiv 2411.11266). The paper's releases take the last training losses of a
small model; memorised data then gives references near zero and weights that cannot move. Here a low-rank adapter of the
same base model is trained on the domain and the lowest held-out loss counts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from versatune.mixing.selection import draw_rows, pass_order
from versatune.schemas.config import Config
from versatune.schemas.errors import ConfigError
from versatune.schemas.progress import Progress
from versatune.schemas.run import MeasuredReferences, ReferenceLosses
from versatune.sft_runner.dataset import Pool, Rows
from versatune.sft_runner.evaluate import HeldOut, evaluate
from versatune.sft_runner.lora import add_adapter, remove_adapter
from versatune.sft_runner.model import Trainee
from versatune.sft_runner.steps import learning_rate_at, make_optimizer, step_seed, train_step


def reference_losses(
    config: Config,
    trainee: Trainee,
    pool: Pool,
    slices: Sequence[HeldOut],
    base_loss: Sequence[float | None],
    *,
    needed: bool,
    file: Path,
    progress: Progress,
) -> ReferenceLosses:
    """Return the reference loss of every domain, nats per scored token; 0 for a domain without training rows.

    Args:
        config: its section ``train.reference`` says where the numbers come from.
        trainee: the base model, untouched when this returns.
        pool: training rows.
        slices: held-out rows of each domain.
        base_loss: the base model's held-out losses; they are the first point of every curve.
        needed: whether the mixer reads references; if not, none is measured.
        file: finished domains are kept here, a :class:`MeasuredReferences`, so that a killed run measures none twice.
        progress: told of every optimizer step.

    Raises:
        ConfigError: source is 'given' and an active domain has no number.
        DataError, IntegrityError: the file is not what was written.
    """
    reference = config.train.reference
    zeros = [0.0] * len(pool.train)
    if not needed:
        return ReferenceLosses(source="zero", losses=zeros, protocol={"note": "the mixer uses no reference losses"})
    if reference.source == "zero":
        return ReferenceLosses(source="zero", losses=zeros, protocol={})
    if reference.source == "given":
        return ReferenceLosses(source="given", losses=_given(config, pool.train), protocol={})
    measured = _kept(file, progress)
    todo = [j for j, rows in enumerate(pool.train) if len(rows) and rows.domain not in measured]
    plans = {j: _Plan(config, pool.train[j]) for j in todo}
    progress.begin("reference losses", float(sum(p.steps for p in plans.values())), "steps")
    done = 0
    said = set[str]()  # every domain's adapter leaves out the same

    def say(notice: str) -> None:
        if notice not in said:
            said.add(notice)
            progress.say(f"notice: {notice}")

    for j, plan in plans.items():
        before, domain = done, pool.train[j].domain

        def advance(step: int, loss: float, before: int = before, domain: str = domain) -> None:
            progress.advance_to(before + step, f"{domain} {loss:.3f}")

        measured[domain] = _measure(config, trainee, plan, slices[j], base_loss[j], advance, say)
        MeasuredReferences.create(domains=measured).write(file)
        done += plan.steps
    progress.end()
    losses = [measured[rows.domain]["loss"] if len(rows) else 0.0 for rows in pool.train]
    return ReferenceLosses(source="self_adapter", losses=losses, protocol=measured)


def _kept(file: Path, progress: Progress) -> dict[str, dict[str, Any]]:
    """Return what was measured before, by domain."""
    if not file.exists():
        return {}
    with contextlib.suppress(orjson.JSONDecodeError):
        found = orjson.loads(file.read_bytes())
        if isinstance(found, dict) and "kind" not in found and all(isinstance(entry, dict) for entry in found.values()):
            progress.say(f"notice: {file} was written by an earlier versatune and has no checksum; it is used as it is")
            return found
    return dict(MeasuredReferences.load(file).domains)


def _given(config: Config, train: Sequence[Rows]) -> list[float]:
    losses = config.taxonomy.vector(config.train.reference.losses or {}, missing=float("nan"))
    for rows, loss in zip(train, losses, strict=True):
        if len(rows) and not 0.0 <= loss < float("inf"):
            raise ConfigError(
                f"train.reference.losses: domain '{rows.domain}' has {len(rows)} training rows and the loss {loss};"
                " expected a finite number of nats per token for every domain with rows"
            )
    return [loss if len(rows) else 0.0 for rows, loss in zip(train, losses, strict=True)]


class _Plan:
    """Rows, batches and evaluations of one domain's fine-tune."""

    def __init__(self, config: Config, rows: Rows) -> None:
        reference = config.train.reference
        drawn = draw_rows(config.seed, rows.domain, rows.ids, min(reference.max_rows, len(rows))).rows
        ids = [rows.ids[i] for i in drawn]
        orders = [drawn[pass_order(config.seed, rows.domain, epoch, ids)] for epoch in range(reference.epochs)]
        self.rows = rows
        # A smaller batch than the run's where an epoch would have fewer steps than evaluations: a handful of rows
        # could otherwise teach the adapter nothing in a few steps, and the potentials would all be zero.
        self.batch_rows = min(config.train.global_batch_rows, max(len(drawn) // reference.evals_per_epoch, 1))
        self.batches = [o[i : i + self.batch_rows] for o in orders for i in range(0, len(o), self.batch_rows)]
        evaluations = reference.epochs * reference.evals_per_epoch
        self.evaluate_after = {round(len(self.batches) * (i + 1) / evaluations) for i in range(evaluations)} - {0}
        self.drawn = len(drawn)

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return len(self.batches)


def _measure(
    config: Config,
    base: Trainee,
    plan: _Plan,
    slice_: HeldOut,
    base_loss: float | None,
    advance: Callable[[int, float], None],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Fine-tune a fresh adapter on one domain; the lowest loss and the curve it comes from."""
    assert base_loss is not None  # run() refused domains without held-out rows
    train, reference = config.train, config.train.reference
    trainee = add_adapter(base, reference.lora, config.seed, section="train.reference.lora", say=say)
    curve: list[list[float]] = [[0, base_loss]]
    try:
        optimizer = make_optimizer(trainee, reference.learning_rate, 0.0)
        for step, batch in enumerate(plan.batches):
            train_step(
                trainee,
                optimizer,
                [plan.rows[i] for i in batch],
                int(plan.rows.loss_tokens[batch].sum()),
                micro_batch_rows=train.micro_batch_rows,
                learning_rate=learning_rate_at(step, plan.steps, reference.learning_rate, train.warmup_ratio),
                max_grad_norm=train.max_grad_norm,
                seed=step_seed(config.seed, plan.rows.domain, step),
                where=f"reference of domain '{plan.rows.domain}', step {step + 1}",
            )
            if step + 1 in plan.evaluate_after:
                nll = evaluate(trainee, slice_, train.micro_batch_rows)
                curve.append([step + 1, float(nll.sum() / slice_.tokens.sum())])
            advance(step + 1, curve[-1][1])
    finally:
        remove_adapter(trainee)
    return {
        "loss": float(np.min([loss for _, loss in curve])),
        "rows": plan.drawn,
        "batch_rows": plan.batch_rows,
        "epochs": reference.epochs,
        "learning_rate": reference.learning_rate,
        "lora": reference.lora.model_dump(mode="json"),
        "curve": curve,
    }
