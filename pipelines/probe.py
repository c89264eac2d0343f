"""What a base model writes about when nobody asks (arXiv 2411.11266, knowledge detection): sample, label, estimate, report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from mixing.estimators import hard_counts, hard_estimate, soft_estimate
from mixing.intervals import (
    bonferroni_z,
    hard_standard_errors,
    soft_intervals,
    soft_standard_errors,
    wilson_intervals,
)
from pipelines.execute import execute
from pipelines.options import pipeline_options, runner_name
from pipelines.watch import watched
from schemas.arrow import generation_schema
from schemas.config import Config, ModelConfig
from schemas.errors import ConfigError, DataError, RunError, nearest
from schemas.files import atomic_directory
from schemas.lock import only_one
from schemas.model_files import check_model_folder, context_length, model_digest
from schemas.model_source import model_folder
from schemas.pointer import write_pointer
from schemas.probe import Estimate, ModelRecord, ProbeReport
from schemas.progress import Progress
from transforms.classify import undetermined
from transforms.fasttext_classifier import DomainClassifier, shared_classifier, text_view
from transforms.generate import Batch, Engine, Generated, GenerateSamples, plan_batches, reject_reason
from transforms.generation_store import Kept, count_kept, read_store, store_key, write_part
from transforms.vllm_engine import VllmEngine, VllmSettings, engine_progress, stop_engines

_SPARE_TOKENS = 8  # the prompt is one token; the rest costs nothing
_LABEL_ROWS = 1024


@dataclass(frozen=True, kw_only=True)
class ProbePlan:
    """Everything that is decided before the first sample is drawn."""

    config: Config
    model: ModelRecord
    folder: Path
    prompt_token_id: int
    prompt_token: str
    sampling: dict[str, Any]
    max_model_len: int
    classifier: DomainClassifier
    store: Path


def run(config: Config, *, beam_args: Sequence[str] = (), progress: Progress) -> Path:
    """Probe the base model; return the path of ``probe.json``.

    Samples are kept by (model, prompt token, sampling, seed) and index: a second run, a larger one and one that was
    killed generate only what is missing; if nothing is, the engine is not started.

    Args:
        config: sections ``model``, ``probe``, ``classifier`` and ``taxonomy``, ``seed``, ``output`` and ``name``.
        beam_args: flags for Beam; if they name a runner, its workers must see the output directory and the model folder.
        progress: told of the engine's start and of the samples done.

    Raises:
        ConfigError, DataError: the settings, the model or the classifier cannot be used.
        RunError: the engine failed, or fewer than two samples count.
    """
    return run_with(config, vllm_starter, beam_args=beam_args, progress=progress)


def run_with(
    config: Config,
    starter: Callable[[ProbePlan], Callable[[], Engine]],
    *,
    beam_args: Sequence[str] = (),
    progress: Progress,
) -> Path:
    """Probe with any engine; ``starter`` gives what workers call to start one. See :func:`run`."""
    plan = plan_probe(config)
    options = pipeline_options(beam_args, 1)
    with only_one(plan.store.parents[1], "probe"):
        before, reused = _kept(plan)
        missing = sorted(set(range(config.probe.samples)) - before)
        if missing:
            batches = plan_batches(missing, seed=config.seed, batch_size=config.probe.batch_size)
            progress.say(
                f"probe: starting the engine for {len(missing):,} samples of {plan.model.name}; this takes up to two minutes"
            )
            _generate(plan, batches, options, starter(plan), progress)
        else:
            progress.say(f"probe: all {reused:,} samples are kept from an earlier run; the engine is not needed")
        kept = read_store(plan.store)
        table = kept.table.filter(pc.field("index") < config.probe.samples)
        if table.num_rows < config.probe.samples:
            raise RunError(
                f"probe: {config.probe.samples - table.num_rows} of {config.probe.samples} samples are not in {plan.store}; "
                "the workers of another machine must see the output directory. Run it again."
            )
        environment = {
            **_engine_record(kept),
            "runner": runner_name(options),
            "generated": len(missing),
            "reused": reused,
        }
        return _report(plan, table, environment, progress)


def plan_probe(config: Config) -> ProbePlan:
    """Check everything that can be checked without an engine."""
    probe = config.probe
    if "://" in config.home:
        raise ConfigError(f"output is {config.output}; a probe writes to a local directory, so set 'output' to one")
    if probe.samples < 2:
        raise ConfigError(f"probe.samples is {probe.samples}; an interval needs at least 2, a useful one some hundreds")
    folder = model_folder(config, needed_for="a probe")
    assert config.model is not None  # model_folder() refuses such a configuration
    check_model_folder(folder)
    max_model_len = _max_model_len(config, folder)
    token_id, token = prompt_token(config.model, folder, probe.prompt_token)
    model = ModelRecord(
        name=Path(config.model.path).name, revision=config.model.revision, weights_sha256=model_digest(folder)
    )
    sampling = {
        "temperature": probe.temperature,
        "top_p": probe.top_p,
        "repetition_penalty": probe.repetition_penalty,
        "max_new_tokens": probe.max_new_tokens,
        "dtype": probe.engine.dtype,
    }
    key = store_key(model=model.weights_sha256, prompt_token_id=token_id, sampling=sampling, seed=config.seed)
    return ProbePlan(
        config=config,
        model=model,
        folder=folder,
        prompt_token_id=token_id,
        prompt_token=token,
        sampling=sampling,
        max_model_len=max_model_len,
        classifier=shared_classifier(config.classifier_path, config.taxonomy, config.classifier.sha256),
        store=Path(config.home) / "probe" / "generations" / key,
    )


def prompt_token(model: ModelConfig, folder: Path, wanted: str) -> tuple[int, str]:
    """Return id and text of the token every sample starts from: begin-of-sequence, else end-of-sequence, or the one asked for."""
    from transformers import AutoTokenizer  # seconds, which --help need not pay

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=model.trust_remote_code, local_files_only=True
        )
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"model {folder}: its tokenizer cannot be loaded ({reason}); save model and tokenizer again"
        ) from error
    if wanted not in ("auto", "bos", "eos"):
        return _vocabulary_id(tokenizer, folder, wanted), wanted
    for name in ("bos", "eos") if wanted == "auto" else (wanted,):
        token_id = getattr(tokenizer, f"{name}_token_id")
        if token_id is not None:
            return int(token_id), str(getattr(tokenizer, f"{name}_token"))
    missing = "neither a bos_token nor an eos_token" if wanted == "auto" else f"no {wanted}_token"
    raise DataError(
        f"model {folder}: its tokenizer defines {missing}, so there is nothing to start a sample from; set it in"
        " tokenizer_config.json, or name a token of the vocabulary in probe.prompt_token"
    )


def _vocabulary_id(tokenizer: Any, folder: Path, token: str) -> int:
    vocabulary = tokenizer.get_vocab()
    if token not in vocabulary:
        known = tokenizer.all_special_tokens
        raise ConfigError(
            f"probe.prompt_token is '{token}', which the tokenizer of {folder} has not{nearest(token, known)}"
        )
    return int(vocabulary[token])


def vllm_starter(plan: ProbePlan) -> Callable[[], Engine]:
    """Return what starts vLLM on a worker."""
    config, probe, engine = plan.config, plan.config.probe, plan.config.probe.engine
    assert config.model is not None  # plan_probe() refuses such a configuration
    settings = VllmSettings(
        model=str(plan.folder),
        trust_remote_code=config.model.trust_remote_code,
        dtype=engine.dtype,
        max_model_len=plan.max_model_len,
        max_num_seqs=probe.batch_size,
        gpu_memory_utilization=engine.gpu_memory_utilization,
        cpu_kv_cache_gib=engine.cpu_kv_cache_gib,
        tensor_parallel_size=engine.tensor_parallel_size,
        enforce_eager=engine.enforce_eager,
        prompt_token_ids=(plan.prompt_token_id,),
        temperature=probe.temperature,
        top_p=probe.top_p,
        repetition_penalty=probe.repetition_penalty,
        max_new_tokens=probe.max_new_tokens,
    )
    return partial(VllmEngine, settings)


def estimates(probabilities: npt.NDArray[np.float32], alpha: float) -> list[Estimate]:
    """Return the soft and the hard estimate of (n, k) label probabilities, with intervals that hold together for all k domains."""
    n, k = probabilities.shape
    z = bonferroni_z(alpha, k)
    counts, shares = hard_counts(probabilities), hard_estimate(probabilities)
    soft = (soft_estimate(probabilities), soft_standard_errors(probabilities), *soft_intervals(probabilities, z))
    hard = (shares, hard_standard_errors(shares, n), *wilson_intervals(counts, n, z))
    return [_estimate("soft", *soft), _estimate("hard", *hard)]


def graph(root: beam.Pipeline, batches: Sequence[Batch], start: Callable[[], Engine], store: str) -> None:
    """Lay out the generation: from planned samples to kept ones."""
    (
        root
        | "PlanBatches" >> beam.Create(batches)
        | "GenerateSamples" >> GenerateSamples(start=start)
        | "KeepBatch" >> beam.Map(_keep, store=store)
    )


def _keep(generated: Generated, store: str) -> int:
    return write_part(store, generated.generations, generated.about)


def _max_model_len(config: Config, folder: Path) -> int:
    """Return the engine's context length in tokens: what is needed, or what is asked for, if the model has it."""
    needed, context = config.probe.max_new_tokens + 1, context_length(folder)
    if context is not None and needed > context:
        raise ConfigError(
            f"probe.max_new_tokens is {config.probe.max_new_tokens}; model {folder.name} has a context of {context} tokens and "
            f"the prompt takes one, so set it to {context - 1} or less"
        )
    asked = config.probe.engine.max_model_len
    if asked is None:
        return min(config.probe.max_new_tokens + _SPARE_TOKENS, context or config.probe.max_new_tokens + _SPARE_TOKENS)
    if asked < needed:
        raise ConfigError(
            f"probe.engine.max_model_len is {asked}; probe.max_new_tokens and the prompt need {needed}. Leave it out."
        )
    return asked


