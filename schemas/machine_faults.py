"""What the machine, its disks or its network did not do, as one message: what, where, and what helps. It is nobody's bug."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_AGAIN = "then run the same command again: what was done is used"
_REMEDIES = {
    errno.ENOSPC: (
        "no space is left on the disk",
        f"Free some there, or give 'output' (or TMPDIR) another place; {_AGAIN}",
    ),
    errno.EDQUOT: ("the quota of the disk is used up", f"Free some of it, or give 'output' another place; {_AGAIN}"),
    errno.EFBIG: ("the file is larger than the system allows", "See `ulimit -f`, and what the file system can hold"),
    errno.EROFS: (
        "the file system can only be read",
        "Give 'output' (or HF_HOME, TMPDIR) a place that can be written, or mount this one anew",
    ),
    errno.EACCES: ("permission denied", "Mend the permissions, or run it as somebody who has them"),
    errno.EPERM: ("not permitted", "Mend the permissions, or run it as somebody who has them"),
    errno.ENOENT: ("no such file or folder", "Check the path; what was there may have been moved or deleted meanwhile"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "Check the path, or move that file away"),
    errno.EISDIR: ("it is a folder, where a file was expected", "Check the path, or move that folder away"),
    errno.EEXIST: ("it is there already", "Move it away, or choose another place"),
    errno.ENOTEMPTY: ("the folder holds something else", "Look what it is, and move it away"),
    errno.ENAMETOOLONG: ("the name is too long for the file system", "Choose a shorter 'name', 'output' or version"),
    errno.ELOOP: ("its links lead in a circle", "Mend the links"),
    errno.EMFILE: ("too many files are open", f"Raise the limit (`ulimit -n 4096`), or take fewer workers; {_AGAIN}"),
    errno.ENFILE: ("too many files are open on this machine", f"Close other programs, or raise fs.file-max; {_AGAIN}"),
    errno.ENOMEM: ("no memory is left", f"Take fewer workers (build.workers), or a larger machine; {_AGAIN}"),
    errno.EIO: (
        "the disk does not answer as it should",
        f"See the system's log (`dmesg`); the disk may be failing. Else {_AGAIN}",
    ),
    errno.ESTALE: ("the file server has lost the file", f"Mount it anew; {_AGAIN}"),
    errno.ETXTBSY: ("it is being run", "End that program first"),
    errno.EBUSY: ("it is in use", f"End what uses it; {_AGAIN}"),
    errno.EPIPE: ("a program on the other side of a pipe has ended", f"See what it said; {_AGAIN}"),
    errno.ECONNREFUSED: ("nothing listens there", f"See that the service runs and that its address is right; {_AGAIN}"),
    errno.EADDRINUSE: ("the port is taken", f"End what listens there; {_AGAIN}"),
}
_OF_A_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
_NETWORK = ("the connection failed", f"See that the network, a proxy and the service work; {_AGAIN}")
_OTHER = ("the system refused it", f"Mend what it says; {_AGAIN}")
_MEMORY = f"no memory is left. {_REMEDIES[errno.ENOMEM][1]}"
_NUMBER = re.compile(r"\[errno (\d+)\]|\(os error (\d+)\)", re.IGNORECASE)
_QUOTED = re.compile(r"'([^']+)'")
_SHOWN = 300


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Give an error of the system that names no file this one: a write to a full disk does not say where it was."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), os.fspath(path)) from error


def machine_fault(error: BaseException) -> str | None:
    """Return the message of an error that comes from the machine, its disks or its network; None of any other."""
    link: BaseException | None = error
    while link is not None:
        if message := _of_one(link):
            return message
        link = link.__cause__
    return None


def machine_fault_in(text: str) -> str | None:
    """Return the message of an error of which only its text has come, from another process or another language."""
    found = _NUMBER.search(text)
    if not found:
        return None
    rest = text[found.end() :]
    quoted = _QUOTED.search(rest)
    return _message(int(found[1] or found[2]), quoted[1] if quoted else "", rest)


def _of_one(error: BaseException) -> str | None:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, MemoryError):
        return _MEMORY
    if "RpcError" in kinds:
        return _of_rpc(error)
    if inner := getattr(error, "exception_details", None):  # of Beam's file systems, by path
        return _of_beam(error, inner)
    if isinstance(error, OSError):
        place = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
        return _message(
            error.errno,
            place,
            str(error),
            network=isinstance(error, ConnectionError | TimeoutError) or "gaierror" in kinds,
        )
    return machine_fault_in(str(error)) if kinds & {"SafetensorError", "RuntimeError", "ArrowException"} else None


def _message(number: int | None, place: str, said: str, *, network: bool = False) -> str:
    what, remedy = _REMEDIES.get(number or 0, _NETWORK if network else _OTHER)
    if number not in _REMEDIES:
        what = f"{what} ({_line(said)})"
    if not place and number in _OF_A_DISK:
        what += f" (no file is named: it may be that of the output, or of {tempfile.gettempdir()}, where temporary files are)"
    return f"{f'{place}: ' if place else ''}{what}. {remedy}"


def _of_beam(error: BaseException, inner: object) -> str:
    path, cause = next(iter(inner.items())) if isinstance(inner, dict) and inner else ("", error)
    known = machine_fault(cause) if isinstance(cause, BaseException) and cause is not error else None
    if known:
        return known if str(path) in known else f"{path}: {known}"
    return f"{path}: the place cannot be used ({_line(str(cause) or str(error))}). Check its address, your credentials for it and the network; {_AGAIN}"


def _of_rpc(error: BaseException) -> str:
    said = []
    for name in ("code", "details"):
        answer = getattr(error, name, None)
        said += [str(answer())] if callable(answer) else []
    what = " ".join(said) or str(error)
    return (
        f"the connection to the engine, or to one of its workers, broke ({_line(what)}). See that it runs, that it can be reached, and why it"
        f" ended where it did (its log, the memory it had); {_AGAIN}"
    )


def _line(text: str) -> str:
    return " ".join(text.split())[:_SHOWN]
