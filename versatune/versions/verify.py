"""``versatune verify``: is everything on disk what its manifest says?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from versatune.schemas.document import Document
from versatune.schemas.errors import DataError, VersatuneError
from versatune.schemas.labels import LabelReport
from versatune.schemas.mixture import MixtureManifest
from versatune.schemas.probe import ProbeReport
from versatune.schemas.progress import Progress
from versatune.schemas.run import RunRecord, read_checkpoints
from versatune.versions.listing import find_version
from versatune.versions.places import at_hand
from versatune.versions.verify_dataset import check_version, file_problems, row_problems

Verdict = tuple[Document, list[str]]


def verify(path: Path, progress: Progress, *, deep: bool = False) -> Verdict:
    """Check a dataset version, a probe, labels, a mixture or a run.

    Args:
        path: its directory, or its JSON file; or a configuration, for its newest dataset version.
        progress: hears how much is checked.
        deep: also look at every row of a dataset version.

    Returns:
        The document, and one line per thing that is wrong (none when all is well).

    Raises:
        DataError: there is no such document here, or it is of another version; ``deep`` of something without rows.
    """
    at_hand(path if path.suffix != ".json" else path.parent, *_CHECKS)
    file = _document_file(path)
    at_hand(file.parent, "**", progress=progress, exact=file.name == "manifest.json")
    if not deep:
        return _CHECKS[file.name](file, progress)
    if file.name != "manifest.json":
        raise DataError(f"{file}: --deep looks at rows; give the directory of a dataset version")
    from versatune.versions.verify_rows import check_rows

    manifest, problems = check_version(file, progress)
    return manifest, problems or check_rows(file.parent, manifest, progress)


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
    dataset_file = (file.parent / mixture.dataset.path / "manifest.json").resolve()
    at_hand(dataset_file.parent, "**", progress=progress)
    try:
        dataset, problems = check_version(dataset_file, progress)
    except VersatuneError as error:
        return mixture, [str(error)]
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
    problems = list(row_problems(file.parent, report.generations, report.samples))
    progress.end()
    return report, problems


def _verify_labels(file: Path, progress: Progress) -> Verdict:
    report = LabelReport.load(file)
    entries = (report.labelled, report.undetermined)
    problems: list[str] = []
    progress.begin("verify", len(entries), "files")
    for position, entry in enumerate(entries):
        problems += file_problems(file.parent, entry.path, None, entry.sha256)
        progress.advance_to(position + 1)
    progress.end()
    return report, problems


def _verify_run(file: Path, progress: Progress) -> Verdict:
    record = RunRecord.load(file)
    problems: list[str] = []
    progress.begin("verify", len(record.model_files), "files")
    for position, (name, digest) in enumerate(sorted(record.model_files.items())):
        problems += file_problems(file.parent / record.model, name, None, digest)
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
    "manifest.json": check_version,
    "mixture.json": _verify_mixture,
    "probe.json": _verify_probe,
    "labels.json": _verify_labels,
    "run.json": _verify_run,
}