def _kept(plan: ProbePlan) -> tuple[set[int], int]:
    """Return which samples are in the store, and how many of them this probe uses."""
    indices = set(read_store(plan.store).table.column("index").to_pylist())
    return indices, sum(index < plan.config.probe.samples for index in indices)


def _generate(
    plan: ProbePlan, batches: Sequence[Batch], options: PipelineOptions, start: Callable[[], Engine], progress: Progress
) -> None:
    total = sum(len(batch) for batch in batches)
    try:
        with _watched(plan.store, total, progress):
            execute("probe", options, lambda root: graph(root, batches, start, str(plan.store)))
    finally:
        stop_engines()


def _watched(store: Path, total: int, progress: Progress) -> AbstractContextManager[None]:
    """Tell the listener how many samples are done, while Beam works; on other machines, how many are kept."""
    before, done = count_kept(store), 0.0
    progress.begin("generate", total, "samples")

    def look() -> None:
        nonlocal done
        engines = engine_progress()
        # A batch that has just ended is in neither number for a moment; never go back.
        done = max(done, min(total, count_kept(store) - before + engines.samples))
        progress.advance_to(done, f"{engines.tokens_per_second:,.0f} tokens/s" if engines.tokens_per_second else "")

    return watched(look, progress)


def _engine_record(kept: Kept) -> dict[str, Any]:
    """Sum up what the engine said of itself in each kept batch."""
    seconds = sum(batch.get("seconds", 0.0) for batch in kept.batches)
    tokens = sum(batch.get("tokens", 0) for batch in kept.batches)
    record: dict[str, Any] = {
        name: sorted({str(batch[name]) for batch in kept.batches if name in batch})
        for name in ("engine", "torch", "device")
    }
    starts = [batch["start_seconds"] for batch in kept.batches if "start_seconds" in batch]
    return {
        **record,
        "engine_start_seconds": max(starts, default=None),
        "tokens": tokens,
        "generation_seconds": round(seconds, 1),
        "tokens_per_second": round(tokens / seconds, 1) if seconds else None,
    }


