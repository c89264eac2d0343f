"""The end of a build: check the books, give the files their final place, and write the manifest last."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import apache_beam as beam
import orjson
from apache_beam.pvalue import AsList, AsSingleton, PCollection

from versatune.schemas.arrow import SCHEMA_VERSION
from versatune.schemas.config import LicensePolicy
from versatune.schemas.dataset import (
    DECONTAMINATE,
    REPAIRED,
    ClassifierRecord,
    DatasetManifest,
    DecontaminationRecord,
    RepairRecord,
    Shard,
    SideFile,
    SourceBooks,
    TokenizerRecord,
)
from versatune.schemas.errors import (
    ChangedError,
    ConfigError,
    DataError,
    IntegrityError,
    LicenseError,
    RunError,
    VersatuneError,
)
from versatune.schemas.inside import inside
from versatune.schemas.licenses import check_licenses
from versatune.schemas.model_facts import ModelFacts
from versatune.schemas.taxonomy import Taxonomy
from versatune.schemas.version import VERSION
from versatune.transforms.overlap.near_duplicates import Clusters
from versatune.transforms.reading.changes import check_unchanged
from versatune.transforms.reading.field_use import check_mapped, field_uses
from versatune.transforms.shards.books import Results, balance, check_books, check_refused, list_inputs
from versatune.transforms.shards.dataset_card import dataset_card
from versatune.transforms.shards.notices import input_notices
from versatune.transforms.shards.shard_plan import PlanFile, load_plan
from versatune.transforms.shards.write_shards import Rejected, Written
from versatune.transforms.transport import storage
from versatune.transforms.transport.storage import match, move, read_bytes, replace_bytes

OUTCOME = "outcome.json"
REJECTED = "rejected"
_DIGEST_DIGITS = 8
_ERRORS = {kind.__name__: kind for kind in (ChangedError, ConfigError, DataError, IntegrityError, RunError)}


@dataclass(frozen=True, kw_only=True)
class VersionPlan:
    """What the manifest says that is known before the work begins, and where things are."""

    home: str
    staging: str
    """Holds the new files under their final relative paths."""
    name: str
    version: str | None
    taxonomy: Taxonomy
    classifier: ClassifierRecord
    tokenizer: TokenizerRecord | None
    model: ModelFacts | None = None
    fingerprint: dict[str, Any]
    max_rejected_fraction: float
    licenses: LicensePolicy = field(default_factory=LicensePolicy)
    skip_refused: bool = True
    """Go on without files that cannot be read."""
    decontamination: DecontaminationRecord | None = None
    """Its hits are counted here."""
    repairs: RepairRecord | None = None
    """Its use is counted here."""
    parent: str | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    started: float
    """Seconds since the epoch."""


@dataclass(frozen=True)
class Outcome:
    """How a build ended."""

    manifest: str | None
    """Path of manifest.json, if there is a dataset."""
    unchanged: bool = False
    """The same dataset was there already and was left as it was."""
    error: str | None = None
    message: str = ""
    notices: dict[str, list[str]] = field(default_factory=dict)
    """By source, what the build found in its input. Not read from the manifest: the same dataset may have come from other files before."""

    def save(self, staging: str) -> None:
        """Write it where the launcher looks, whatever machine this is."""
        replace_bytes(f"{staging}/{OUTCOME}", orjson.dumps(self))

    @classmethod
    def load(cls, staging: str) -> Outcome:
        """Read what :meth:`save` wrote."""
        return cls(**orjson.loads(read_bytes(f"{staging}/{OUTCOME}")))

    def raise_error(self) -> None:
        """Raise the error of a build that failed."""
        if self.error is not None:
            raise _ERRORS[self.error](self.message)


def make_manifest(plan: VersionPlan, results: Results) -> DatasetManifest:
    """Put the manifest together; equal rows give an equal digest, whatever order things came in.

    Raises:
        ChangedError: files that changed while they were read.
        DataError: files that cannot be read, see :func:`check_refused`; see :func:`check_books`; a licence that the policy forbids.
        RunError: the books do not balance.
    """
    check_unchanged(results.records)
    inputs = list_inputs(results.records)
    check_refused(inputs, skip=plan.skip_refused)
    books = balance(inputs, results)
    check_mapped(results.plan.fields)
    check_books(books, plan.max_rejected_fraction)
    shards = sorted(
        (Shard(**shard) for bucket in results.written for shard in bucket.shards), key=lambda shard: shard.path
    )
    check_licenses(plan.licenses, inputs, shards)
    now = datetime.now(UTC)
    manifest = DatasetManifest.create(
        name=plan.name,
        version="",
        created_at=now.isoformat(timespec="seconds"),
        environment={**plan.environment, "seconds": round(time.time() - plan.started, 1)},
        parent=plan.parent,
        schema_version=SCHEMA_VERSION,
        code_version=VERSION,
        taxonomy=plan.taxonomy,
        classifier=plan.classifier,
        tokenizer=plan.tokenizer,
        model=plan.model,
        inputs=inputs,
        books=books,
        fields=field_uses(results.plan.fields),
        shards=shards,
        near_duplicates=_near_duplicates(results.clusters),
        decontamination=_with_hits(plan.decontamination, books),
        repairs=plan.repairs
        and plan.repairs.model_copy(update={"used": sum(book.counts.get(REPAIRED, 0) for book in books)}),
        rejects=_side_files(file for group in results.rejected for file in group.files),
        lineage=_side_files(file for bucket in results.written for file in bucket.lineage),
        config=plan.fingerprint,
    )
    day = datetime.fromtimestamp(plan.started, UTC)  # not now: a retry after midnight goes on in the same directory
    return manifest.changed(version=plan.version or f"{day:%Y%m%d}-{manifest.digest[:_DIGEST_DIGITS]}")


def _side_files(files: Iterable[dict[str, Any]]) -> list[SideFile]:
    return sorted((SideFile(**file) for file in files), key=lambda file: file.path)


def _near_duplicates(clusters: Clusters | None) -> SideFile | None:
    if clusters is None:
        return None
    name = clusters.path.rpartition("/")[2]
    return SideFile(path=name, rows=clusters.rows, bytes=clusters.bytes, sha256=clusters.sha256)


def _with_hits(looked_for: DecontaminationRecord | None, books: Sequence[SourceBooks]) -> DecontaminationRecord | None:
    if looked_for is None:
        return None
    hits = sum((Counter(book.counts) for book in books), Counter[str]())
    benchmarks = [
        entry.model_copy(update={"hits": hits[DECONTAMINATE + entry.name]}) for entry in looked_for.benchmarks
    ]
    return looked_for.model_copy(update={"benchmarks": benchmarks})


def publish(plan: VersionPlan, manifest: DatasetManifest) -> Outcome:
    """Move the staged files into the version's directory, write README.md, the manifest, and last the pointer to it.

    A version that is there already with the same digest stays as it is; files it has lost, or that were changed, are put back. Every step
    may be repeated: a retried worker goes on where the first one stopped.

    Raises:
        ConfigError: the version exists with other content.
        IntegrityError: a link in its directory leads out of it.
    """
    there = _existing(plan, manifest)
    staged = {entry.path: entry.sha256 for entry in manifest.files}
    manifest = there or manifest
    target = f"{plan.home}/{manifest.version}"
    for entry in manifest.files:
        # The same dataset may have come from other files before: its lineage and rejects then are not these.
        place = str(inside(target, entry.path)) if storage.is_local(target) else f"{target}/{entry.path}"
        if staged.get(entry.path) == entry.sha256 and not (there and _intact(place, entry.sha256)):
            move(f"{plan.staging}/{entry.path}", place)
    path = f"{target}/manifest.json"
    if not there:
        replace_bytes(f"{target}/README.md", dataset_card(manifest).encode())
        replace_bytes(path, manifest.to_bytes())
    pointer = {"path": f"{manifest.version}/manifest.json", "digest": manifest.digest}
    replace_bytes(f"{plan.home}/latest.json", orjson.dumps(pointer, option=orjson.OPT_APPEND_NEWLINE))
    return Outcome(path, unchanged=there is not None)


def _intact(path: str, sha256: str) -> bool:
    return storage.sha256(path) == sha256


def _existing(plan: VersionPlan, manifest: DatasetManifest) -> DatasetManifest | None:
    """Return the version with the same content that is there already, under a given name or whatever its date."""
    digits = manifest.digest[:_DIGEST_DIGITS]
    pattern = f"{plan.home}/{plan.version or f'*-{digits}'}/manifest.json"
    for path in match(pattern):
        try:
            found = DatasetManifest.parse(read_bytes(path), path)
        except VersatuneError as error:
            raise ConfigError(
                f"{str(error).rstrip('.')}. It is where this build's version belongs: delete its directory first."
            ) from None
        if found.digest == manifest.digest:
            return found
        if found.version == manifest.version:
            raise ConfigError(
                f"build.version {found.version}: {path} exists with other content (digest {found.digest[:12]}, this build's is"
                f" {manifest.digest[:12]}). A version never changes: choose another, or none to have one derived."
            )
    return None


def finish_build(plan: VersionPlan, results: Results) -> Outcome:
    """Publish the dataset, or keep the rejected rows for its owner to look at; either way say how it ended."""
    try:
        manifest = make_manifest(plan, results)
        outcome = replace(publish(plan, manifest), notices=input_notices(manifest))
    except ChangedError as error:  # nothing of what was rejected need be final
        outcome = Outcome(None, error="ChangedError", message=str(error))
    except DataError as error:
        kept = "" if isinstance(error, LicenseError) else _keep_rejects(plan, results.rejected)
        outcome = Outcome(None, error="DataError", message=str(error) + kept)
    except VersatuneError as error:
        outcome = Outcome(None, error=type(error).__name__, message=str(error))
    outcome.save(plan.staging)
    return outcome


def _keep_rejects(plan: VersionPlan, rejected: Sequence[Rejected]) -> str:
    """Move the rejected rows to where the next build finds and deletes them."""
    kept = f"{plan.home}/{REJECTED}"
    paths = [file["path"] for group in rejected for file in group.files]
    for path in paths:
        move(f"{plan.staging}/{path}", f"{kept}/{path.removeprefix('rejects/')}")
    return f"\nThe rejected rows, with reasons, are in the Parquet files of {kept}." if paths else ""


@dataclass(kw_only=True)
class WriteManifest(beam.PTransform[Any, PCollection[Outcome]]):
    """Wait for all of a build's results, then :func:`finish_build`; the outcome is in ``<staging>/outcome.json``.

    In: a pipeline's root. Failures of the data are written there too, and no exception: an engine would only try again.
    """

    plan: VersionPlan
    records: PCollection[dict[str, Any]]
    shard_plan: PCollection[PlanFile]
    written: PCollection[Written]
    rejected: PCollection[Rejected]
    clusters: PCollection[Clusters] | None = None

    def expand(self, root: Any) -> PCollection[Outcome]:
        """Take the collections as side inputs: they are small, one entry for each file and bucket."""
        sides = [AsList(side) for side in (self.records, self.written, self.rejected)]
        near = [AsSingleton(self.clusters)] if self.clusters is not None else []
        return (
            root
            | "Once" >> beam.Create([self.plan])
            | "WaitForShards" >> beam.Map(_finish, AsSingleton(self.shard_plan), *sides, *near)
        )


def _finish(
    plan: VersionPlan,
    shard_plan: PlanFile,
    records: list[dict[str, Any]],
    written: list[Written],
    rejected: list[Rejected],
    clusters: Clusters | None = None,
) -> Outcome:
    whole = load_plan(shard_plan.path)
    results = Results(records=records, plan=whole, written=written, rejected=rejected, clusters=clusters)
    return finish_build(plan, results)
