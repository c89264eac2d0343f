"""Append-only JSON lines that a resumed run cuts back to where its checkpoint was made."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import orjson

from versatune.schemas.errors import IntegrityError


class JsonLines:
    """One log file. ``length`` is its size in bytes and ``sha256`` that of its content; a checkpoint remembers both."""

    def __init__(self, path: Path, length: int = 0) -> None:
        """Open a log and drop what was written after ``length`` bytes: a killed run's steps that are taken again."""
        path.touch()
        if (found := path.stat().st_size) < length:
            raise IntegrityError(
                f"{path}: {found} bytes, the checkpoint says {length}; delete {path.parent} and train again"
            )
        os.truncate(path, length)
        self._path = path
        self.length = length
        self._digest = hashlib.sha256(path.read_bytes())

    def write(self, line: dict[str, Any]) -> None:
        """Append one object and push it to the disk, so that no checkpoint knows of a line that is lost."""
        data = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        with open(self._path, "ab") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        self.length += len(data)
        self._digest.update(data)

    @property
    def sha256(self) -> str:
        """Of everything in the file, in hex."""
        return self._digest.hexdigest()

    def read(self) -> list[dict[str, Any]]:
        """All lines."""
        return [orjson.loads(line) for line in self._path.read_bytes().splitlines()]
