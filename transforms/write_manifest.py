"""The end of a build: check the books, give the files their final place, and write the manifest last."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import apache_beam as beam
import orjson
from apache_beam.pvalue import AsList, PCollection
from pydantic import ValidationError

from schemas.arrow import SCHEMA_VERSION
from schemas.dataset import (
    ClassifierRecord,
    DatasetManifest,
    InputFile,
    RejectFile,
    Shard,
    SourceBooks,
    TokenizerRecord,
)
from schemas.errors import ConfigError, DataError, RunError, VersatuneError
from schemas.files import sha256_bytes
from schemas.taxonomy import Taxonomy
from schemas.validation import explain
from schemas.version import VERSION
from transforms import tokenize
from transforms.dataset_card import dataset_card
from transforms.storage import exists, match, move, read_bytes, replace_bytes
from transforms.write_shards import Rejected, Written

OUTCOME = "outcome.json"
REJECTED = "rejected"
_DIGEST_DIGITS = 8
_SHOWN = 5
_ERRORS = {kind.__name__: kind for kind in (ConfigError, DataError, RunError)}


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
    fingerprint: dict[str, Any]
    max_rejected_fraction: float
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


def balance(files: Sequence[InputFile], written: Iterable[Written], rejected: Iterable[Rejected]) -> list[SourceBooks]:
    """Return the books by source; rows read come from the readers, everything else from what was written.

    Raises:
        RunError: a source's rows do not add up.
    """
    read: Counter[str] = Counter()
    domains: dict[str, Counter[str]] = {}
    duplicates: Counter[str] = Counter()
    reasons: dict[str, Counter[str]] = {}
    for file in files:
        read[file.source] += file.rows
    for bucket in written:
        duplicates.update(bucket.duplicates)
        for (source, domain), rows in bucket.written.items():
            domains.setdefault(source, Counter())[domain] += rows
    for refused in rejected:
        for (source, reason), rows in refused.rejected.items():
            reasons.setdefault(source, Counter())[reason] += rows
    try:
        return [
            SourceBooks(
                source=source,
                read=read[source],
                written=dict(sorted(domains.get(source, Counter()).items())),
                duplicates=duplicates[source],
                rejected=dict(sorted(reasons.get(source, Counter()).items())),
            )
            for source in sorted(read.keys() | domains.keys() | duplicates.keys() | reasons.keys())
        ]
    except ValidationError as problem:
        raise RunError(explain(problem, SourceBooks, "build")) from None


def check_books(books: Sequence[SourceBooks], max_rejected_fraction: float) -> None:
    """Refuse a dataset without rows, or one that lost too many.

    Raises:
        DataError: nothing was read, nothing is left, or more rows were rejected than allowed.
    """
    read = sum(book.read for book in books)
    rejected = {book.source: sum(book.rejected.values()) for book in books}
    if not read:
        raise DataError("the sources hold no rows; expected at least one conversation")
    tokenized_away = sum(
        rows for book in books for reason, rows in book.rejected.items() if reason.startswith(f"{tokenize.STAGE}.")
    )
    rendered_already = sum(book.rejected.get(f"{tokenize.STAGE}.{tokenize.CONTROL_TOKEN_IN_TEXT}", 0) for book in books)
    written = sum(sum(book.written.values()) for book in books)
    if rendered_already and rendered_already == tokenized_away and not written:
        raise DataError(
            f"all {rendered_already:,} rows that reached the tokenizer spell out control tokens of the chat template ({_most(books)}): they"
            " seem to be rendered already. Give the conversations as plain messages, or set build.tokenize to false."
        )
    if tokenized_away and not written:
        raise DataError(
            f"the chat template never yields a token of the assistant: all {tokenized_away:,} rows that reached the tokenizer were rejected"
            f" ({_most(books)}). Give the model's own chat template as model.chat_template, raise build.max_tokens, or set build.tokenize"
            " to false."
        )
    if sum(rejected.values()) > max_rejected_fraction * read:
        worst = max(rejected, key=lambda source: rejected[source])
        raise DataError(
            f"{sum(rejected.values()):,} of {read:,} rows were rejected, more than build.max_rejected_fraction ="
            f" {max_rejected_fraction:g} allows; most by {_most(books)}; most in source '{worst}'. Give that source a field map"
            " (sources.fields), mend its files, or raise the limit."
        )
    if not written:
        raise DataError(f"no row is left of {read:,}: {_most(books)}")


def _most(books: Sequence[SourceBooks]) -> str:
    reasons: Counter[str] = Counter()
    for book in books:
        reasons.update(book.rejected)
    return ", ".join(
        f"{reason} {rows:,}" for reason, rows in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]
    )


def make_manifest(
    plan: VersionPlan,
    files: Iterable[dict[str, Any]],
    failures: Sequence[dict[str, str]],
    written: Sequence[Written],
    rejected: Sequence[Rejected],
) -> DatasetManifest:
    """Put the manifest together; equal rows give an equal digest, whatever order things came in.

    Raises:
        DataError: a file could not be read, or see :func:`check_books`.
        RunError: the books do not balance.
    """
    broken = sorted({failure["message"] for failure in failures})
    if broken:
        more = f"\n... and {len(broken) - _SHOWN} more files" if len(broken) > _SHOWN else ""
        raise DataError("\n".join(broken[:_SHOWN]) + more)
    inputs = sorted((InputFile(**file) for file in files), key=lambda file: (file.source, file.uri))
    books = balance(inputs, written, rejected)
    check_books(books, plan.max_rejected_fraction)
    now = datetime.now(UTC)
    manifest = DatasetManifest.create(
        name=plan.name,
        version="",
        created_at=now.isoformat(timespec="seconds"),
        environment={**plan.environment, "seconds": round(time.time() - plan.started, 1)},
        schema_version=SCHEMA_VERSION,
        code_version=VERSION,
        taxonomy=plan.taxonomy,
        classifier=plan.classifier,
        tokenizer=plan.tokenizer,
        inputs=inputs,
        books=books,
        shards=sorted((Shard(**shard) for bucket in written for shard in bucket.shards), key=lambda shard: shard.path),
        rejects=sorted(
            (RejectFile(**file) for refused in rejected for file in refused.files), key=lambda file: file.path
        ),
        config=plan.fingerprint,
    )
    version = plan.version or f"{now:%Y%m%d}-{manifest.digest[:_DIGEST_DIGITS]}"
    return manifest.model_copy(update={"version": version})  # the version is outside the digest


def publish(plan: VersionPlan, manifest: DatasetManifest) -> Outcome:
    """Move the staged files into the version's directory, write README.md, the manifest, and last the pointer to it.

    A version that is there already with the same digest stays as it is; files it has lost, or that were changed, are put back. Every step
    may be repeated: a retried worker goes on where the first one stopped.

    Raises:
        ConfigError: the version exists with other content.
    """
    there = _existing(plan, manifest)
    manifest = there or manifest
    target = f"{plan.home}/{manifest.version}"
    entries: list[Shard | RejectFile] = [*manifest.shards, *manifest.rejects]
    for entry in entries:
        if not (there and _intact(f"{target}/{entry.path}", entry.sha256)):
            move(f"{plan.staging}/{entry.path}", f"{target}/{entry.path}")
    path = f"{target}/manifest.json"
    if not there:
        replace_bytes(f"{target}/README.md", dataset_card(manifest).encode())
        replace_bytes(path, manifest.to_bytes())
    pointer = {"path": f"{manifest.version}/manifest.json", "digest": manifest.digest}
    replace_bytes(f"{plan.home}/latest.json", orjson.dumps(pointer, option=orjson.OPT_APPEND_NEWLINE))
    return Outcome(path, unchanged=there is not None)


def _intact(path: str, sha256: str) -> bool:
    return exists(path) and sha256_bytes(read_bytes(path)) == sha256


def _existing(plan: VersionPlan, manifest: DatasetManifest) -> DatasetManifest | None:
    """Return the version with the same content that is there already, under a given name or whatever its date."""
    digits = manifest.digest[:_DIGEST_DIGITS]
    pattern = f"{plan.home}/{plan.version or f'*-{digits}'}/manifest.json"
    for path in match(pattern):
        try:
            found = DatasetManifest.parse(read_bytes(path), path)
        except VersatuneError as error:
            raise ConfigError(
                f"{error} It is where this build's version belongs: delete its directory first."
            ) from None
        if found.digest == manifest.digest:
            return found
        if found.version == manifest.version:
            raise ConfigError(
                f"build.version {found.version}: {path} exists with other content (digest {found.digest[:12]}, this build's is"
                f" {manifest.digest[:12]}). A version never changes: choose another, or none to have one derived."
            )
    return None


def finish_build(
    plan: VersionPlan,
    files: Iterable[dict[str, Any]],
    failures: Sequence[dict[str, str]],
    written: Sequence[Written],
    rejected: Sequence[Rejected],
) -> Outcome:
    """Publish the dataset, or keep the rejected rows for its owner to look at; either way say how it ended."""
    try:
        outcome = publish(plan, make_manifest(plan, files, failures, written, rejected))
    except DataError as error:
        outcome = Outcome(
            None, error="DataError", message=str(error) + ("" if failures else _keep_rejects(plan, rejected))
        )
    except VersatuneError as error:
        outcome = Outcome(None, error=type(error).__name__, message=str(error))
    outcome.save(plan.staging)
    return outcome


def _keep_rejects(plan: VersionPlan, rejected: Sequence[Rejected]) -> str:
    """Move the rejected rows to where the next build finds and deletes them."""
    kept = f"{plan.home}/{REJECTED}"
    paths = [file["path"] for refused in rejected for file in refused.files]
    for path in paths:
        move(f"{plan.staging}/{path}", f"{kept}/{path.removeprefix('rejects/')}")
    return f" The rejected rows, with reasons, are in {kept}." if paths else ""


@dataclass(kw_only=True)
class WriteManifest(beam.PTransform[Any, PCollection[Outcome]]):
    """Wait for all of a build's results, then :func:`finish_build`; the outcome is in ``<staging>/outcome.json``.

    In: a pipeline's root. Failures of the data are written there too, and no exception: an engine would only try again.
    """

    plan: VersionPlan
    files: PCollection[dict[str, Any]]
    failures: PCollection[dict[str, str]]
    written: PCollection[Written]
    rejected: PCollection[Rejected]

    def expand(self, root: Any) -> PCollection[Outcome]:
        """Take the collections as side inputs: they are small, one entry for each file and bucket."""
        sides = [AsList(side) for side in (self.files, self.failures, self.written, self.rejected)]
        return root | "Once" >> beam.Create([self.plan]) | "WaitForShards" >> beam.Map(finish_build, *sides)
