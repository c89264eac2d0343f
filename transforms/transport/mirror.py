"""A folder on an object store, kept on this machine too: what is read there is fetched first, what is made here is sent.

Commands that read versions, mixtures and runs work on local files; of a remote folder they work on its mirror. A mirror holds a file under
the path that it has on the store, so documents that name each other by relative paths find each other in both places.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems

from versatune.schemas.errors import DataError, RunError
from versatune.schemas.progress import Progress, Silence
from versatune.schemas.remote import is_remote, mirror_of
from versatune.transforms.transport.clients import reuse_clients

reuse_clients()

ALWAYS = ("latest.json", "stages.json")
"""Documents that change in place, perhaps twice in a second and without changing their size."""
_AT_ONCE = 8
_BLOCK_BYTES = 8 * 2**20
_FEW = 4


def pull(uri: str, wanted: Sequence[str], progress: Progress | None = None, *, exact: bool = False) -> Path:
    """Bring the mirror of a remote folder up to date; return it.

    Args:
        uri: of the folder, such as gs://bucket/outputs/my-model.
        wanted: names below it, or patterns in which ``*`` stands for anything but a slash and ``**`` for anything.
        progress: told of the bytes.
        exact: also delete what fits in the mirror and is not on the store.

    Raises:
        DataError: the folder cannot be listed.
        RunError: the connection broke, or the disk is too small.
    """
    uri, folder = uri.rstrip("/"), mirror_of(uri)
    there = _listing(uri, wanted)
    stale = {name: file for name, file in there.items() if not _is_same(folder / name, file) or _name(name) in ALWAYS}
    size = sum(file.size_in_bytes for file in stale.values())
    _check_disk(uri, size, folder)
    _transfer("fetch", uri, stale, lambda name, file: _fetch(file, folder / name), progress or Silence())
    if exact:
        fits = _filter(wanted)
        for name in [name for name in _names(folder) if fits(name) and name not in there]:
            (folder / name).unlink()
    return folder


def fetched(path: str) -> Path:
    """Return a local file with the content of one on any file system; errors as of :func:`pull`."""
    if not is_remote(path):
        return Path(path)
    folder, _, name = path.rpartition("/")
    return pull(folder, [name]) / name


def push(uri: str, wanted: Sequence[str], progress: Progress | None = None, *, besides: Sequence[str] = ()) -> None:
    """Send what is new in the mirror of a remote folder to the store; pointers last, so that they name what is there.

    Args:
        uri: of the folder.
        wanted: as of :func:`pull`.
        progress: told of the bytes.
        besides: patterns of what stays here.

    Raises:
        DataError: the folder cannot be listed.
        RunError: the connection broke.
    """
    uri, folder = uri.rstrip("/"), mirror_of(uri)
    fits, stays = _filter(wanted), _filter(besides)
    names = [name for name in _names(folder) if fits(name) and not stays(name) and not name.endswith(".partial")]
    there = _listing(uri, wanted)
    new = {name: _described(folder / name) for name in names if not _is_same(folder / name, there.get(name))}
    for last in (False, True):
        part = {name: file for name, file in new.items() if (_name(name) in ALWAYS) == last}
        _transfer("send", uri, part, lambda name, _: _send(folder / name, f"{uri}/{name}"), progress or Silence())
    if new:
        for name, file in _listing(uri, list(new)).items():
            _mark(folder / name, file)


def _listing(uri: str, wanted: Sequence[str]) -> dict[str, FileMetadata]:
    """Return what fits, by its name below the folder."""
    plain = not any("*" in pattern for pattern in wanted)
    patterns = [f"{uri}/{name}" for name in wanted] if plain and len(wanted) <= _FEW else [f"{uri}/**"]
    try:
        found = [file for result in FileSystems.match(patterns) for file in result.metadata_list]
    except (BeamIOError, ValueError, OSError) as error:
        raise DataError(
            f"{uri}: it cannot be listed ({_reason(error)}); check the address and your access to it"
        ) from None
    fits = _filter(wanted)
    named = {str(file.path).removeprefix(f"{uri}/"): file for file in found}
    return {name: file for name, file in sorted(named.items()) if fits(name) and _is_below(name)}


def _is_below(name: str) -> bool:
    """Say whether a name stays in the folder: keys of objects may be any text."""
    return bool(name) and not name.endswith("/") and all(part not in ("", ".", "..") for part in name.split("/"))


def _filter(patterns: Iterable[str]) -> Callable[[str], bool]:
    rules = [_regular(pattern) for pattern in patterns]
    return lambda name: any(rule.fullmatch(name) for rule in rules)


def _regular(pattern: str) -> re.Pattern[str]:
    parts = [
        ".*" if part == "**" else "[^/]*" if part == "*" else re.escape(part)
        for part in re.split(r"(\*\*|\*)", pattern)
    ]
    return re.compile("".join(parts), re.DOTALL)


def _is_same(file: Path, remote: FileMetadata | None) -> bool:
    if remote is None or not file.is_file():
        return False
    stat = file.stat()
    return stat.st_size == remote.size_in_bytes and abs(stat.st_mtime - (remote.last_updated_in_seconds or 0)) < 0.001


def _mark(file: Path, remote: FileMetadata) -> None:
    """Give a file the time of the object with the same content, by which both are known to be the same."""
    time = remote.last_updated_in_seconds or 0
    os.utime(file, (time, time))


def _described(file: Path) -> FileMetadata:
    return FileMetadata(str(file), file.stat().st_size)


def _names(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def _transfer(
    what: str, uri: str, files: dict[str, FileMetadata], move: Callable[[str, FileMetadata], None], progress: Progress
) -> None:
    """Move files, several at once; bytes are counted when a file has arrived."""
    if not files:
        return
    progress.begin(
        f"{what} {len(files):,} files of {uri}", float(sum(file.size_in_bytes for file in files.values())), "bytes"
    )
    done = 0
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for file, _ in zip(files.values(), pool.map(move, files, files.values()), strict=True):
            done += file.size_in_bytes
            progress.advance_to(done)
    progress.end()


def _fetch(remote: FileMetadata, target: Path) -> None:
    """Fetch an object, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with (
            FileSystems.open(remote.path, compression_type=CompressionTypes.UNCOMPRESSED) as source,
            partial.open("wb") as copy,
        ):
            shutil.copyfileobj(source, copy, _BLOCK_BYTES)
        if partial.stat().st_size != remote.size_in_bytes:
            raise RunError(
                f"{remote.path}: {partial.stat().st_size:,} bytes arrived, {remote.size_in_bytes:,} were listed; it was replaced"
                " meanwhile, or the connection broke. Run it again"
            )
        _mark(partial, remote)
        partial.replace(target)
    except (BeamIOError, OSError) as error:
        raise RunError(f"{remote.path}: it cannot be fetched into {target} ({_reason(error)}); run it again") from None
    finally:
        partial.unlink(missing_ok=True)


def _send(file: Path, address: str) -> None:
    try:
        with (
            file.open("rb") as source,
            FileSystems.create(address, compression_type=CompressionTypes.UNCOMPRESSED) as copy,
        ):
            shutil.copyfileobj(source, copy, _BLOCK_BYTES)
    except (BeamIOError, OSError) as error:
        raise RunError(
            f"{address}: it cannot be written ({_reason(error)}); {file} has its content. Check your access, and run it again"
        ) from None


def _check_disk(uri: str, needed: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise RunError(
            f"{uri}: {needed / 2**30:,.1f} GiB are to be fetched, and {folder} has {free / 2**30:,.1f} GiB free; free some, or set"
            " XDG_CACHE_HOME to a folder on a larger disk"
        )


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
