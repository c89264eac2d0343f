"""The fine-tuning run, top to bottom: compose a segment, train on it, evaluate, re-weight, again (arXiv 2411.11266)."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers

from versatune.mixing.advance import Observation, advance, state_from_dict, state_to_dict
from versatune.mixing.arrays import FloatArray, Floats, IntArray
from versatune.mixing.losses import mean_loss
from versatune.models.causality import check_causal
from versatune.models.files import check_model_folder, model_digest
from versatune.models.fit import check_model_fit, embedding_rows
from versatune.models.generation import check_generation_settings
from versatune.models.look import check_trainable, look
from versatune.models.source import model_folder
from versatune.schemas.checkpoint import CheckpointState, Counters
from versatune.schemas.config import Config
from versatune.schemas.errors import ConfigError, DataError
from versatune.schemas.export_plan import NAME as EXPORT_PLAN
from versatune.schemas.export_plan import ExportPlan, load_plan
from versatune.schemas.files import sha256_file, sha256_json
from versatune.schemas.inside import inside
from versatune.schemas.lock import only_one
from versatune.schemas.mixture import MixtureManifest
from versatune.schemas.pointer import points_to, write_pointer
from versatune.schemas.progress import Progress
from versatune.schemas.run import CheckpointRecord, RunRecord
from versatune.schemas.version import VERSION
from versatune.sft_runner.audit import Subject
from versatune.sft_runner.checkpoint import (
    CHECKPOINTS,
    Resumable,
    load_tensors,
    newest_whole,
    save_checkpoint,
)
from versatune.sft_runner.dataset import Pool, check_ids, read_pool
from versatune.sft_runner.device import slow_dtype
from versatune.sft_runner.evaluate import change_z, evaluate, held_out, numbers, summarize
from versatune.sft_runner.logs import JsonLines
from versatune.sft_runner.lora import add_adapter
from versatune.sft_runner.model import check_tokenizer, check_trains, end_tokens, load_trainee
from versatune.sft_runner.publish import MODEL, RECORD, pinned_files, publish
from versatune.sft_runner.references import reference_losses
from versatune.sft_runner.reweight import check_held_out, mixer_of, start_state, uninformative_warning
from versatune.sft_runner.segments import Segment, compose_segment
from versatune.sft_runner.steps import learning_rate_at, make_optimizer, step_seed, train_step


def run(config: Config, mixture_path: Path, *, progress: Progress, fetch: Callable[[str], Path] | None = None) -> Path:
    """Fine-tune the configured model on a mixture; return the path of ``run.json``.

    A run has its own directory, named after mixture, train section, model files and seed. If it is finished there, this
    returns at once; if it was killed, it goes on from its newest checkpoint and repeats the losses it would have had. One
    process at a time works on a run.

    Args:
        config: sections ``model`` and ``train``, ``seed``, ``output`` and ``name``.
        mixture_path: a mixture manifest.
        progress: told of evaluations, reference fine-tunes and every optimizer step.
        fetch: gives the local folder of a model on an object store; without it such a model is refused.

    Raises:
        ConfigError, DataError: settings, model, dataset and mixture do not fit together.
        IntegrityError: a shard or a checkpoint is not what it should be.
        RunError: the loss is not finite, or another process trains the same run.
    """
    mixture = MixtureManifest.load(mixture_path)
    folder, notices = _model_folder(config, mixture, fetch)
    identity = _identity(config, mixture, folder)
    runs = Path(config.home) / "runs"
    directory = runs / sha256_json([VERSION, identity])[:12]
    file = directory / "run.json"
    with only_one(directory, "train"):
        if not _finished(file):
            file.unlink(missing_ok=True)
            for notice in notices:
                progress.say(f"notice: {notice}")
            ExportPlan.of(config, mixture_path, directory).write(directory / EXPORT_PLAN)
            work = _open(config, mixture, mixture_path, folder, directory, identity, progress)
            work.train()
            work.finish(mixture_path)
        write_pointer(runs / "latest.json", f"{directory.name}/run.json", RunRecord.load(file).digest)
    return file


def export(directory: Path, *, progress: Progress, fetch: Callable[[str], Path] | None = None) -> Path:
    """Export a run's model from its last checkpoint, without training; return the path of ``run.json``.

    Raises:
        DataError: the run has not been trained to its end, or what it was made from is not there.
        IntegrityError: the model or the mixture is no longer that of the run.
        RunError: what was written is not what was trained; see :func:`versatune.sft_runner.publish.publish`.
    """
    with only_one(directory, "train"):
        work, mixture_path = trained_run(directory, progress, fetch)
        work.finish(mixture_path)
        pointer, file = directory.parent / "latest.json", directory / RECORD
        if points_to(pointer, file):
            write_pointer(pointer, f"{directory.name}/{RECORD}", RunRecord.load(file).digest)
    return file


def trained_run(directory: Path, progress: Progress, fetch: Callable[[str], Path] | None) -> tuple[_Run, Path]:
    """Return a run as it was after its last step, and its mixture; errors as of :func:`export`."""
    plan = load_plan(directory)
    config, mixture_path = plan.config(directory), (directory / plan.mixture_path).resolve()
    mixture = MixtureManifest.load(mixture_path)
    saved = newest_whole(directory, {})
    at = saved.state.counters.segment if saved else None
    if at != mixture.segments:
        found = "has no checkpoint" if at is None else f"was trained for {at} of {mixture.segments} segments"
        raise DataError(
            f"{directory}: {found}; only what is trained to its end can be exported. `versatune train CONFIG` goes on with it"
        )
    folder = model_folder(config, needed_for="an export", fetch=fetch)
    check_model_folder(folder)
    check_generation_settings(folder)
    identity = _identity(config, mixture, folder) | {"train": plan.train}
    return _open(config, mixture, mixture_path, folder, directory, identity, progress), mixture_path


def _identity(config: Config, mixture: MixtureManifest, folder: Path) -> dict[str, Any]:
    """What a run is known by."""
    return {
        "mixture_digest": mixture.digest,
        "model_sha256": model_digest(folder, generation=False),
        "train": config.train.model_dump(mode="json"),
        "seed": config.seed,
    }


def _open(
    config: Config,
    mixture: MixtureManifest,
    mixture_path: Path,
    folder: Path,
    directory: Path,
    identity: dict[str, Any],
    progress: Progress,
) -> _Run:
    """Read the rows, see that they and the model fit together, and begin the run or take it up where it was."""
    _make_reproducible()
    pool = _read_pool(mixture, mixture_path, progress)
    assert mixture.tokenizer is not None  # read_pool() refuses such a mixture
    if mixture.tokenizer.template.no_end:
        progress.say(f"warning: {mixture.tokenizer.template.no_end}; build and mix again")
    check_tokenizer(config, folder, mixture.tokenizer)
    check_model_fit(folder, max_tokens=mixture.tokenizer.max_tokens)
    check_ids(pool, embedding_rows(folder))
    return _Run(config, mixture, pool, folder, directory, identity, progress)


def _finished(file: Path) -> bool:
    """Tell whether a run has ended here and its model is whole; a model that is not is exported from the checkpoint again."""
    if not file.exists():
        return False
    try:
        record = RunRecord.load(file)
    except DataError:  # of an earlier versatune: its checkpoints are good, its export was not audited
        return False
    folder = inside(file.parent, record.model)
    models = ((inside(folder, name), digest) for name, digest in record.model_files.items())
    return all(model.is_file() and sha256_file(model) == digest for model, digest in models)


def _model_folder(
    config: Config, mixture: MixtureManifest, fetch: Callable[[str], Path] | None
) -> tuple[Path, list[str]]:
    """Return where the model is, and what :func:`check_trainable` says of it."""
    if "://" in config.home:
        raise ConfigError(f"output is {config.output}; training writes to a local directory, so set 'output' to one")
    if tuple(mixture.domains) != config.taxonomy.domains:
        raise DataError(
            f"the mixture has domains {mixture.domains}, the configuration {list(config.taxonomy.domains)}; run build and"
            " mix again"
        )
    folder = model_folder(config, needed_for="training", fetch=fetch)
    return folder, check_trainable(folder, config)


class _Run:
    """One run: what it is made of, and where it is."""

    def __init__(
        self,
        config: Config,
        mixture: MixtureManifest,
        pool: Pool,
        folder: Path,
        directory: Path,
        identity: dict[str, Any],
        progress: Progress,
    ) -> None:
        self.config, self.mixture, self.pool = config, mixture, pool
        self.folder, self.directory, self.identity, self.progress = folder, directory, identity, progress
        self.started = time.monotonic()
        self.mixer, self.guards = mixer_of(mixture)
        check_held_out(self.mixer, pool)
        self.slices = [held_out(rows, config.train.eval_rows_per_domain) for rows in pool.validation]
        self.trainee = load_trainee(config, folder)
        check_causal(self.trainee.model, str(folder))
        check_trains(
            self.trainee,
            f"model {folder}: it cannot be trained as transformers has it; take another model",
            gradient=config.train.method == "full",
        )
        if slow := slow_dtype(self.trainee.device.type, config.train.dtype):
            progress.say(f"warning: {slow}")
        saved = newest_whole(directory, identity)
        if saved is not None:
            self._resume(saved)
        else:
            self._begin()

    def _begin(self) -> None:
        """Measure the base model, then what the mixer compares it with; everything is logged as checkpoint 0."""
        self._open(Counters.zero(len(self.mixture.domains)), logs={})
        self.progress.begin("evaluate the base model", float(self._held_out_rows), "rows")
        self.held_out_nll = self._evaluate(self.progress.advance_to)
        self.progress.end()
        base_loss = summarize(self.slices, self.held_out_nll).loss
        self._prepare(base_loss)
        self.mixing = start_state(self.mixture, self.mixer, self.guards, self.pool, base_loss, self.reference.losses)
        self._record(0, self.held_out_nll, [])

    def _resume(self, saved: Resumable) -> None:
        """Continue from a checkpoint, with the same bits as if nothing had happened."""
        state = saved.state
        for line in saved.damaged:
            self.progress.say(f"warning: {line}; the one before it is used")
        if state.unpinned:
            self.progress.say(
                f"notice: checkpoint {saved.directory.name} was made by an earlier versatune and does not pin {' and '.join(state.unpinned)}"
            )
        self._open(state.counters, state.logs)
        self.held_out_nll = [np.array(nll) for nll in state.held_out_nll]
        self._prepare(self.weights.read()[0]["loss"])
        self.mixing = state_from_dict(state.mixer)
        load_tensors(saved.directory, self.trainee, self.optimizer)
        self.progress.say(f"train: goes on from step {self.at.step} of {self.directory}")

    def _open(self, counters: Counters, logs: dict[str, int]) -> None:
        self.at = counters
        self.metrics = JsonLines(inside(self.directory, "metrics.jsonl"), logs.get("metrics", 0))
        self.weights = JsonLines(inside(self.directory, "weights.jsonl"), logs.get("weights", 0))
        self.seconds_before = counters.seconds

    def _prepare(self, base_loss: Sequence[float | None]) -> None:
        """Reference losses first, on the untouched base model; then what is trained, and its optimizer."""
        train = self.config.train
        self.reference = reference_losses(
            self.config,
            self.trainee,
            self.pool,
            self.slices,
            base_loss,
            needed="reference_loss" in self.mixer.requires,
            file=inside(self.directory, "references.json"),
            progress=self.progress,
        )
        if train.method == "lora":
            self.trainee = add_adapter(
                self.trainee, train.lora, self.config.seed, say=lambda notice: self.progress.say(f"notice: {notice}")
            )
        self.optimizer = make_optimizer(self.trainee, train.learning_rate, train.weight_decay)

    def train(self) -> None:
        """Train what is left of every segment."""
        self.planned_steps = self._plan_steps()
        self.progress.begin("train", float(self.planned_steps), "steps")
        while self.at.segment < self.mixture.segments:
            self._train_segment()
        self.progress.end()

    def _plan_steps(self) -> int:
        """Steps of the whole run, for the learning rate: as many in every segment as in the first."""
        weights = self.weights.read()[0]["weights"]
        first = compose_segment(self.mixture, self.pool.train, 0, weights, [0] * len(weights))
        return self.mixture.segments * math.ceil(len(first) / self.config.train.global_batch_rows)

    def _train_segment(self) -> None:
        """Train on the rest of the current segment, evaluate, and choose the weights of the next one."""
        at, train = self.at, self.config.train
        segment = compose_segment(self.mixture, self.pool.train, at.segment, self.mixing.weights, at.rows_before)
        while at.position < len(segment):
            batch = slice(at.position, at.position + train.global_batch_rows)
            self._step(segment.domains[batch], segment.rows[batch])
            if at.step % train.checkpoint_steps == 0 and at.position < len(segment):
                self._save()
        nll = self._evaluate(lambda rows: self.progress.advance_to(at.step, f"evaluated {rows:.0f} held-out rows"))
        self._record(at.segment + 1, nll, self._shortfall_warnings(segment))
        at.next_segment()
        self._save()

    def _step(self, domains: IntArray, rows: IntArray) -> None:
        """Take one optimizer step on these rows, and count and log it."""
        at, train = self.at, self.config.train
        started = time.monotonic()
        batch = [self.pool.train[d][r] for d, r in zip(domains, rows, strict=True)]
        tokens = np.array([len(row.input_ids) for row in batch])
        loss_tokens = np.array([self.pool.train[d].loss_tokens[r] for d, r in zip(domains, rows, strict=True)])
        rate = learning_rate_at(at.step, self.planned_steps, train.learning_rate, train.warmup_ratio)
        result = train_step(
            self.trainee,
            self.optimizer,
            batch,
            int(loss_tokens.sum()),
            micro_batch_rows=train.micro_batch_rows,
            learning_rate=rate,
            max_grad_norm=train.max_grad_norm,
            seed=step_seed(self.config.seed, "train", at.step),
            where=f"step {at.step + 1} (segment {at.segment + 1})",
        )
        nll, scored = self._by_domain(domains, result.row_nll), self._by_domain(domains, loss_tokens).astype(int)
        at.step += 1
        at.position += len(batch)
        at.rows = (at.rows + self._by_domain(domains, np.ones(len(batch))).astype(int)).tolist()
        at.tokens = (at.tokens + self._by_domain(domains, tokens).astype(int)).tolist()
        at.loss_tokens = (at.loss_tokens + scored).tolist()
        at.train_nll = (at.train_nll + nll).tolist()
        at.train_tokens = (at.train_tokens + scored).tolist()
        seconds = time.monotonic() - started
        at.step_seconds += seconds
        loss, speed = float(result.row_nll.sum() / loss_tokens.sum()), int(tokens.sum()) / seconds
        self.metrics.write(
            {
                "kind": "step",
                "step": at.step,
                "segment": at.segment + 1,
                "loss": loss,
                "domain_nll": nll.tolist(),
                "domain_loss_tokens": scored.tolist(),
                "learning_rate": rate,
                "grad_norm": result.grad_norm,
                **({} if result.router_loss is None else {"router_loss": result.router_loss}),
                "tokens": int(tokens.sum()),
                "tokens_per_second": speed,
            }
        )
        self.progress.advance_to(at.step, f"loss {loss:.3f} | {speed:,.0f} tokens/s")

    def _by_domain(self, domains: IntArray, values: Floats) -> FloatArray:
        """Sum of each domain's values. Returns (k,)."""
        sums = np.bincount(domains, weights=values, minlength=len(self.mixture.domains))
        return np.asarray(sums, dtype=np.float64)

    @property
    def _held_out_rows(self) -> int:
        return sum(len(s.chosen) for s in self.slices)

    def _evaluate(self, on_rows: Callable[[float], None]) -> list[FloatArray]:
        """Held-out negative log-likelihood of every row of every domain."""
        done = 0

        def count(rows: int) -> None:
            nonlocal done
            done += rows
            on_rows(done)

        return [evaluate(self.trainee, s, self.config.train.micro_batch_rows, count) for s in self.slices]

    def _record(self, checkpoint: int, nll: list[FloatArray], warnings: list[str]) -> None:
        """Update the weights from an evaluation and write everything that went into it to weights.jsonl.

        The last checkpoint, and the base model's unless the mixer says otherwise, leave the weights as they are; their
        signals are recorded all the same.
        """
        at, last = self.at, checkpoint == self.mixture.segments
        losses = summarize(self.slices, nll)
        before, active = self.mixing, self.mixing.domains.active
        observation = Observation(
            checkpoint=checkpoint,
            eval_loss=tuple(losses.loss),
            loss_change_z=tuple(change_z(self.slices, nll, self.held_out_nll)),
        )
        after, decision = advance(self.mixer, before, observation, self.guards)
        updates = not last and (checkpoint > 0 or self.mixture.mixer.update_before_first)
        self.mixing = after if updates else before
        self.held_out_nll = nll
        if checkpoint == 1 and decision.uninformative_reference and decision.gamma is not None:
            warnings = [*warnings, uninformative_warning(decision.gamma, active)]
        record = CheckpointRecord(
            checkpoint=checkpoint,
            step=at.step,
            tokens_seen=sum(at.tokens),
            loss_tokens_seen=sum(at.loss_tokens),
            loss=losses.loss,
            loss_change_z=list(observation.loss_change_z or ()),
            loss_se=losses.standard_error,
            loss_tokens=losses.tokens,
            loss_per_byte=losses.per_byte,
            train_loss=numbers(mean_loss(at.train_nll, at.train_tokens)),
            reference=self.reference.losses,
            gamma=None if decision.gamma is None else list(decision.gamma),
            phi=None if decision.phi is None else list(decision.phi),
            condition=asdict(decision.condition) if updates and decision.condition else None,
            weights_before=list(before.weights),
            weights_unguarded=list(decision.weights_unguarded) if updates else None,
            weights=list(self.mixing.weights),
            rows=at.rows,
            tokens=at.tokens,
            loss_tokens_drawn=at.loss_tokens,
            passes=[n / max(len(rows), 1) for n, rows in zip(at.rows, self.pool.train, strict=True)],
            warnings=warnings,
        )
        self.metrics.write({"kind": "evaluation", "step": at.step, "checkpoint": checkpoint, **losses._asdict()})
        self.weights.write(record.model_dump(mode="json"))
        for warning in warnings:
            self.progress.say(f"warning: {warning}")

    def _shortfall_warnings(self, segment: Segment) -> list[str]:
        if not segment.shortfall:
            return []
        mixture = self.mixture
        warning = (
            f"shortfall: segment {self.at.segment + 1} had {mixture.budget - segment.shortfall} of {mixture.budget}"
            f" {mixture.unit}, because no row may be used more than {mixture.max_passes:g} times in a segment"
        )
        return [warning]

    def _save(self) -> None:
        """Write a checkpoint of this moment."""
        self.at.seconds = self._seconds()
        state = CheckpointState.create(
            **self.identity,
            counters=self.at.model_copy(),
            mixer=state_to_dict(self.mixing),
            held_out_nll=[nll.tolist() for nll in self.held_out_nll],
            logs={"metrics": self.metrics.length, "weights": self.weights.length},
            log_sha256={"metrics": self.metrics.sha256, "weights": self.weights.sha256},
        )
        keep = self.config.train.keep_checkpoints
        save_checkpoint(self.directory / CHECKPOINTS, state, self.trainee, self.optimizer, keep)

    def finish(self, mixture_path: Path) -> None:
        """Export and audit the model, and write ``run.json`` last: without it a run is not finished."""
        del self.optimizer  # its memory is for the models that the audit loads
        subject = self.subject()
        self.trainee = replace(
            self.trainee, model=None
        )  # only the export holds the model now, and lets go of it when it can
        self.trainee = subject.trainee
        files, audit = publish(subject, self.directory, self.progress)
        audit = audit.model_copy(update={"share": round(audit.seconds / max(self._seconds(), 1e-9), 4)})
        checkpoints = self.weights.read()
        RunRecord.create(
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            environment=self._environment(),
            mixture_path=os.path.relpath(mixture_path, self.directory),
            mixture_digest=self.mixture.digest,
            dataset_digest=self.mixture.dataset_digest,
            model_sha256=self.identity["model_sha256"],
            model_facts=look(self.folder, self.config.model.path) if self.config.model else None,
            config=self.identity["train"],
            domains=self.mixture.domains,
            reference=self.reference,
            loss_before=checkpoints[0]["loss"],
            loss_after=checkpoints[-1]["loss"],
            steps=self.at.step,
            segments=self.mixture.segments,
            model=MODEL,
            model_files=files,
            files=pinned_files(self.directory),
            audit=audit,
        ).write(self.directory / RECORD)

    def subject(self) -> Subject:
        """What the audit of an export is told of this run; its trainee is used up by an export."""
        assert self.mixture.tokenizer is not None  # read_pool() refuses such a mixture
        return Subject(
            config=self.config,
            base=self.folder,
            trainee=self.trainee,
            slices=self.slices,
            held_out_nll=self.held_out_nll,
            ends=end_tokens(self.config, self.folder, self.mixture.tokenizer.template),
        )

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    def _environment(self) -> dict[str, Any]:
        device = self.trainee.device
        return {
            "machine": platform.platform(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "threads": torch.get_num_threads(),
            "versions": {
                "versatune": VERSION,
                "python": platform.python_version(),
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "peft": peft.__version__,
            },
            "seconds": round(self._seconds(), 3),
            "tokens_per_second": round(sum(self.at.tokens) / max(self.at.step_seconds, 1e-9), 1),
        }


def _read_pool(mixture: MixtureManifest, mixture_path: Path, progress: Progress) -> Pool:
    progress.begin("read shards", float(len(mixture.shards)), "shards")
    pool = read_pool(mixture, mixture_path, progress.advance_to)
    progress.end()
    return pool


def _make_reproducible() -> None:
    """Ask torch for the same bits every time; an operation that cannot give them warns and goes on."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # A safety net for bugs that costs a pass over memory.
