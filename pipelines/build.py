"""Raw files to a dataset version: the whole build, as one graph."""

from __future__ import annotations

import contextlib
import platform
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.execute import execute
from pipelines.options import local_workers, pipeline_options, runner_name
from pipelines.watch import watched
from schemas.config import Config
from schemas.dataset import ClassifierRecord, DatasetManifest
from schemas.errors import RunError
from schemas.lock import only_one
from schemas.progress import Progress
from transforms.classify import ClassifyDomains
from transforms.exchange import GatherBuckets, bucket_of_examples, bucket_of_rejects, count_buckets
from transforms.fasttext_classifier import shared_classifier
from transforms.normalize import NormalizeRows
from transforms.read import InputSplit, ReadRows, plan_inputs
from transforms.storage import delete_tree, exists, is_local, match, read_bytes
from transforms.tokenize import Tokenization, TokenizeMessages, plan_tokenization
from transforms.write_manifest import OUTCOME, REJECTED, Outcome, VersionPlan, WriteManifest
from transforms.write_shards import WriteRejects, WriteShards

_STAGING = ".staging-"
_COMPRESSED = (".gz", ".bz2", ".zst", ".parquet")
_COMPRESSED_BY = 4  # a usual factor for text; it only decides how many shards and workers there are
_PACKAGES = ("apache-beam", "pyarrow", "numpy", "fasttext-numpy2", "tokenizers", "transformers")


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """Everything that is decided before the first row is read."""

    config: Config
    splits: list[InputSplit]
    buckets: int
    staging: str
    """Of this run alone; it holds fragments, and the new files under their final relative paths."""
    tokenizer_path: str | None
    """Where the workers find the tokenizer; absent when the dataset is not tokenized."""
    version: VersionPlan


def run(config: Config, *, beam_args: Sequence[str] = (), progress: Progress) -> Path:
    """Build a dataset version.

    Args:
        config: what to build, and from what.
        beam_args: flags for Beam; if they name a runner, it is used in place of the local one.
        progress: told how many rows and shards are done, on a local run.

    Returns:
        The path of manifest.json (for an object store, of its local name only).

    Raises:
        ConfigError: a flag or value that cannot be used; a version that exists with other content.
        DataError: an input, the tokenizer or the template cannot be used; too many rows are rejected.
        RunError: a worker failed, or the books do not balance.
    """
    started = time.time()
    splits = plan_inputs(config)
    input_bytes = planned_bytes(splits)
    workers = local_workers(config.build.workers, input_bytes)
    options = pipeline_options(beam_args, workers)
    tokenization = plan_tokenization(config) if config.build.tokenize and config.model else None
    if tokenization is None:
        progress.say(
            "build: rows are not tokenized (no model is configured, or build.tokenize is off); training needs it"
        )
    with only_one(config.home, "build") if is_local(config.home) else contextlib.nullcontext():
        _sweep(config)
        environment = _environment(options, workers)
        plan = plan_build(config, splits, input_bytes, tokenization, environment, started)
        try:
            with _watched(plan, progress):
                execute("build", options, lambda root: graph(root, plan))
            outcome = _outcome(plan)
        finally:
            delete_tree(plan.staging)
    outcome.raise_error()
    path = str(outcome.manifest)
    manifest = DatasetManifest.parse(read_bytes(path), path)
    train, held_out = manifest.totals("train"), manifest.totals("validation")
    if unmeasured := [domain for domain in train if train[domain]["rows"] and not held_out[domain]["rows"]]:
        progress.say(
            f"build: no held-out rows of {', '.join(unmeasured)} (build.validation_fraction is"
            f" {config.build.validation_fraction:g}); a mixer that follows losses needs some of every domain"
        )
    progress.say(_said(manifest, path, outcome))
    return Path(path)


def planned_bytes(splits: Sequence[InputSplit]) -> int:
    """Return about how many bytes of rows some files hold; a function of their names and sizes alone."""
    return sum(split.bytes * (_COMPRESSED_BY if split.uri.lower().endswith(_COMPRESSED) else 1) for split in splits)


def plan_build(
    config: Config,
    splits: list[InputSplit],
    input_bytes: int,
    tokenization: Tokenization | None,
    environment: dict[str, Any],
    started: float,
) -> BuildPlan:
    """Decide everything that does not need a row, and put the tokenizer where the workers find it."""
    classifier = shared_classifier(config.classifier_path, config.taxonomy, config.classifier.sha256)
    staging = f"{config.home}/{_STAGING}{uuid.uuid4().hex[:12]}"
    tokenizer_path = None
    if tokenization is not None:
        tokenizer_path = f"{staging}/tokenizer.json"
        tokenization.save(tokenizer_path)
    return BuildPlan(
        config=config,
        splits=sorted(
            splits, key=lambda split: (-split.bytes, split.source, split.uri)
        ),  # large ones first: an even end
        buckets=count_buckets(input_bytes, config.build.shard_bytes),
        staging=staging,
        tokenizer_path=tokenizer_path,
        version=VersionPlan(
            home=config.home,
            staging=f"{staging}/out",
            name=config.name,
            version=config.build.version,
            taxonomy=config.taxonomy,
            classifier=ClassifierRecord(
                sha256=classifier.sha256, labels=list(classifier.labels), confusion=_confusion(classifier.card)
            ),
            tokenizer=tokenization.record() if tokenization else None,
            fingerprint=config.build_fingerprint(),
            max_rejected_fraction=config.build.max_rejected_fraction,
            environment=environment,
            started=started,
        ),
    )


