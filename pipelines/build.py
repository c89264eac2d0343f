"""Raw files to a dataset version: the whole build, as one graph."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apache_beam as beam
import orjson
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.execute import execute
from pipelines.options import local_workers, pipeline_options, runner_name
from pipelines.staging import check_inputs, stage_classifier, staging_directory, sweep
from pipelines.watch import watched
from schemas.config import Config
from schemas.dataset import BenchmarkRecord, ClassifierRecord, DatasetManifest, DecontaminationRecord, RepairRecord
from schemas.errors import RunError, VersatuneError
from schemas.files import sha256_json
from schemas.lock import only_one
from schemas.progress import Progress
from schemas.version import VERSION
from transforms import batch_coders  # noqa: F401  # registers how batches travel
from transforms.batch import InputSplit
from transforms.classify import ClassifyDomains
from transforms.cleaning.chain import make_cleaner
from transforms.decontaminate import BenchmarkIndex, Decontaminate, index_benchmarks
from transforms.exchange import Fragment, WriteFragments, count_buckets, read_record
from transforms.fasttext_classifier import shared_classifier
from transforms.near_duplicates import FindNearDuplicates
from transforms.normalize import NormalizeRows
from transforms.plan_shards import PlanShards
from transforms.read import ReadRows, plan_inputs
from transforms.repairs import Repairs, read_repairs
from transforms.resume import Finished, PassOverFinished, find_finished, fragments_directory, save_read_record
from transforms.signatures import ListSignatures, WriteSignatures
from transforms.storage import delete_tree, exists, is_local, read_bytes
from transforms.tokenize import Tokenization, TokenizeMessages, plan_tokenization
from transforms.write_manifest import OUTCOME, Outcome, VersionPlan, WriteManifest
from transforms.write_shards import ShardWriter, WriteRejects, WriteShards

_COMPRESSED = (".gz", ".bz2", ".zst", ".xz", ".zip", ".parquet")
_COMPRESSED_BY = 4  # a usual factor for text; it only decides how many workers there are, and what progress expects
_PACKAGES = ("apache-beam", "pyarrow", "numpy", "fasttext-numpy2", "tokenizers", "transformers")


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """Everything that is decided before the first row is read."""

    config: Config
    splits: list[InputSplit]
    """What is left to read, the large ones first: an even end."""
    expected: list[str]
    """Keys of all splits, those that are read already among them."""
    finished: Finished
    """What an earlier, killed try has done of it."""
    parts: int
    """Into how many ranges of keys a fragment is cut."""
    classifier_path: str | None
    """Where the workers find the classifier; None for the bundled one."""
    staging: str
    """Of this very build: fragments, records, and the new files under their final relative paths."""
    tokenizer_path: str | None
    """Where the workers find the tokenizer; absent when the dataset is not tokenized."""
    repairs_path: str | None
    """Where they find repaired rows, if there are some."""
    benchmarks_path: str | None
    """Where they find what evaluation sets hold, if some are configured."""
    version: VersionPlan


def run(config: Config, *, beam_args: Sequence[str] = (), progress: Progress, repairs: Path | None = None) -> Path:
    """Build a dataset version. A build that was killed goes on where it was.

    Args:
        config: what to build, and from what.
        beam_args: flags for Beam; if they name a runner, it is used in place of the local one.
        progress: told how much is read and how many shards are done, on a local run.
        repairs: rows that take the place of rejected ones, as ``versatune rejects`` writes them.

    Returns:
        The path of manifest.json (for an object store, of its local name only).

    Raises:
        ConfigError: a flag or value that cannot be used; a version that exists with other content.
        DataError: an input, the tokenizer or the template cannot be used; too many rows are rejected; a forbidden licence.
        RunError: a worker failed, or the books do not balance.
    """
    started = time.time()
    splits = plan_inputs(config)
    check_inputs(config, splits)
    workers = local_workers(config.build.workers, planned_bytes(splits))
    options = pipeline_options(beam_args, workers)
    tokenization = plan_tokenization(config) if config.build.tokenize and config.model else None
    if tokenization is None:
        progress.say(
            "build: rows are not tokenized (no model is configured, or build.tokenize is off); training needs it"
        )
    repaired = read_repairs(repairs) if repairs else None
    with only_one(config.home, "build") if is_local(config.home) else contextlib.nullcontext():
        before = _newest(config.home)
        plan = plan_build(config, splits, tokenization, _environment(options, workers), started, repaired, before)
        if plan.finished.fragments:
            progress.say(
                f"build: goes on with {sum(f.rows for f in plan.finished.fragments):,} rows that were done already"
            )
        with _watched(plan, progress):
            execute("build", options, lambda root: graph(root, plan))
        outcome = _outcome(plan)
        delete_tree(plan.staging)
    outcome.raise_error()
    path = str(outcome.manifest)
    manifest = DatasetManifest.parse(read_bytes(path), path)
    _say_what_to_know(manifest, config, progress)
    if before and before.repairs and not manifest.repairs:
        progress.say(
            f"build: version {before.version} had {before.repairs.used:,} repaired rows, this one has none;"
            " `versatune reprocess CONFIG REPAIRED` builds with them"
        )
    progress.say(_said(manifest, path, outcome))
    return Path(path)


def planned_bytes(splits: Sequence[InputSplit]) -> int:
    """Return about how many bytes of rows some splits hold; a function of their names and sizes alone."""
    return sum(map(_planned, splits))


def _planned(split: InputSplit) -> int:
    by_name = split.location.lower().endswith(_COMPRESSED)
    packed = by_name and split.member is None  # a member's bytes are those unpacked
    return split.bytes // split.parts * (_COMPRESSED_BY if packed else 1)


def plan_build(
    config: Config,
    splits: list[InputSplit],
    tokenization: Tokenization | None,
    environment: dict[str, Any],
    started: float,
    repairs: Repairs | None = None,
    before: DatasetManifest | None = None,
) -> BuildPlan:
    """Decide everything that does not need a row, clear away what other builds left, and put things where the workers find them."""
    classifier = shared_classifier(config.classifier_path, config.taxonomy, config.classifier.sha256)
    tokenizer = tokenization.record() if tokenization else None
    record = RepairRecord(sha256=repairs.sha256, rows=len(repairs.rows), used=0) if repairs else None
    make_cleaner(
        config.build.clean, config.build.pii
    )  # says what is wrong with a pattern or a language, before any work
    index = index_benchmarks(config)
    staging = staging_directory(
        config,
        VERSION,
        environment.get("versions"),
        classifier.sha256,
        classifier.temperature,
        tokenization and sha256_json(asdict(tokenization)),
        record and record.sha256,
        index and index.digest,
    )
    sweep(config, staging)
    tokenizer_path = None
    if tokenization is not None:
        tokenizer_path = f"{staging}/tokenizer.json"
        tokenization.save(tokenizer_path)
    if repairs is not None:
        repairs.save(f"{staging}/repairs.jsonl")
    if index is not None:
        index.save(f"{staging}/benchmarks.arrow")
    finished = find_finished(staging, splits)
    todo = sorted(finished.todo, key=lambda split: (-_planned(split), split.source, split.uri, split.part))
    fingerprint = config.build_fingerprint()
    return BuildPlan(
        config=config,
        splits=todo,
        expected=[split.key for split in splits],
        finished=finished,
        parts=count_buckets(planned_bytes(splits), config.build.shard_bytes),
        classifier_path=stage_classifier(config.classifier_path, staging),
        staging=staging,
        tokenizer_path=tokenizer_path,
        repairs_path=f"{staging}/repairs.jsonl" if repairs else None,
        benchmarks_path=f"{staging}/benchmarks.arrow" if index else None,
        version=VersionPlan(
            home=config.home,
            staging=f"{staging}/out",
            name=config.name,
            version=config.build.version,
            taxonomy=config.taxonomy,
            classifier=ClassifierRecord(
                sha256=classifier.sha256, labels=list(classifier.labels), confusion=_confusion(classifier.card)
            ),
            tokenizer=tokenizer,
            fingerprint=fingerprint,
            max_rejected_fraction=config.build.max_rejected_fraction,
            licenses=config.build.licenses,
            skip_refused=config.build.on_refused_file == "skip",
            decontamination=_decontamination(index) if index else None,
            repairs=record,
            parent=before.digest if before else None,
            environment=environment,
            started=started,
        ),
    )


def _decontamination(index: BenchmarkIndex) -> DecontaminationRecord:
    """Return what is looked for; hits are counted at the end."""
    benchmarks = [
        BenchmarkRecord(name=entry.name, items=entry.items, too_short=entry.too_short, hits=0)
        for entry in index.summary()
    ]
    return DecontaminationRecord(digest=index.digest, benchmarks=benchmarks)


def _newest(home: str) -> DatasetManifest | None:
    """Return the version that the pointer names, which the new one follows."""
    path = f"{home}/latest.json"
    with contextlib.suppress(VersatuneError, OSError, ValueError, KeyError):
        if exists(path):
            pointer = orjson.loads(read_bytes(path))
            return DatasetManifest.parse(read_bytes(f"{home}/{pointer['path']}"), path)
    return None


def _confusion(card: dict[str, Any] | None) -> list[list[int]] | None:
    """Return the classifier's measured confusion matrix, [predicted][true], if it has a card."""
    return card.get("validation", {}).get("confusion") if card else None


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
        | "PassOverFinished" >> PassOverFinished(done=frozenset(fragment.key for fragment in plan.finished.fragments))
        | "NormalizeRows" >> NormalizeRows(sources=config.sources, build=build, repairs=plan.repairs_path)
    )
    if plan.benchmarks_path is not None:
        batches |= "Decontaminate" >> Decontaminate(path=plan.benchmarks_path)
    batches |= "ClassifyDomains" >> ClassifyDomains(
        taxonomy=config.taxonomy,
        path=plan.classifier_path,
        sha256=plan.version.classifier.sha256,
        pinned={source.name: source.domain for source in config.sources if source.domain},
    )
    if plan.tokenizer_path is not None:
        batches |= "TokenizeMessages" >> TokenizeMessages(path=plan.tokenizer_path)
    signatures = f"{plan.staging}/signatures" if build.near_duplicates.enabled else None
    if signatures is not None:
        batches |= "WriteSignatures" >> WriteSignatures(settings=build.near_duplicates, directory=signatures)
    written = batches | "WriteFragments" >> WriteFragments(
        directory=fragments_directory(plan.staging), parts=plan.parts, signatures=signatures
    )
    earlier = root | "FinishedFragments" >> beam.Create(plan.finished.fragments)
    fragments = (written, earlier) | "AllFragments" >> beam.Flatten()
    fresh = read.records | "SaveRecords" >> beam.Map(save_read_record, plan.staging)
    records = (fresh, root | "FinishedRecords" >> beam.Create(plan.finished.records)) | "AllRecords" >> beam.Flatten()
    shard_plan = root | "PlanShards" >> PlanShards(
        fragments=fragments,
        records=records,
        splits=frozenset(plan.expected),
        shard_bytes=build.shard_bytes,
        settings=sha256_json([config.taxonomy.domains, build.validation_fraction]),
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
        written=shard_plan | "WriteShards" >> WriteShards(writer=writer, clusters=clusters),
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


def _say_what_to_know(manifest: DatasetManifest, config: Config, progress: Progress) -> None:
    """Say what a user may have to act on."""
    for file in manifest.inputs:
        if file.refused:
            progress.say(f"build: refused: {file.refused}")
    train, held_out = manifest.totals("train"), manifest.totals("validation")
    if unmeasured := [domain for domain in train if train[domain]["rows"] and not held_out[domain]["rows"]]:
        progress.say(
            f"build: no held-out rows of {', '.join(unmeasured)} (build.validation_fraction is"
            f" {config.build.validation_fraction:g}); a mixer that follows losses needs some of every domain"
        )


def _watched(plan: BuildPlan, progress: Progress) -> contextlib.AbstractContextManager[None]:
    """Tell the listener what has been written, while the engine works; on an object store nobody looks."""
    if not is_local(plan.staging):
        return contextlib.nullcontext()
    watch = _Watch(plan, progress)
    return watched(watch.look, progress)


class _Watch:
    """Counts what the workers have written: first input megabytes, then shards."""

    def __init__(self, plan: BuildPlan, progress: Progress) -> None:
        self._progress = progress
        self._fragments, self._shards = Path(fragments_directory(plan.staging)), Path(plan.staging) / "shards"
        self._planned = {split.key: _planned(split) for split in plan.splits}
        self._seen: dict[str, Fragment] = {}
        self._writing = False
        self._passed: set[str] = set()
        for fragment in plan.finished.fragments:  # of splits that are read again in part
            self._passed.add(f"{fragment.key}.json")
            if fragment.split in self._planned:
                self._planned[fragment.split] = max(0, self._planned[fragment.split] - fragment.raw_bytes)
        task = "read, classify and tokenize" if plan.tokenizer_path else "read and classify"
        progress.begin(task, sum(self._planned.values()) / 1e6 or None, "MB")

    def look(self) -> None:
        """Say where things are."""
        if self._shards.is_dir():
            self._look_at_shards()
            return
        for name in {path.name for path in self._fragments.glob("*.json")} - self._passed - self._seen.keys():
            with contextlib.suppress(OSError, ValueError):
                self._seen[name] = read_record(str(self._fragments / name))
        read: dict[str, int] = {}
        for fragment in self._seen.values():
            read[fragment.split] = read.get(fragment.split, 0) + fragment.raw_bytes
        done = sum(min(size, self._planned.get(key, 0)) for key, size in read.items())
        rows = sum(fragment.rows + fragment.rejected for fragment in self._seen.values())
        self._progress.advance_to(done / 1e6, f"{rows:,} rows")

    def _look_at_shards(self) -> None:
        names = [path.name for path in self._shards.glob("*-of-*.json")]
        if not names:
            return
        if not self._writing:
            self._writing = True
            self._progress.begin("write shards", int(names[0].partition("-of-")[2].removesuffix(".json")), "buckets")
        self._progress.advance_to(len(names))
