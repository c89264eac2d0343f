"""``versatune verify``: is everything on disk what its manifest says?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from versatune.schemas.checkpoint import STATE, read_checkpoint, whole_checkpoints
from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.document import Document
from versatune.schemas.errors import DataError, VersatuneError
from versatune.schemas.inside import inside
from versatune.schemas.labels import LabelReport
from versatune.schemas.mixture import MixtureManifest
from versatune.schemas.pointer import LATEST, read_pointer
from versatune.schemas.probe import ProbeReport
from versatune.schemas.progress import Progress
from versatune.schemas.references import dataset_of
from versatune.schemas.run import RunRecord, read_checkpoints
from versatune.versions.checksums import checksum
from versatune.versions.listing import find_version
from versatune.versions.places import at_hand
from versatune.versions.verify_dataset import check_version, file_problems, row_problems

Verdict = tuple[Document, list[str]]


def verify(path: Path, progress: Progress, *, deep: bool = False) -> Verdict:
    """Check a dataset version, a probe, labels, a mixture or a run, and the pointer beside it.

    What an earlier versatune did not pin is said, and is no problem.

    Args:
        path: its directory, or its JSON file; or a configuration, for its newest dataset version.
        progress: hears how much is checked.
        deep: also look at every row of a dataset version.

    Returns:
        The document, and one line per thing that is wrong (none when all is well).

    Raises:
        DataError: there is no such document here, or it is of another version; ``deep`` of something without rows.
        IntegrityError: the document itself was changed.
    """
    at_hand(path if path.suffix != ".json" else path.parent, *_CHECKS)
    file = _document_file(path)
    at_hand(file.parent, "**", progress=progress, exact=file.name == "manifest.json")
    at_hand(file.parent.parent, LATEST, f"*/{file.name}")
    if deep and file.name != "manifest.json":
        raise DataError(f"{file}: --deep looks at rows; give the directory of a dataset version")
    document, problems = _CHECKS[file.name](file, progress)
    _say_unpinned(file, document, progress)
    if deep and not problems:
        problems = _row_problems(file, document, progress)
    return document, [*problems, *_not_as_written(file, document), *_pointer(file, document)]


def _row_problems(file: Path, document: Document, progress: Progress) -> list[str]:
    from versatune.versions.verify_rows import check_rows

    assert isinstance(document, DatasetManifest)  # that is what lies in a manifest.json
    return check_rows(file.parent, document, progress)


def _document_file(path: Path) -> Path:
    if path.is_file():
        return path if path.name in _CHECKS else find_version(path)
    for name in _CHECKS:
        if (path / name).is_file():
            return path / name
    expected = ", ".join(_CHECKS)
    if path.is_dir():
        raise DataError(
            f"{path}: holds none of {expected}; give the directory of a dataset version, mixture, probe, labels or run"
        )
    raise DataError(f"{path}: no such directory; expected one that holds {expected}")


def _verify_mixture(file: Path, progress: Progress) -> Verdict:
    mixture = MixtureManifest.load(file)
    at_hand(file.parent / mixture.dataset.path, "**", progress=progress)
    try:
        directory, _ = dataset_of(mixture, file)
        dataset, problems = check_version(directory / "manifest.json", progress)
    except VersatuneError as error:
        return mixture, [str(error)]
    if dataset.shards != mixture.shards:
        problems.append(
            f"{file}: names other shards than {directory / 'manifest.json'}; run `versatune mix CONFIG` again"
        )
    return mixture, problems


def _verify_probe(file: Path, progress: Progress) -> Verdict:
    report = ProbeReport.load(file)
    progress.begin("verify", 1, "files")
    problems = list(file_problems(file.parent, report.generations, None, report.generations_sha256))
    progress.end()
    return report, problems or list(row_problems(file.parent, report.generations, report.samples))


def _verify_labels(file: Path, progress: Progress) -> Verdict:
    report = LabelReport.load(file)
    pinned = {entry.path: entry.sha256 for entry in (report.labelled, report.undetermined)}
    return report, list(_pinned(file.parent, pinned, progress))


def _verify_run(file: Path, progress: Progress) -> Verdict:
    record, run = RunRecord.load(file), file.parent
    pinned = {f"{record.model}/{name}": digest for name, digest in record.model_files.items()} | (record.files or {})
    problems = list(_pinned(run, pinned, progress))
    named = any("weights.jsonl" in problem for problem in problems)
    return record, [*problems, *([] if named else _log(record, run)), *_checkpoints(run, progress)]


def _log(record: RunRecord, run: Path) -> Iterator[str]:
    """Count the run's checkpoints in its log."""
    try:
        found = len(read_checkpoints(inside(run, "weights.jsonl")))
    except VersatuneError as error:
        yield str(error)
        return
    if found != record.segments + 1:
        yield (
            f"{run / 'weights.jsonl'}: holds {found} checkpoints, expected {record.segments + 1} (the base"
            f" model and {record.segments} segments); delete {run} and train again"
        )


def _checkpoints(run: Path, progress: Progress) -> Iterator[str]:
    """Compare the checkpoints that are still there, which the next export starts from, with what each says of itself."""
    try:
        checkpoints = whole_checkpoints(inside(run, "checkpoints"))
    except VersatuneError as error:
        yield str(error)
        return
    for checkpoint in checkpoints:
        state, problems = read_checkpoint(checkpoint, run, checksum)
        if state is not None:
            problems = [*problems, *_not_as_written(checkpoint / STATE, state)]
            _say_unpinned(checkpoint / STATE, state, progress)
        yield from problems


def _pinned(directory: Path, pinned: Mapping[str, str], progress: Progress) -> Iterator[str]:
    progress.begin("verify", len(pinned), "files")
    for position, (name, digest) in enumerate(sorted(pinned.items())):
        yield from file_problems(directory, name, None, digest)
        progress.advance_to(position + 1)
    progress.end()


def _not_as_written(file: Path, document: Document) -> Iterator[str]:
    """Find a byte that changed without changing what the document says: another blank, a number written in another way."""
    if file.read_bytes() != document.to_bytes():
        yield f"{file}: says what was written, and not in the same bytes; it was edited or damaged"


def _pointer(file: Path, document: Document) -> Iterator[str]:
    """Compare the pointer beside a document's directory, whatever it points to, with what is there."""
    pointer = file.parent.parent / LATEST
    if pointer.is_file():
        try:
            read_pointer(pointer, what=document.KIND.rpartition("/")[2], command=document.MADE_BY)
        except VersatuneError as error:
            yield str(error)


def _say_unpinned(file: Path, document: Document, progress: Progress) -> None:
    for what in document.unpinned:
        progress.say(
            f"notice: {file} was made by an earlier versatune, which did not pin {what}: damage there is not found"
        )


_CHECKS: dict[str, Callable[[Path, Progress], Verdict]] = {
    "manifest.json": check_version,
    "mixture.json": _verify_mixture,
    "probe.json": _verify_probe,
    "labels.json": _verify_labels,
    "run.json": _verify_run,
}
