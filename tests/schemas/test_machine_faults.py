"""What the machine refuses is a message with the place and what helps, whatever raised it and through whatever it came."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import grpc
import pyarrow as pa
import pytest
from apache_beam.io.filesystem import BeamIOError

from versatune.schemas.files import write_atomic
from versatune.schemas.machine_faults import machine_fault, machine_fault_in, naming

KNOWN = [
    "ENOSPC",
    "EROFS",
    "EACCES",
    "ENOENT",
    "EMFILE",
    "EDQUOT",
    "EIO",
    "ENOTDIR",
    "EISDIR",
    "ENOMEM",
    "ESTALE",
    "ENAMETOOLONG",
]


class Broken(grpc.RpcError):
    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return "failed to connect to all addresses;\nlast error: refused"


@pytest.mark.parametrize("name", KNOWN)
def test_the_path_comes_first_and_the_remedy_last(name: str) -> None:
    number = getattr(errno, name)
    said = machine_fault(OSError(number, os.strerror(number), "/data/out/x"))
    assert said
    assert said.startswith("/data/out/x: ")
    assert len(said.split(". ")) > 1
    assert "Errno" not in said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            Broken(),
            "the connection to the engine, or to one of its workers, broke .*UNAVAILABLE failed to connect to all addresses; last",
        ),
        (
            BeamIOError("Match operation failed", {"gs://b/x": FileNotFoundError(2, "none", "gs://b/x")}),
            "^gs://b/x: no such file",
        ),
        (
            BeamIOError("Match operation failed", {"gs://b/x": ValueError("403 Forbidden")}),
            r"^gs://b/x: the place .*403 Forbidden.*credentials",
        ),
        (BeamIOError("no object gs://b/x"), "the system refused it .*no object gs://b/x"),
        (ConnectionRefusedError(111, "Connection refused"), "nothing listens there"),
        (TimeoutError("timed out"), "the connection failed .*timed out"),
        (socket.gaierror(-2, "Name or service not known"), "the connection failed .*Name or service not known"),
        (MemoryError(), "no memory is left"),
        (OSError(2, "x", "/a", None, "/b"), "^/a and /b: no such file"),
        (pa.ArrowException("IOError: [Errno 28] Error writing bytes to file"), "no space is left"),
        (
            RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
            "no space is left on the disk .*TMPDIR",
        ),
    ],
    ids=repr,
)
def test_whatever_raised_it(error: BaseException, said: str) -> None:
    import re

    message = machine_fault(error)
    assert message
    assert re.search(said, message)
    assert "\n" not in message
    wrapped = ValueError("wrapped")
    wrapped.__cause__ = error
    assert machine_fault(wrapped) == message


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("No such file"), RuntimeError("boom"), AssertionError()])
def test_a_bug_stays_one(error: Exception) -> None:
    assert machine_fault(error) is None
    with pytest.raises(type(error)) as raised:
        try:
            raise OSError(2, "x", "/a")
        except OSError:
            raise error  # noqa: B904  # raised while an error of the machine is handled: not because of it
    assert machine_fault(raised.value) is None


def test_an_error_that_came_as_a_text_is_known() -> None:
    said = machine_fault_in("OSError: [Errno 28] No space left on device: '/out/a b.parquet'")
    assert said
    assert said.startswith("/out/a b.parquet: no space is left")
    assert machine_fault_in("ValueError: 28") is None


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_names_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(OSError, match="No space left on device: '/out/file'") as error,
        naming("/out/file"),
        open("/dev/full", "wb") as full,
    ):
        full.write(b"x" * 100_000)
    assert error.value.errno == errno.ENOSPC
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError, match=str(tmp_path / "a.json")):
        write_atomic(tmp_path / "a.json", b"{}")
    assert list(tmp_path.iterdir()) == []
