"""Raw files to a dataset version: the whole build, as one graph."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from versatune.models.look import check_trainable, look
from versatune.models.source import model_folder
from versatune.pipelines.build_plan import BuildPlan, plan_build, planned_bytes
from versatune.pipelines.build_watch import watched_build
from versatune.pipelines.execute import execute
from versatune.pipelines.options import local_workers, pipeline_options, runner_name
from versatune.pipelines.reach import check_reach
from versatune.pipelines.shape_advice import shape_advice
from versatune.pipelines.source_notices import source_notices
from versatune.pipelines.staging import check_inputs
from versatune.schemas.config import Config
from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.errors import ChangedError, RunError, VersatuneError
from versatune.schemas.files import sha256_json
from versatune.schemas.inside import inside
from versatune.schemas.lock import only_one
from versatune.schemas.pointer import parse_pointer
from versatune.schemas.progress import Progress
from versatune.transforms.chat.verdict import NO_END_OF_TURN, TEMPLATE_COUNTS
from versatune.transforms.classifier.classify import ClassifyDomains
from versatune.transforms.overlap.decontaminate import Decontaminate
from versatune.transforms.overlap.near_duplicates import FindNearDuplicates
from versatune.transforms.reading.normalize import NormalizeRows
from versatune.transforms.reading.read import ReadRows, plan_inputs
from versatune.transforms.reading.repairs import read_repairs
from versatune.transforms.reading.tokenization import plan_tokenization
from versatune.transforms.reading.tokenize import TokenizeMessages
from versatune.transforms.shapes.base import WEIGHT_NOT_APPLIED
from versatune.transforms.shards.plan_shards import PlanShards
from versatune.transforms.shards.resume import PassOverFinished, fragments_directory, load_finished, save_read_record
from versatune.transforms.shards.signatures import ListSignatures, WriteSignatures
from versatune.transforms.shards.write_buckets import WriteShards
from versatune.transforms.shards.write_manifest import OUTCOME, REJECTED, Outcome, WriteManifest
from versatune.transforms.shards.write_shards import ShardWriter, WriteRejects
from versatune.transforms.transport import batch_coders  # noqa: F401  # registers how batches travel
from versatune.transforms.transport.exchange import Fragment, WriteFragments
from versatune.transforms.transport.mirror import fetched
from versatune.transforms.transport.model_fetch import fetch_model
from versatune.transforms.transport.storage import delete, delete_tree, exists, is_local, read_bytes, use_flags

_BY_CHANCE = 10  # rows of a small domain that may be held out beyond twice the share asked for
_PACKAGES = ("apache-beam", "pyarrow", "numpy", "fasttext-numpy2", "tokenizers", "transformers")


def run(config: Config, *, beam_args: Sequence[str] = (), progress: Progress, repairs: Path | None = None) -> Path:
    """Build a dataset version. A build that was killed goes on where it was.

    Args:
        config: what to build, and from what.
        beam_args: flags for Beam; if they name a runner, it is used in place of the local one.
        progress: told how much is read and how many shards are done, on a local run.
        repairs: rows that take the place of rejected ones, as ``versatune rejects`` writes them.

    Returns:
        The path of manifest.json; of one on an object store, of a copy on this machine.

    Raises:
        ConfigError: a flag or value that cannot be used; a version that exists with other content.
        DataError: an input changed while it was read; it, the tokenizer or the template cannot be used; too many rows are rejected; a forbidden licence.
        RunError: a worker failed, or the books do not balance.
    """
    started = time.time()
    use_flags(beam_args)
    splits = plan_inputs(config, lambda line: progress.say(f"build: {line}"))
    check_inputs(config, splits)
    check_reach(
        PipelineOptions(list(beam_args)),
        [("output", config.home), *((f"sources, '{split.source}'", split.location) for split in splits)],
    )
    workers = local_workers(config.build.workers, planned_bytes(splits))
    if workers < config.build.workers:
        progress.say(
            "build: one process instead of several, because it was not called in the main thread of the program"
        )
    options = pipeline_options(beam_args, workers)
    tokenization = facts = None
    if config.build.tokenize and config.model:
        folder = model_folder(config, needed_for="build.tokenize", fetch=fetch_model)
        for notice in check_trainable(folder, config):
            progress.say(f"build: {notice}")
        facts, tokenization = look(folder, config.model.path), plan_tokenization(config)
    else:
        progress.say(
            "build: rows are not tokenized (no model is configured, or build.tokenize is off); training needs it"
        )
    repaired = read_repairs(repairs) if repairs else None
    with only_one(config.home, "build") if is_local(config.home) else contextlib.nullcontext():
        before = _newest(config.home, progress)
        plan = plan_build(
            config, splits, tokenization, _environment(options, workers), started, repaired, before, facts
        )
        for line in plan.template:
            progress.say(f"build: {line}")
        if plan.finished.fragments:
            progress.say(
                f"build: goes on with {sum(f.rows for f in plan.finished.fragments):,} rows that were done already"
            )
        with watched_build(plan, progress):
            delete(f"{plan.version.staging}/{OUTCOME}")  # of an earlier try
            execute("build", options, lambda root: graph(root, plan))
        outcome = _outcome(plan)
        if (
            outcome.error != ChangedError.__name__
        ):  # of files that stayed as they were, the next build uses what was read
            delete_tree(plan.staging)
    if outcome.error is not None:
        _say_what_was_rejected(config, progress)
    outcome.raise_error()
    path = str(outcome.manifest)
    manifest = DatasetManifest.parse(read_bytes(path), path)
    for notice in source_notices(manifest, outcome.notices, path.rpartition("/")[0], config):
        progress.say(f"build: {notice}")
    _say_what_to_know(manifest, config, progress)
    if before and before.repairs and not manifest.repairs:
        progress.say(
            f"build: version {before.version} had {before.repairs.used:,} repaired rows, this one has none;"
            " `versatune reprocess CONFIG REPAIRED` builds with them"
        )
    progress.say(_said(manifest, path, outcome))
    return fetched(path)


def _newest(home: str, progress: Progress) -> DatasetManifest | None:
    """Return the version that the pointer names, which the new one follows; None, and a word, where it names none that can be followed."""
    path = f"{home}/latest.json"
    try:
        if not exists(path):
            return None
        pointer = parse_pointer(read_bytes(path), path, DatasetManifest.MADE_BY)
        where = str(inside(home, pointer.path)) if is_local(home) else f"{home}/{pointer.path}"
        found = DatasetManifest.parse(read_bytes(where), where)
        if found.digest == pointer.digest:
            return found
        reason = f"{path}: names digest {pointer.digest[:12]}..., and {where} has {found.digest[:12]}..."
    except (VersatuneError, OSError) as error:
        reason = str(error)
    progress.say(f"build: the version before is not taken as the parent of this one. {reason}")
    return None


def graph(root: beam.Pipeline, plan: BuildPlan) -> None:
    """Lay out the build: from files to the manifest."""
    config, build, out = plan.config, plan.config.build, plan.version.staging
    read = (
        root
        | "ListInputs" >> beam.Create(plan.splits)
        | "SpreadInputs" >> beam.Reshuffle()
        | "ReadRows" >> ReadRows(batch_rows=build.batch_rows, max_row_bytes=build.max_row_bytes)
    )
    batches = (
        read.rows
        | "PassOverFinished" >> PassOverFinished(finished=plan.finished_path)
        | "NormalizeRows" >> NormalizeRows(sources=config.sources, build=build, repairs=plan.repairs_path)
    )
    if plan.benchmarks_path is not None:
        batches |= "Decontaminate" >> Decontaminate(path=plan.benchmarks_path)
    batches |= "ClassifyDomains" >> ClassifyDomains(
        taxonomy=config.taxonomy,
        path=plan.classifier_path,
        sha256=plan.version.classifier.sha256,
        pinned={source.name: source.domain for source in config.sources if source.domain},
        reject_undetermined=config.classifier.undetermined == "reject",
    )
    if plan.tokenizer_path is not None:
        batches |= "TokenizeMessages" >> TokenizeMessages(path=plan.tokenizer_path)
    signatures = plan.signatures
    if signatures is not None:
        batches |= "WriteSignatures" >> WriteSignatures(settings=build.near_duplicates, directory=signatures)
    written = batches | "WriteFragments" >> WriteFragments(
        directory=fragments_directory(plan.staging), parts=plan.parts, signatures=signatures
    )
    earlier = (
        root
        | "ListFinished" >> beam.Create([plan.finished_path] if plan.finished_path else [])
        | "FinishedFragments" >> beam.FlatMap(load_finished).with_output_types(Fragment)
    )
    fragments = (written, earlier) | "AllFragments" >> beam.Flatten()
    fresh = read.records | "SaveRecords" >> beam.Map(save_read_record, plan.staging)
    records = (fresh, root | "FinishedRecords" >> beam.Create(plan.finished.records)) | "AllRecords" >> beam.Flatten()
    shard_plan = root | "PlanShards" >> PlanShards(
        fragments=fragments,
        records=records,
        splits=frozenset(plan.expected),
        directory=fragments_directory(plan.staging),
        staging=plan.staging,
        shard_bytes=build.shard_bytes,
        settings=sha256_json([config.taxonomy.domains, build.validation_fraction]),
        shuffle=plan.shuffle,
    )
    clusters = None
    if signatures is not None:
        blocks = shard_plan | "ListSignatures" >> ListSignatures(directory=signatures)
        clusters = blocks | "FindNearDuplicates" >> FindNearDuplicates(settings=build.near_duplicates, directory=out)
    writer = ShardWriter(
        staging=plan.staging, domains=config.taxonomy.domains, validation_fraction=build.validation_fraction
    )
    root | "WriteManifest" >> WriteManifest(
        plan=plan.version,
        records=records,
        shard_plan=shard_plan,
        clusters=clusters,
        written=shard_plan | "WriteShards" >> WriteShards(writer=writer, shuffle=plan.shuffle, clusters=clusters),
        rejected=shard_plan | "WriteRejects" >> WriteRejects(directory=out),
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


def _say_what_was_rejected(config: Config, progress: Progress) -> None:
    """Say of a build that failed which sources could not be read."""
    kept = Path(config.home, REJECTED)
    if is_local(config.home) and kept.is_dir():
        mapped = {source.name for source in config.sources if source.fields}
        for advice in shape_advice(sorted(map(str, kept.rglob("*.parquet"))), mapped).values():
            progress.say(f"build: {advice}")


def _say_what_to_know(manifest: DatasetManifest, config: Config, progress: Progress) -> None:
    """Say what a user may have to act on, of the dataset as a whole."""
    written = sum(shard.rows for shard in manifest.shards)
    if manifest.cut_rows and manifest.tokenizer:
        progress.say(
            f"build: {manifest.cut_rows:,} rows ({manifest.cut_rows / written:.1%}) were cut at build.max_tokens ="
            f" {manifest.tokenizer.max_tokens}; at least {manifest.cut_tokens:,} tokens of theirs are not learned"
        )
    for name, text in TEMPLATE_COUNTS.items():
        if (rows := sum(book.counts.get(name, 0) for book in manifest.books)) and manifest.tokenizer:
            no_end = manifest.tokenizer.template.no_end if name == NO_END_OF_TURN else ""
            progress.say(f"build: {rows:,} rows: {no_end or text}")
    if unapplied := sum(book.counts.get(WEIGHT_NOT_APPLIED, 0) for book in manifest.books):
        progress.say(
            f"build: {unapplied:,} rows have a turn with a weight other than 0 and 1; it is learned like any other"
        )
    train, held_out = manifest.totals("train"), manifest.totals("validation")
    fraction = config.build.validation_fraction
    for domain in train:
        held, rows = held_out[domain]["rows"], held_out[domain]["rows"] + train[domain]["rows"]
        if held > 2 * fraction * rows + _BY_CHANCE:
            progress.say(
                f"build: {held:,} of {rows:,} rows of {domain} are held out, where build.validation_fraction is {fraction:g}:"
                " many rows share a prompt, and all answers to one prompt stand on one side"
            )
    if unmeasured := [domain for domain in train if train[domain]["rows"] and not held_out[domain]["rows"]]:
        progress.say(
            f"build: no held-out rows of {', '.join(unmeasured)} (build.validation_fraction is"
            f" {config.build.validation_fraction:g}); a mixer that follows losses needs some of every domain"
        )
