"""``versatune verify``: is everything on disk what its manifest says?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.dataset import DatasetManifest, RejectFile, Shard
from schemas.document import Document
from schemas.errors import DataError, VersatuneError
from schemas.files import sha256_file
from schemas.mixture import MixtureManifest
from schemas.probe import ProbeReport
from schemas.progress import Progress
from schemas.run import RunRecord, read_checkpoints

Verdict = tuple[Document, list[str]]


def verify(path: Path, progress: Progress) -> Verdict:
    """Check a dataset version, a probe, a mixture or a run.

    Args:
        path: its directory, or its JSON file.
        progress: hears how many files are checked.

    Returns:
        The document, and one line per thing that is wrong (none when all is well).

    Raises:
        DataError: there is no such document here, or it is of another version.
    """
    file = _document_file(path)
    return _CHECKS[file.name](file, progress)


def _document_file(path: Path) -> Path:
    if path.is_file() and path.name in _CHECKS:
        return path
    for name in _CHECKS:
        if (path / name).is_file():
            return path / name
    expected = ", ".join(_CHECKS)
    if path.is_dir():
        raise DataError(
            f"{path}: holds none of {expected}; give the directory of a dataset version, mixture, probe or run"
        )
    raise DataError(f"{path}: no such directory; expected one that holds {expected}")


def _verify_dataset(file: Path, progress: Progress) -> Verdict:
    manifest = DatasetManifest.load(file)
    problems: list[str] = []
    entries: list[Shard | RejectFile] = [*manifest.shards, *manifest.rejects]
    progress.begin("verify", len(entries), "files")
    for position, entry in enumerate(entries):
        problems += _file_problems(file.parent, entry.path, entry.bytes, entry.sha256)
        if not problems:
            problems += _row_problems(file.parent, entry.path, entry.rows)
        progress.advance_to(position + 1)
    progress.end()
    problems += _stray_files(file.parent, {entry.path for entry in entries})
    problems += _unbalanced(manifest)
    return manifest, problems


def _verify_mixture(file: Path, progress: Progress) -> Verdict:
    mixture = MixtureManifest.load(file)
    dataset_file = (file.parent / mixture.dataset.path / "manifest.json").resolve()
    try:
        dataset, problems = _verify_dataset(dataset_file, progress)
    except VersatuneError as error:
        return mixture, [str(error)]
    assert isinstance(dataset, DatasetManifest)
    if dataset.digest != mixture.dataset_digest or dataset.shards != mixture.shards:
        problems.append(
            f"{file}: was mixed from dataset digest {mixture.dataset_digest[:12]}..., but {dataset_file} has"
            f" {dataset.digest[:12]}...; run `versatune mix CONFIG` again"
        )
    return mixture, problems


def _verify_probe(file: Path, progress: Progress) -> Verdict:
    report = ProbeReport.load(file)
    progress.begin("verify", 1, "files")
    generations = (file.parent / report.generations).resolve()
    if not generations.is_file():
        return report, [f"{generations}: missing"]
    problems = list(_row_problems(file.parent, report.generations, report.samples))
    progress.end()
    return report, problems


def _verify_run(file: Path, progress: Progress) -> Verdict:
    record = RunRecord.load(file)
    problems: list[str] = []
    progress.begin("verify", len(record.model_files), "files")
    for position, (name, digest) in enumerate(sorted(record.model_files.items())):
        problems += _file_problems(file.parent / record.model, name, None, digest)
        progress.advance_to(position + 1)
    progress.end()
    try:
        checkpoints = read_checkpoints(file.parent / "weights.jsonl")
    except DataError as error:
        return record, [*problems, str(error)]
    if len(checkpoints) != record.segments + 1:
        problems.append(
            f"{file.parent / 'weights.jsonl'}: holds {len(checkpoints)} checkpoints, expected {record.segments + 1} (the base"
            f" model and {record.segments} segments); delete {file.parent} and train again"
        )
    return record, problems


_CHECKS: dict[str, Callable[[Path, Progress], Verdict]] = {
    "manifest.json": _verify_dataset,
    "mixture.json": _verify_mixture,
    "probe.json": _verify_probe,
    "run.json": _verify_run,
}


def _file_problems(directory: Path, relative: str, size: int | None, digest: str) -> Iterator[str]:
    file = directory / relative
    if not file.resolve().is_relative_to(directory.resolve()):
        yield f"{relative}: lies outside {directory}; a manifest may only name files below itself"
    elif not file.is_file():
        yield f"{file}: missing"
    elif size is not None and file.stat().st_size != size:
        yield f"{file}: has {file.stat().st_size:,} bytes, the manifest says {size:,}"
    elif (found := sha256_file(file)) != digest:
        yield f"{file}: sha256 is {found[:12]}..., the manifest says {digest[:12]}..."


def _row_problems(directory: Path, relative: str, rows: int) -> Iterator[str]:
    try:
        found = pq.read_metadata(directory / relative).num_rows
    except (pa.ArrowInvalid, OSError):
        yield f"{directory / relative}: is no Parquet file; it was damaged or cut short"
        return
    if found != rows:
        yield f"{directory / relative}: has {found:,} rows, the manifest says {rows:,}"


def _stray_files(directory: Path, known: set[str]) -> Iterator[str]:
    for folder in ("data", "rejects"):
        for file in sorted((directory / folder).rglob("*")):
            if file.is_file() and file.relative_to(directory).as_posix() not in known:
                yield f"{file}: is not in the manifest"


def _unbalanced(manifest: DatasetManifest) -> Iterator[str]:
    """Compare the books with the shards and reject files; each source's own balance is checked on loading."""
    written = sum(sum(books.written.values()) for books in manifest.books)
    rejected = sum(sum(books.rejected.values()) for books in manifest.books)
    read = sum(books.read for books in manifest.books)
    for what, in_books, in_files in (
        ("rows written", written, sum(shard.rows for shard in manifest.shards)),
        ("rows rejected", rejected, sum(entry.rows for entry in manifest.rejects)),
        ("rows read", read, sum(entry.rows for entry in manifest.inputs)),
    ):
        if in_books != in_files:
            yield f"books say {in_books:,} {what}, the files hold {in_files:,}"
