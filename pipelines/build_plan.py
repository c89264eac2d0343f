"""Everything about a build that is decided before its first row is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from versatune.pipelines.exchange_choice import uses_shuffle
from versatune.pipelines.staging import stage_classifier, staging_directory, sweep
from versatune.schemas.config import Config
from versatune.schemas.dataset import (
    BenchmarkRecord,
    ClassifierRecord,
    DatasetManifest,
    DecontaminationRecord,
    RepairRecord,
)
from versatune.schemas.files import sha256_json
from versatune.schemas.model_facts import ModelFacts
from versatune.schemas.version import VERSION
from versatune.transforms.chat.report import refuse_unusable, template_lines
from versatune.transforms.classifier.fasttext_classifier import DomainClassifier, shared_classifier
from versatune.transforms.cleaning.chain import make_cleaner
from versatune.transforms.overlap.decontaminate import BenchmarkIndex, index_benchmarks
from versatune.transforms.reading.repairs import Repairs
from versatune.transforms.reading.tokenization import Tokenization
from versatune.transforms.reading.tokenize import Tokenizer
from versatune.transforms.shards.resume import Finished, find_finished, save_finished
from versatune.transforms.shards.write_manifest import VersionPlan
from versatune.transforms.transport.batch import InputSplit
from versatune.transforms.transport.exchange import count_buckets

_COMPRESSED = (".gz", ".bz2", ".zst", ".xz", ".zip", ".parquet")
_COMPRESSED_BY = 4  # a usual factor for text; it only decides how many workers there are, and what progress expects


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
    finished_path: str | None
    """Where the workers find its fragments, if there are some."""
    parts: int
    """Into how many ranges of keys a fragment is cut."""
    shuffle: bool
    """Rows go through the engine's shuffle."""
    classifier_path: str | None
    """Where the workers find the classifier; None for the bundled one."""
    staging: str
    """Of this very build: fragments, records, and the new files under their final relative paths."""
    signatures: str | None
    """Where signature blocks go; absent where near-duplicates are not looked for."""
    tokenizer_path: str | None
    """Where the workers find the tokenizer; absent when the dataset is not tokenized."""
    repairs_path: str | None
    """Where they find repaired rows, if there are some."""
    benchmarks_path: str | None
    """Where they find what evaluation sets hold, if some are configured."""
    version: VersionPlan
    template: list[str]
    """What is said of the chat template."""


def planned_bytes(splits: Sequence[InputSplit]) -> int:
    """Return about how many bytes of rows some splits hold; a function of their names and sizes alone."""
    return sum(map(split_bytes, splits))


def split_bytes(split: InputSplit) -> int:
    """Return about how many bytes of rows a split holds."""
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
    facts: ModelFacts | None = None,
) -> BuildPlan:
    """Decide everything that does not need a row, clear away what other builds left, and put things where the workers find them.

    Raises:
        ConfigError: the classifier, a pattern or the chat template cannot be used.
    """
    tokenizer, template = None, []
    if tokenization is not None:
        at_work = Tokenizer(tokenization)
        tokenizer = at_work.record()
        refuse_unusable(tokenizer.template)
        template = template_lines(tokenizer.template, at_work.proposed())
    classifier = shared_classifier(config.classifier_path, config.taxonomy, config.classifier.sha256)
    record = RepairRecord(sha256=repairs.sha256, rows=len(repairs.rows), used=0) if repairs else None
    make_cleaner(config.build.clean, config.build.pii)  # so that a wrong pattern or language is found before any work
    index = index_benchmarks(config)
    staging = staging_directory(
        config,
        VERSION,
        environment.get("versions"),
        classifier.sha256,
        list(classifier.temperatures),
        classifier.undetermined_below,
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
    signatures = f"{staging}/signatures" if config.build.near_duplicates.enabled else None
    finished = find_finished(staging, splits, signatures)
    todo = sorted(finished.todo, key=lambda split: (-split_bytes(split), split.source, split.uri, split.part))
    input_bytes = planned_bytes(splits)
    parts = count_buckets(input_bytes, config.build.shard_bytes)
    fingerprint = config.build_fingerprint()
    return BuildPlan(
        config=config,
        splits=todo,
        expected=[split.key for split in splits],
        finished=finished,
        finished_path=save_finished(finished, staging),
        parts=parts,
        shuffle=uses_shuffle(config.build, environment.get("runner", ""), input_bytes, parts),
        classifier_path=stage_classifier(config.classifier_path, staging),
        staging=staging,
        signatures=signatures,
        tokenizer_path=tokenizer_path,
        repairs_path=f"{staging}/repairs.jsonl" if repairs else None,
        benchmarks_path=f"{staging}/benchmarks.arrow" if index else None,
        version=VersionPlan(
            home=config.home,
            staging=f"{staging}/out",
            name=config.name,
            version=config.build.version,
            taxonomy=config.taxonomy,
            classifier=_classifier_record(classifier),
            tokenizer=tokenizer,
            model=facts,
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
        template=template,
    )


def _decontamination(index: BenchmarkIndex) -> DecontaminationRecord:
    """Return what is looked for; hits are counted at the end."""
    benchmarks = [
        BenchmarkRecord(name=entry.name, items=entry.items, too_short=entry.too_short, hits=0)
        for entry in index.summary()
    ]
    return DecontaminationRecord(digest=index.digest, benchmarks=benchmarks)


def _classifier_record(classifier: DomainClassifier) -> ClassifierRecord:
    """Return what the manifest says of a classifier: its errors are those its card measured on sources it was not trained on."""
    unseen = (classifier.card or {}).get("unseen", {})
    if not unseen.get("of_sources"):  # no source could be left out: figures on held-out rows are no such errors
        unseen = {}
    return ClassifierRecord(
        sha256=classifier.sha256,
        labels=list(classifier.labels),
        undetermined_below=classifier.undetermined_below,
        confusion=unseen.get("confusion"),
        precision_determined=unseen.get("precision_determined"),
        unseen_ece=unseen.get("ece"),
    )
