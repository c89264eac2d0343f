"""Which files the entries of a source stand for, and how they are divided among readers."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from versatune.schemas.config import SourceConfig
from versatune.schemas.errors import DataError
from versatune.transforms.formats.blocks import HEAD, utf8
from versatune.transforms.formats.columnar import row_group_bytes
from versatune.transforms.formats.compressed import codec_of
from versatune.transforms.formats.detect import ARROW, KNOWN, extensions, looks_like_data, may_hold_data, text_kind
from versatune.transforms.formats.hub import addresses
from versatune.transforms.formats.sidecar import UNKNOWN, license_of, saved_state
from versatune.transforms.transport.batch import InputSplit, ReadOptions
from versatune.transforms.transport.storage import is_local, literal_directories, open_arrow

_SNIFFED_BYTES = 4096
_GLOB = "*?["


class _Found(NamedTuple):
    location: str
    bytes: int
    modified: str
    root: str
    """The folder up to which a licence is looked for."""


def source_splits(source: SourceConfig, directory: Path, part_bytes: int) -> list[InputSplit]:
    """List what is to be read for one source, ordered by uri and part; see :func:`versatune.transforms.reading.read.plan_inputs`."""
    if source.hub is not None:
        named, opened = addresses(source.hub, directory)
        license_ = source.license or (license_of(f"{opened.id}/.", opened.id) if os.path.isdir(opened.id) else UNKNOWN)
        modified = _modified_below(opened.id) if os.path.isdir(opened.id) else ""
        return [
            InputSplit(
                source=source.name, uri=str(named), location=str(opened), bytes=0, modified=modified, license=license_
            )
        ]
    if source.parallel is not None:
        return [_side_by_side(source, source.parallel, directory)]
    options = read_options(source)
    found: dict[str, InputSplit] = {}
    for pattern in source.files or []:
        for file in _expand(source, pattern, directory):
            uri = _uri(file, directory)
            if uri not in found:
                found[uri] = InputSplit(
                    source=source.name,
                    uri=uri,
                    location=file.location,
                    bytes=file.bytes,
                    modified=file.modified,
                    license=source.license or license_of(file.location, file.root),
                    options=options,
                )
    splits = [part for split in found.values() for part in _divided(split, part_bytes)]
    return sorted(splits, key=lambda split: (split.uri, split.part))


def read_options(source: SourceConfig) -> ReadOptions:
    """Return what a source says of its files."""
    return ReadOptions(
        header=None if source.header == "auto" else source.header,
        delimiter=source.delimiter,
        quoting=source.quoting,
        encoding=source.encoding,
        pattern=source.pattern,
    )


def _side_by_side(source: SourceConfig, paths: Mapping[str, str], directory: Path) -> InputSplit:
    """Return the one split of files whose lines belong together."""
    files = []
    for name, path in paths.items():
        found = list(_expand(source, path, directory))
        if len(found) > 1:
            raise DataError(
                f"source '{source.name}': parallel.{name}: {path} stands for {len(found)} files; expected one"
            )
        files += found
    return InputSplit(
        source=source.name,
        uri="+".join(_uri(file, directory) for file in files),
        location=files[0].location,
        bytes=sum(file.bytes for file in files),
        modified=" ".join(file.modified for file in files),
        license=source.license or license_of(files[0].location, files[0].root),
        options=read_options(source),
        parallel=tuple((name, file.location) for name, file in zip(paths, files, strict=True)),
    )


def _uri(file: _Found, directory: Path) -> str:
    remote = not is_local(file.location)
    return file.location if remote else Path(os.path.relpath(file.location, directory)).as_posix()


def open_stored(location: str) -> BinaryIO:
    """Open a file as it is stored: Beam's own decompression takes a truncated file for a whole one."""
    if is_local(location):
        return open(location, "rb")
    file: BinaryIO = FileSystems.open(location, compression_type=CompressionTypes.UNCOMPRESSED)
    return file


def _expand(source: SourceConfig, pattern: str, directory: Path) -> Iterator[_Found]:
    """Yield the files that one entry of a source's list stands for."""
    remote = "://" in pattern
    where = pattern if remote else os.path.normpath(os.path.join(directory, os.path.expanduser(pattern)))
    what = f"source '{source.name}': {pattern}"
    if not remote and os.path.isfile(where):
        yield _local(where, os.path.dirname(where))  # taken literally, whatever characters its name has
        return
    if not remote and os.path.isdir(where):
        found = [_local(file, where) for file in _files_below(where)]
    else:
        found = list(_matches(f"{where}**" if remote and where.endswith("/") else where, what))
    if not any(character in where for character in _GLOB) and remote and not where.endswith("/"):
        data = found  # named, and so not judged by its name
    else:
        data = [file for file in found if _is_data(file.location, hidden=os.path.basename(pattern).startswith("."))]
    if not data:
        raise DataError(_nothing_found(what, where, len(found)))
    yield from data


