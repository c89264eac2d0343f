"""From one output to the one it was made from: what lies where a document says must be what the document pins."""

from __future__ import annotations

import os
from pathlib import Path

from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.errors import DataError, IntegrityError
from versatune.schemas.mixture import MixtureManifest
from versatune.schemas.run import RunRecord


def dataset_of(mixture: MixtureManifest, file: Path) -> tuple[Path, DatasetManifest]:
    """Return the directory and the manifest of the dataset version that a mixture draws from.

    Args:
        mixture: the manifest.
        file: where it lies.

    Raises:
        DataError: the dataset is not on this machine, or there is no manifest.
        IntegrityError: what lies there is another dataset. No file of it is opened.
    """
    if "://" in mixture.dataset.path:
        raise DataError(f"the dataset lies at {mixture.dataset.path}; copy it to this machine and run mix again")
    directory = _beside(file, mixture.dataset.path)
    dataset = DatasetManifest.load(directory / "manifest.json")
    if dataset.digest != mixture.dataset_digest:
        raise IntegrityError(
            f"{file}: was mixed from dataset digest {mixture.dataset_digest[:12]}..., but {directory / 'manifest.json'} has"
            f" {dataset.digest[:12]}...; run `versatune mix CONFIG` again"
        )
    return directory, dataset


def mixture_of(run: RunRecord, directory: Path) -> tuple[Path, MixtureManifest]:
    """Return the file and the manifest of the mixture that a run was trained on.

    Args:
        run: the record.
        directory: the run's.

    Raises:
        DataError: there is none.
        IntegrityError: what lies there is another mixture.
    """
    file = _beside(directory / "run.json", run.mixture_path)
    mixture = MixtureManifest.load(file)
    if mixture.digest != run.mixture_digest:
        raise IntegrityError(
            f"{directory / 'run.json'}: was trained on mixture digest {run.mixture_digest[:12]}..., but {file} has"
            f" {mixture.digest[:12]}...; put that mixture back, or train again"
        )
    return file, mixture


def _beside(document: Path, reference: str) -> Path:
    """Join a document's place and what it refers to, as the system would: ``..`` of a directory behind a link is that of its own place."""
    return Path(os.path.normpath(document.parent.resolve() / reference))