def _report(plan: ProbePlan, table: pa.Table, environment: dict[str, Any], progress: Progress) -> Path:
    """Label, estimate, and write the report's directory and the pointer to it."""
    config, domains = plan.config, list(plan.config.taxonomy.domains)
    texts = table.column("text").to_pylist()
    rejects = [reject_reason(text) for text in texts]
    probabilities = _label(texts, plan.classifier, progress)
    counted = probabilities[[not reason for reason in rejects]]
    rejected = Counter(reason for reason in rejects if reason)
    if len(counted) < 2:
        raise RunError(
            f"probe: only {len(counted)} of {len(texts)} samples of {plan.model.name} count (left out: {dict(rejected)}); expected at "
            "least 2. Raise probe.samples or probe.max_new_tokens, or check that the model writes text at all."
        )
    report = ProbeReport.create(
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        environment=environment,
        domains=domains,
        model=plan.model,
        prompt_token_id=plan.prompt_token_id,
        prompt_token=plan.prompt_token,
        sampling=plan.sampling,
        seed=config.seed,
        samples=len(texts),
        counted=len(counted),
        rejected=dict(sorted(rejected.items())),
        undetermined=int(undetermined(counted, plan.classifier.undetermined_below).sum()),
        undetermined_below=plan.classifier.undetermined_below,
        finish_reasons=dict(sorted(Counter(table.column("finish_reason").to_pylist()).items())),
        alpha=config.probe.alpha,
        estimates=estimates(counted, config.probe.alpha),
        chosen=config.probe.estimator,
        classifier_sha256=plan.classifier.sha256,
        generations="generations.parquet",
    )
    home = Path(config.home) / "probe"
    with atomic_directory(home / report.digest[:12]) as directory:
        pq.write_table(_labelled(table, rejects, probabilities), directory / report.generations, compression="zstd")
        report.write(directory / "probe.json")
    write_pointer(home / "latest.json", f"{report.digest[:12]}/probe.json", report.digest)
    return home / report.digest[:12] / "probe.json"


def _label(texts: Sequence[str], classifier: DomainClassifier, progress: Progress) -> npt.NDArray[np.float32]:
    """Return (n, k) label probabilities."""
    progress.begin("classify", len(texts), "samples")
    rows = []
    for start in range(0, len(texts), _LABEL_ROWS):
        rows.append(classifier.predict([text_view([text]) for text in texts[start : start + _LABEL_ROWS]]))
        progress.advance_to(min(start + _LABEL_ROWS, len(texts)))
    progress.end()
    return np.concatenate(rows)


def _labelled(table: pa.Table, rejects: list[str], probabilities: npt.NDArray[np.float32]) -> pa.Table:
    k = probabilities.shape[1]
    labels = pa.FixedSizeListArray.from_arrays(pa.array(probabilities.ravel()), k)
    arrays = [column.combine_chunks() for column in table.columns]
    return pa.Table.from_arrays([*arrays, pa.array(rejects, pa.string()), labels], schema=generation_schema(k))


def _estimate(name: Any, *vectors: npt.NDArray[np.float64]) -> Estimate:
    shares, errors, lower, upper = (vector.tolist() for vector in vectors)
    return Estimate(name=name, shares=shares, standard_errors=errors, lower=lower, upper=upper)
