"""Which files the entries of a source stand for, and how they are divided among readers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, NoReturn

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from versatune.schemas.config import SourceConfig
from versatune.schemas.errors import DataError
from versatune.transforms.formats.archive import members
from versatune.transforms.formats.blocks import HEAD, utf8
from versatune.transforms.formats.columnar import row_group_bytes
from versatune.transforms.formats.compressed import codec_of
from versatune.transforms.formats.detect import (
    ARROW,
    KNOWN,
    SNIFFED_BYTES,
    extensions,
    looks_like_data,
    may_hold_data,
    text_kind,
)
from versatune.transforms.formats.hub import addresses
from versatune.transforms.formats.sidecar import UNKNOWN, license_of, saved_state, stated_splits
from versatune.transforms.formats.splits import ALL, TRAIN, SplitChoice
from versatune.transforms.formats.state import files_state, object_state, status_state
from versatune.transforms.transport.batch import InputSplit, ReadOptions
from versatune.transforms.transport.storage import is_local, literal_directories, open_foreign, open_stored

_GLOB = "*?["


class _Found(NamedTuple):
    location: str
    bytes: int
    modified: str
    root: str
    """The folder up to which a licence is looked for."""
    named: bool = False
    """The configuration names this very file."""


class NothingFoundError(DataError):
    """An entry of a source stands for no file that could be read."""


def source_splits(
    source: SourceConfig,
    directory: Path,
    part_bytes: int,
    *,
    skip: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> list[InputSplit]:
    """List what is to be read for one source, ordered by uri and part; see :func:`versatune.transforms.reading.read.plan_inputs`.

    Args:
        source: what to list.
        directory: what its paths are relative to.
        part_bytes: from which size files are divided.
        skip: an entry without a file is a split that is refused, and no error.
        say: told which splits of its folders (test, validation) are left out.
    """
    if source.hub is not None:
        named, opened = addresses(source.hub, directory)
        license_ = source.license or (license_of(f"{opened.id}/.", opened.id) if os.path.isdir(opened.id) else UNKNOWN)
        modified = folder_state(opened.id) if os.path.isdir(opened.id) else ""
        return [
            InputSplit(
                source=source.name, uri=str(named), location=str(opened), bytes=0, modified=modified, license=license_
            )
        ]
    if source.parallel is not None:
        return [_side_by_side(source, source.parallel, directory)]
    options = read_options(source)
    choice = SplitChoice(source.split)
    found: dict[str, InputSplit] = {}
    for pattern in source.files or []:
        try:
            files = _chosen(_expand(source, pattern, directory), choice)
        except NothingFoundError as error:
            if not skip:
                raise
            found[pattern] = InputSplit(source=source.name, uri=pattern, location=pattern, bytes=0, refused=str(error))
            continue
        for file in files:
            uri = _uri(file.location, directory)
            if uri in found and found[uri].location != file.location:
                raise DataError(
                    f"source '{source.name}': two files would be called {uri} in the books; rename one of them"
                )
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
    splits = [part for split in found.values() for part in _divided(split, part_bytes, choice)]
    _say_choice(source, choice, say)
    if source.split is not None and not choice.fits:  # no file's name says one: maybe its content does
        splits = [replace(split, options=replace(options, split=source.split)) for split in splits]
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
        uri="+".join(_uri(file.location, directory) for file in files),
        location=files[0].location,
        bytes=sum(file.bytes for file in files),
        modified=" ".join(file.modified for file in files),
        license=source.license or license_of(files[0].location, files[0].root),
        options=read_options(source),
        parallel=tuple((name, file.location) for name, file in zip(paths, files, strict=True)),
    )


def _uri(location: str, directory: Path) -> str:
    r"""Return how the books name a file; bytes of its name that are not UTF-8 are written as escapes (``caf\\xe9.csv``)."""
    if not is_local(location):
        return location
    path = Path(os.path.relpath(location, directory)).as_posix()
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _chosen(files: list[_Found], choice: SplitChoice) -> list[_Found]:
    """Return those of an entry's files that belong to the split that is read; a file that was named itself always does."""
    if len(files) == 1 and files[0].named:
        return files
    found = []
    for root in sorted({file.root for file in files}):
        paths = {file.location.removeprefix(root).lstrip("/"): file for file in files if file.root == root}
        kept = choice.of(list(paths), stated_splits(root, list(paths)))
        found += [file for path, file in paths.items() if path in kept]
    return found


