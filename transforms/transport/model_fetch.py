"""Models on object stores: fetched once per machine."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems

from versatune.models.source import WANTED_FILES
from versatune.schemas.errors import DataError, RunError
from versatune.schemas.files import atomic_directory, sha256_json
from versatune.schemas.remote import cache_home

_AT_ONCE = 4
_BLOCK_BYTES = 16 * 2**20


def fetch_model(uri: str) -> Path:
    """Return a local folder with the files of a model on any file system Beam knows, such as gs://bucket/model.

    It is fetched once per machine, whole or not at all, however many processes ask; a model that has changed is fetched again. Pickles are never
    fetched. The folder is versatune/models/DIGEST in ``$XDG_CACHE_HOME``, or in ~/.cache.

    Raises:
        DataError: there is no model, or its place cannot be read.
        RunError: the disk is too small, or the connection broke.
    """
    files = _listing(uri.rstrip("/"))
    cache = cache_home() / "models"
    digest = sha256_json(
        [uri.rstrip("/"), [[file.path, file.size_in_bytes, file.last_updated_in_seconds] for file in files]]
    )
    folder = cache / digest
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with _in_turn(cache / f".{digest}.lock"):
        if not folder.is_dir():
            _check_disk(uri, files, cache)
            with atomic_directory(folder) as partial_folder, ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(partial(_fetch_file, folder=partial_folder), files))
    return folder


def _listing(uri: str) -> list[FileMetadata]:
    """Return the files that belong to the model, sorted by name."""
    pattern = f"{uri}/*"
    try:
        found = FileSystems.match([pattern])[0].metadata_list
    except (BeamIOError, ValueError, OSError) as error:
        raise DataError(
            f"model.path {uri}: it cannot be listed ({_reason(error)}); check the address and your access to it"
        ) from None
    wanted = [file for file in found if any(fnmatch(_name(file), pattern) for pattern in WANTED_FILES)]
    if not any(_name(file) == "config.json" for file in wanted):
        raise DataError(
            f"model.path {uri}: there is no config.json among {len(found)} files; expected the address of a folder with a model saved by"
            " transformers (save_pretrained)"
        )
    return sorted(wanted, key=lambda file: str(file.path))


def _name(file: FileMetadata) -> str:
    return str(file.path).rpartition("/")[2]


def _check_disk(uri: str, files: Sequence[FileMetadata], cache: Path) -> None:
    needed, free = sum(file.size_in_bytes for file in files), shutil.disk_usage(cache).free
    if needed > free:
        raise RunError(
            f"model.path {uri}: its {len(files)} files have {needed / 2**30:,.1f} GiB, {cache} has {free / 2**30:,.1f} GiB free; free some, or"
            " set XDG_CACHE_HOME to a folder on a larger disk"
        )


def _fetch_file(file: FileMetadata, *, folder: Path) -> None:
    target = folder / _name(file)
    try:
        with (
            FileSystems.open(file.path, compression_type=CompressionTypes.UNCOMPRESSED) as source,
            target.open("wb") as copy,
        ):
            shutil.copyfileobj(source, copy, _BLOCK_BYTES)
    except (BeamIOError, OSError) as error:
        raise RunError(f"model file {file.path}: it cannot be read ({_reason(error)}); run it again") from None
    if target.stat().st_size != file.size_in_bytes:
        raise RunError(
            f"model file {file.path}: {target.stat().st_size:,} of {file.size_in_bytes:,} bytes arrived; run it again"
        )


@contextmanager
def _in_turn(file: Path) -> Iterator[None]:
    """Wait until no other process or thread is here; the system frees the lock of a killed one."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