def _confusion(card: dict[str, Any] | None) -> list[list[int]] | None:
    """Return the classifier's measured confusion matrix, [predicted][true], if it has a card."""
    return card.get("validation", {}).get("confusion") if card else None


def graph(root: beam.Pipeline, plan: BuildPlan) -> None:
    """Lay out the build: from files to the manifest."""
    config, build = plan.config, plan.config.build
    raw = (
        root
        | "ListInputs" >> beam.Create(plan.splits)
        | "SpreadInputs" >> beam.Reshuffle()
        | "ReadRows" >> ReadRows(batch_rows=build.batch_rows)
    )
    normalized = raw.rows | "NormalizeRows" >> NormalizeRows(sources=config.sources)
    rejects = [normalized.rejects]
    examples = normalized.examples | "ClassifyDomains" >> ClassifyDomains(
        taxonomy=config.taxonomy,
        path=config.classifier_path,
        sha256=plan.version.classifier.sha256,
        pinned={source.name: source.domain for source in config.sources if source.domain},
    )
    if plan.tokenizer_path is not None:
        tokenized = examples | "TokenizeMessages" >> TokenizeMessages(path=plan.tokenizer_path)
        examples = tokenized.examples
        rejects.append(tokenized.rejects)
    fragments, out = f"{plan.staging}/fragments", plan.version.staging
    written = (
        examples
        | "GatherExamples"
        >> GatherBuckets(directory=fragments, kind="rows", bucket_of=bucket_of_examples, buckets=plan.buckets)
        | "WriteShards"
        >> WriteShards(
            directory=out,
            buckets=plan.buckets,
            domains=config.taxonomy.domains,
            validation_fraction=build.validation_fraction,
        )
    )
    rejected = (
        rejects
        | "AllRejects" >> beam.Flatten()
        | "GatherRejects"
        >> GatherBuckets(directory=fragments, kind="rejects", bucket_of=bucket_of_rejects, buckets=plan.buckets)
        | "WriteRejects" >> WriteRejects(directory=out, buckets=plan.buckets)
    )
    root | "WriteManifest" >> WriteManifest(
        plan=plan.version, files=raw.files, failures=raw.failures, written=written, rejected=rejected
    )


def _outcome(plan: BuildPlan) -> Outcome:
    if not exists(f"{plan.version.staging}/{OUTCOME}"):
        raise RunError("build: the pipeline ended without an outcome; see the engine's log")
    return Outcome.load(plan.version.staging)


def _said(manifest: DatasetManifest, path: str, outcome: Outcome) -> str:
    rows = sum(shard.rows for shard in manifest.shards)
    state = "unchanged" if outcome.unchanged else "written"
    return f"build: {rows:,} rows in {len(manifest.shards)} shards, digest {manifest.digest[:12]}, {state}: {path}"


def _environment(options: PipelineOptions, workers: int) -> dict[str, Any]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(ImportError):
            versions[package] = version(package)
    return {"runner": runner_name(options), "workers": workers, "versions": versions}


def _sweep(config: Config) -> None:
    """Delete what failed and killed runs left: staging directories, rejected rows, a version that never got its manifest."""
    delete_tree(f"{config.home}/{REJECTED}")
    if is_local(config.home):
        for leftover in Path(config.home).glob(f"{_STAGING}*"):
            delete_tree(str(leftover))
    else:
        for name in {path.partition(_STAGING)[2].partition("/")[0] for path in match(f"{config.home}/{_STAGING}*/**")}:
            delete_tree(f"{config.home}/{_STAGING}{name}")
    version_directory = f"{config.home}/{config.build.version}"
    if config.build.version and not exists(f"{version_directory}/manifest.json"):
        delete_tree(version_directory)


def _watched(plan: BuildPlan, progress: Progress) -> contextlib.AbstractContextManager[None]:
    """Tell the listener what has been written, while the engine works; on an object store nobody looks."""
    if not is_local(plan.staging):
        return contextlib.nullcontext()
    fragments, data = Path(plan.staging) / "fragments", Path(plan.version.staging) / "data"
    progress.begin("read, classify and tokenize" if plan.tokenizer_path else "read and classify", None, "rows")
    writing = False

    def look() -> None:
        nonlocal writing
        if not data.is_dir():
            progress.advance_to(sum(int(file.name.split("-")[1]) for file in fragments.glob("*.arrow")))
            return
        if not writing:
            progress.begin("write shards", plan.buckets, "buckets")
            writing = True
        progress.advance_to(len({file.name for file in data.glob("*/*/*.parquet")}))

    return watched(look, progress)
