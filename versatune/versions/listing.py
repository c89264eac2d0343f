"""Dataset versions on disk: which there are, and which one is meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from versatune.schemas.config import load_config
from versatune.schemas.dataset import DatasetManifest, Shard, SideFile
from versatune.schemas.errors import DataError, IntegrityError, VersatuneError, nearest
from versatune.schemas.inside import inside
from versatune.schemas.pointer import LATEST as POINTER
from versatune.schemas.pointer import read_pointer
from versatune.schemas.remote import mirror_of
from versatune.versions.places import at_hand

LATEST = "latest"
_MANIFEST = "manifest.json"
_BUILD = "versatune build CONFIG"
_CONFIGURATIONS = (".yaml", ".yml", ".json")
_PART = re.compile(r"part-(\d+)-of-(\d+)\.parquet$")
_KEYS = 2**16
_KEY_DIGITS = 4


class Found(NamedTuple):
    """One version's directory."""

    directory: Path
    manifest: DatasetManifest | None
    """None when it cannot be read."""
    problem: str
    latest: bool
    """The pointer names it."""


def dataset_directory(where: Path) -> Path:
    """Return the directory of a dataset's versions, given that directory or a configuration.

    Raises:
        DataError: there is no such directory.
        ConfigError: the configuration cannot be used.
    """
    if where.is_file() and where.suffix in _CONFIGURATIONS and where.name != _MANIFEST:
        where = mirror_of(load_config(where).home)
    at_hand(where, POINTER, f"*/{POINTER}", f"*/{_MANIFEST}", f"*/*/{_MANIFEST}")
    if not where.is_dir():
        raise DataError(f"{where}: no such directory; expected OUTPUT/NAME of a build, or its configuration")
    return where


def list_versions(where: Path) -> list[Found]:
    """Return a dataset's versions, the oldest first; those that cannot be read come last.

    Args:
        where: a dataset's directory, its configuration, or the directory of several datasets.
    """
    home = dataset_directory(where)
    files = sorted([*home.glob(f"*/{_MANIFEST}"), *home.glob(f"*/*/{_MANIFEST}")])
    if not files:
        raise DataError(f"{home}: holds no dataset version; `{_BUILD}` makes one")
    newest = {pointed for folder in {file.parent.parent for file in files} if (pointed := _pointed(folder))}
    found = [_look(home, file, file.resolve() in newest) for file in files]
    return sorted(
        found, key=lambda entry: (entry.manifest is None, entry.manifest.created_at if entry.manifest else "")
    )


def _look(home: Path, file: Path, latest: bool) -> Found:
    try:
        return Found(file.parent, DatasetManifest.load(inside(home, str(file.relative_to(home)))), "", latest)
    except VersatuneError as error:
        return Found(file.parent, None, str(error), latest)


def _pointed(home: Path) -> Path | None:
    try:
        return read_pointer(home / POINTER, what="dataset", command=_BUILD).resolve()
    except VersatuneError:
        return None


def find_version(where: Path, home: Path | None = None) -> Path:
    """Return the manifest file of the version that is meant.

    Args:
        where: a version's directory or its manifest; a dataset's directory or a configuration, for the newest; or, with
            ``home``, a version's name or ``latest``.
        home: a dataset's directory or a configuration.

    Raises:
        DataError: there is no such version.
    """
    if home is not None:
        return _named(str(where), dataset_directory(home))
    at_hand(where.parent if where.name == _MANIFEST else where, _MANIFEST)
    if where.name == _MANIFEST and where.is_file():
        return where
    if (where / _MANIFEST).is_file():
        return where / _MANIFEST
    if not where.exists():
        raise DataError(
            f"{where}: no such version; expected a version's directory, or a configuration for the newest. `versatune ls"
            " CONFIG` shows what there is"
        )
    return read_pointer(dataset_directory(where) / POINTER, what="dataset", command=_BUILD)


def _named(name: str, home: Path) -> Path:
    if name == LATEST:
        return find_version(home)
    file = home / name / _MANIFEST
    if not file.is_file():
        known = [entry.parent.name for entry in home.glob(f"*/{_MANIFEST}")]
        raise DataError(f"{home}: has no version '{name}'{nearest(name, [*known, LATEST])}")
    return file


class Bucket(NamedTuple):
    """The range of ids that a file holds: which of how many equal ones, by the last four hex digits."""

    number: int
    of: int

    def holds(self, identity: str) -> bool:
        """Say whether an id belongs here."""
        return int(identity[-_KEY_DIGITS:], 16) * self.of // _KEYS == self.number


def bucket_of(path: str) -> Bucket:
    """Return the range of ids of a shard or lineage file from its name.

    Raises:
        IntegrityError: it has no such name.
    """
    match = _PART.search(path)
    if match is None or not int(match[1]) < int(match[2]) or _KEYS % int(match[2]):
        raise IntegrityError(f"{path}: expected a name such as part-00000-of-00004.parquet")
    return Bucket(int(match[1]), int(match[2]))


def paths(directory: Path, entries: Iterable[Shard | SideFile]) -> list[str]:
    """Return where files of a version are.

    Raises:
        IntegrityError: one is missing, or is a link that leads out of the version.
    """
    names = [entry.path for entry in entries]
    at_hand(directory, *names)
    found = [inside(directory, name) for name in names]
    for file in found:
        if not file.is_file():
            raise IntegrityError(f"{file}: missing; `versatune verify {directory}` names all that is wrong")
    return [str(file) for file in found]
