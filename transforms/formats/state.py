"""What a file system tells of a file, taken when the file is listed and again when a part of it has been read: was it the same file?"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime

from apache_beam.io.filesystem import BeamIOError, FileMetadata
from apache_beam.io.filesystems import FileSystems

from versatune.schemas.errors import RunError
from versatune.transforms.transport.storage import exists, is_local

# A state is "size:modified" of an object, in seconds, and "size:modified:changed" of a local file, in nanoseconds. The last is the time
# of the inode: it moves when another file takes the name, and when somebody writes and puts the time of modification back. The number of
# the inode is left out, since file systems that stand for something far away (sshfs, gcsfuse) make up new ones as they go.


def status_state(status: os.stat_result) -> str:
    """Return the state of a local file."""
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def object_state(entry: FileMetadata) -> str:
    """Return the state of an object of a store, as it is listed."""
    return f"{entry.size_in_bytes}:{entry.last_updated_in_seconds or ''}"


def files_state(paths: Iterable[str]) -> str:
    """Return one state for many local files: their bytes together, and the newest times."""
    found = [os.stat(path) for path in paths]
    newest = [max((getattr(status, name) for status in found), default=0) for name in ("st_mtime_ns", "st_ctime_ns")]
    return ":".join(map(str, (sum(status.st_size for status in found), *newest)))


def state_of(location: str) -> str:
    """Return a file's state now; empty where there is no such file. An object takes one request.

    Raises:
        RunError: its store does not answer.
    """
    if is_local(location):
        try:
            return status_state(os.stat(location))
        except (FileNotFoundError, NotADirectoryError):
            return ""
    try:
        return object_state(FileSystems.get_filesystem(location).metadata(location))
    except (BeamIOError, OSError) as error:
        if not exists(location):
            return ""
        raise RunError(f"the store does not tell its size and time ({' '.join(str(error).split())[:200]})") from error


def difference(before: str, now: str) -> str:
    """Say what is different between two states of a file; empty if nothing is."""
    if before == now:
        return ""
    if not now:
        return "it is gone"
    sizes, times, *changed = zip(before.split(":"), now.split(":"), strict=True)
    if sizes[0] != sizes[1]:
        return f"it had {int(sizes[0]):,} bytes and has {int(sizes[1]):,} now"
    if times[0] != times[1]:
        return f"it was written at {_time(times[0])} and again at {_time(times[1])}"
    then = f", at {_time(changed[0][1])}" if changed else ""
    return f"another file has taken its name, or its content or its permissions were changed{then}"


def _time(text: str) -> str:
    if not text:
        return "an unknown time"
    seconds = float(text) if "." in text else int(text) / 1e9
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="milliseconds")