def _say_choice(source: SourceConfig, choice: SplitChoice, say: Callable[[str], None]) -> None:
    if choice.left_out and not choice.fits:
        raise DataError(
            f"source '{source.name}': split: {source.split} is none of the splits of its files; there are {choice.listed()}"
        )
    if choice.held_out:
        say(
            f"source '{source.name}': its files are named {' and '.join(sorted(choice.held_out))}, and none as a training split: they"
            " are learned. If some are to be kept for evaluation, take them out, or say split: NAME"
        )
    if choice.left_out:
        say(
            f"source '{source.name}': read the split {source.split or TRAIN}; left out {choice.listed()}. To read another, or every one,"
            " add to the source: split: NAME, or split: all"
        )


def _expand(source: SourceConfig, pattern: str, directory: Path) -> list[_Found]:
    """Return the files that one entry of a source's list stands for."""
    remote = "://" in pattern
    where = pattern if remote else os.path.normpath(os.path.join(directory, os.path.expanduser(pattern)))
    what = f"source '{source.name}': {pattern}"
    if not remote and os.path.isfile(where):
        # taken literally, whatever characters its name has
        return [_local(where, os.path.dirname(where))._replace(named=True)]
    if not remote and os.path.isdir(where):
        found = [_local(file, where) for file in _files_below(where)]
    else:
        found = list(_matches(f"{where}**" if remote and where.endswith("/") else where, what))
    if not any(character in where for character in _GLOB) and remote and not where.endswith("/"):
        data = [file._replace(named=True) for file in found]  # and so not judged by its name
    else:
        data = [file for file in found if _is_data(file.location, hidden=os.path.basename(pattern).startswith("."))]
    if not data:
        raise _nothing_found(what, where, len(found))
    return data


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
            if name.startswith("."):
                continue
            if os.path.isfile(path):
                yield path
            elif os.path.islink(path) and may_hold_data(name):
                raise DataError(
                    f"{path}: the link leads nowhere; its rows would be lost. Fetch the file, or take the link out"
                )


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
            return looks_like_data(file.read(SNIFFED_BYTES))
    except (OSError, ValueError):
        return True  # let the reader say what is wrong


def _local(path: str, root: str) -> _Found:
    status = os.stat(path)
    return _Found(path, status.st_size, status_state(status), root)


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
            yield _Found(entry.path, entry.size_in_bytes, object_state(entry), _literal_folder(where))


def _literal_folder(where: str) -> str:
    """Return the folder that a pattern names before its first wildcard."""
    first = min((where.index(character) for character in _GLOB if character in where), default=len(where))
    return where[:first].rpartition("/")[0]


def _nothing_found(what: str, where: str, others: int) -> DataError:
    if others:
        return NothingFoundError(
            f"{what}: none of the {others:,} files there is data by its name or its content; known are {KNOWN}"
        )
    if os.path.isdir(where):
        return NothingFoundError(f"{what}: the directory {where} holds no data file; known are {KNOWN}")
    if not any(character in where for character in _GLOB):
        return DataError(
            f"{what}: no such file: {where}. Paths are relative to the configuration's directory; check the spelling"
        )
    parent = _literal_folder(where)
    if "://" in parent or os.path.isdir(parent):
        return NothingFoundError(
            f"{what}: matches no file in {parent or '/'}; check the pattern; ** crosses directories"
        )
    return DataError(f"{what}: matches no file in {parent or '/'}; there is no such directory")


def folder_state(folder: str) -> str:
    """Return one state for all files below a folder."""
    return files_state(_files_below(folder))


def _divided(split: InputSplit, part_bytes: int, choice: SplitChoice | None = None) -> list[InputSplit]:
    """Return the parts of a file, or the members of an archive; a file that cannot be looked at stays whole."""
    if split.refused:
        return [split]
    try:
        if extensions(split.location)[0] == ".zip":
            return members(split, choice or SplitChoice(ALL)) or [split]
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
        with closing(open_foreign(split.location)) as file:
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
