"""Files on any file system Beam knows: the few things the build does with them, once."""

from __future__ import annotations

import atexit
import glob
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from versatune.schemas.machine_faults import naming
from versatune.transforms.transport.clients import reuse_clients

reuse_clients()  # in every process that touches a file: workers import this module too

_BLOCK_BYTES = 1 << 20


def use_flags(beam_args: Sequence[str]) -> None:
    """Let the flags for Beam (endpoints, keys, projects) hold for files that are looked at before there is a pipeline."""
    FileSystems.set_options(PipelineOptions(list(beam_args)))


def is_local(path: str) -> bool:
    """Say whether a path is on this machine, and not a URI such as gs://bucket/key."""
    return "://" not in path


def open_new(path: str) -> Any:
    """Open a file for writing, its directories made; on an object store it appears when it is closed."""
    if is_local(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return Path(path).open("wb")
    return FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED)


def open_arrow(path: str) -> Any:
    """Open a file for Arrow: memory-mapped where it is local, so that only the pages in use are read."""
    if is_local(path):
        return pa.memory_map(path)
    return pa.PythonFile(FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED), mode="r")


def open_foreign(path: str) -> Any:
    """Open for Arrow a file that somebody else may write to: where a mapped one is cut short, reading it kills the process."""
    return pa.OSFile(path) if is_local(path) else open_arrow(path)


def open_stored(path: str) -> BinaryIO:
    """Open a file as it is stored: Beam's own decompression takes a truncated file for a whole one."""
    if is_local(path):
        return open(path, "rb")
    file: BinaryIO = FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    return file


def read_bytes(path: str) -> bytes:
    """Read a whole small file."""
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
        return bytes(stream.read())


def exists(path: str) -> bool:
    """Say whether there is a file."""
    return bool(FileSystems.exists(path))


def size(path: str) -> int:
    """Return a file's bytes; -1 where there is none."""
    if is_local(path):
        return os.stat(path).st_size if os.path.isfile(path) else -1
    return FileSystems.get_filesystem(path).size(path) if exists(path) else -1


def sha256(path: str) -> str:
    """Return the sha256 of a file in hex, read in blocks; empty where there is none."""
    if not exists(path):
        return ""
    digest = hashlib.sha256()
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def replace_bytes(path: str, data: bytes, *, durable: bool = True) -> None:
    """Write a small file so that a reader finds the old one, or the new one whole.

    Args:
        path: its name.
        data: its content.
        durable: also where the machine loses power; it may make the system write out whatever else is waiting.
    """
    if not is_local(path):  # an object is whole or absent by itself, and a new one takes the old one's place
        with open_new(path) as stream:
            stream.write(data)
        return
    partial = _partial(path)
    with naming(path), open_new(partial) as stream:
        stream.write(data)
        if durable:
            stream.flush()
            os.fsync(stream.fileno())
    Path(partial).replace(path)


@lru_cache(maxsize=8)
def local_copy(path: str, *beside: str) -> str:
    """Return a local file with the content of a remote one, fetched once per process and deleted with it.

    Args:
        path: the file.
        beside: others that belong next to it, where they exist.
    """
    folder = tempfile.mkdtemp(prefix="versatune-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for file in (path, *filter(exists, beside)):
        Path(folder, file.rpartition("/")[2]).write_bytes(read_bytes(file))
    return f"{folder}/{path.rpartition('/')[2]}"


def write_arrow(batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: str) -> int:
    """Write an Arrow IPC file, whole or not at all, and return its rows."""
    partial, rows = _partial(path), 0
    with naming(path), open_new(partial) as stream, pa.ipc.new_file(stream, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    move(partial, path)
    return rows


def _partial(path: str) -> str:
    """Name a file that is being written; a retry beside a worker that is not dead yet must not share it."""
    return f"{path}.{uuid.uuid4().hex[:8]}.partial"


def move(source: str, target: str) -> None:
    """Give a file its final name; a second call, by a retried step, finds the work done."""
    if is_local(target):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
    if exists(source):
        FileSystems.rename([source], [target])
    elif not exists(target):
        raise FileNotFoundError(f"{source} cannot become {target}: neither is there")


def delete(path: str) -> None:
    """Delete a file; one that is not there is no error."""
    if is_local(path):
        Path(path).unlink(missing_ok=True)
    elif exists(path):
        FileSystems.delete([path])


def delete_tree(path: str) -> None:
    """Delete a directory, if there is one."""
    if is_local(path):
        if Path(path).is_dir():
            shutil.rmtree(path)  # not Beam's, which takes the path for a glob
        return
    found = [entry.path for entry in FileSystems.match([f"{path}/**"])[0].metadata_list]
    if found:
        FileSystems.delete(found)


def match(pattern: str) -> Iterator[str]:
    """Yield the files that fit a glob, in order; see :func:`literal_directories`."""
    yield from sorted(entry.path for entry in FileSystems.match([literal_directories(pattern)])[0].metadata_list)


def sizes(pattern: str) -> dict[str, int]:
    """Return the files that fit a glob and the bytes of each, from one listing."""
    found = FileSystems.match([literal_directories(pattern)])[0].metadata_list
    return {entry.path: entry.size_in_bytes for entry in sorted(found, key=lambda entry: entry.path)}


def literal_directories(pattern: str) -> str:
    """Return a glob in which leading directories that exist under that very name stand for themselves: ``data[1]/*.json``."""
    if not is_local(pattern):
        return pattern
    *directories, last = pattern.split("/")
    for count in range(len(directories), 0, -1):
        known = "/".join(directories[:count])
        if Path(known).is_dir():
            return "/".join([glob.escape(known), *directories[count:], last])
    return pattern