def _files_below(directory: str) -> Iterator[str]:
    """Yield the files of a folder and of all below it, those that links lead to among them; each folder once."""
    seen: set[str] = set()
    for folder, folders, files in os.walk(directory, onerror=_refuse_folder, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            path = os.path.join(folder, name)
            if not name.startswith(".") and os.path.isfile(path):
                yield path


def _refuse_folder(error: OSError) -> NoReturn:
    raise DataError(
        f"{error.filename}: the folder cannot be listed ({error.strerror}); its rows would be lost. Mend its permissions"
    )


def _is_data(location: str, *, hidden: bool) -> bool:
    """Say whether a file that was not named itself is to be read."""
    name = os.path.basename(location)
    known = may_hold_data(name.lstrip(".") if hidden else name)
    if known and extensions(name)[0] in ARROW:
        state = saved_state(location)  # beside a saved dataset's files lie the caches of what was done with it
        return not state or name in {file.get("filename") for file in state["_data_files"] if isinstance(file, dict)}
    if known is not None:
        return known
    try:
        with closing(open_stored(location)) as file:
            return looks_like_data(file.read(_SNIFFED_BYTES))
    except (OSError, ValueError):
        return True  # let the reader say what is wrong


def _local(path: str, root: str) -> _Found:
    status = os.stat(path)
    return _Found(path, status.st_size, str(status.st_mtime_ns), root)


def _matches(where: str, what: str) -> Iterator[_Found]:
    # To Beam "a/**/b" needs a directory between; everybody else reads it as "at any depth".
    pattern = literal_directories(where)
    patterns = sorted({pattern, pattern.replace("**/", "")})
    try:
        results = FileSystems.match(patterns)
    except (BeamIOError, ValueError, OSError, ImportError) as error:
        raise DataError(f"{what}: cannot be listed ({' '.join(str(error).split())[:200]})") from None
    for entry in (entry for result in results for entry in result.metadata_list):
        if is_local(entry.path):
            if os.path.isfile(entry.path):
                yield _local(entry.path, _literal_folder(where))
        else:
            modified = str(entry.last_updated_in_seconds or "")
            yield _Found(entry.path, entry.size_in_bytes, modified, _literal_folder(where))


def _literal_folder(where: str) -> str:
    """Return the folder that a pattern names before its first wildcard."""
    first = min((where.index(character) for character in _GLOB if character in where), default=len(where))
    return where[:first].rpartition("/")[0]


def _nothing_found(what: str, where: str, others: int) -> str:
    if others:
        return f"{what}: none of the {others:,} files there is data by its name or its content; known are {KNOWN}"
    if os.path.isdir(where):
        return f"{what}: the directory {where} holds no data file; known are {KNOWN}"
    if not any(character in where for character in _GLOB):
        return f"{what}: no such file: {where}. Paths are relative to the configuration's directory; check the spelling"
    parent = _literal_folder(where)
    exists = "://" in parent or os.path.isdir(parent)
    hint = "check the pattern; ** crosses directories" if exists else "there is no such directory"
    return f"{what}: matches no file in {parent or '/'}; {hint}"


def _modified_below(folder: str) -> str:
    return str(max((os.stat(path).st_mtime_ns for path in _files_below(folder)), default=0))


def _divided(split: InputSplit, part_bytes: int) -> list[InputSplit]:
    """Return the parts of a file, or the members of an archive; a file that cannot be looked at stays whole."""
    try:
        if extensions(split.location)[0] == ".zip":
            return _members(split) or [split]
        if split.bytes <= part_bytes:
            return [split]
        bounds = _bounds(split, part_bytes)
    except Exception:  # noqa: BLE001  # damaged in any way its parser knows: reading it says how
        return [split]
    return [
        replace(split, part=part, parts=len(bounds), start=start, end=end) for part, (start, end) in enumerate(bounds)
    ] or [split]


def _bounds(split: InputSplit, part_bytes: int) -> list[tuple[int, int]]:
    """Return where the parts of a large file begin and end; none if it has to be read in one go."""
    with closing(open_stored(split.location)) as file:
        head = file.read(HEAD)
    if split.options.encoding and not head.startswith(b"PAR1"):
        return []
    if head.startswith(b"PAR1"):
        with closing(open_arrow(split.location)) as file:
            return _packed(row_group_bytes(file), part_bytes)
    if codec_of(head) or b"".join(utf8(iter([head]))) != head.removeprefix(b"\xef\xbb\xbf"):
        return []
    head = head.removeprefix(b"\xef\xbb\xbf")
    if text_kind(head, split.location, whole=split.bytes <= HEAD, options=split.options) != "lines":
        return []
    parts = -(-split.bytes // part_bytes)
    edges = [split.bytes * part // parts for part in range(parts + 1)]
    return list(pairwise(edges))


def _packed(sizes: list[int], part_bytes: int) -> list[tuple[int, int]]:
    """Return runs of row groups; a run ends with the group that fills it."""
    bounds = []
    start = filled = 0
    for number, size in enumerate(sizes, start=1):
        filled += size
        if filled >= part_bytes or number == len(sizes):
            bounds.append((start, number))
            start, filled = number, 0
    return bounds


def _members(split: InputSplit) -> list[InputSplit]:
    """Return the members of a zip archive that hold data."""
    with closing(open_stored(split.location)) as file, zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
        return [
            replace(split, uri=f"{split.uri}!/{name}", member=name, bytes=info.file_size)
            for name, info in sorted(members.items())
            if _is_data_member(archive, info)
        ]


def _is_data_member(archive: zipfile.ZipFile, info: Any) -> bool:
    if any(part.startswith(".") or part == "__MACOSX" for part in info.filename.split("/")):
        return False
    known = may_hold_data(info.filename)
    if known is not None:
        return known
    try:
        with archive.open(info) as file:
            return looks_like_data(file.read(_SNIFFED_BYTES))
    except Exception:  # noqa: BLE001  # encrypted or damaged: reading it says so
        return True
