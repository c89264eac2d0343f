"""What a checkpoint says of itself: everything of a run that is not a tensor, and the sha256 of the files of tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

from versatune.schemas.document import Document
from versatune.schemas.errors import VersatuneError
from versatune.schemas.files import sha256_file
from versatune.schemas.inside import InsidePath, inside

STATE = "state.json"
_BLOCK_BYTES = 1 << 20


class Counters(BaseModel):
    """Where a run is, and what it has used. Vectors are in the order of the mixture's domains."""

    model_config = ConfigDict(extra="forbid")

    step: int = Field(default=0, description="optimizer steps taken")
    segment: int = Field(default=0, description="segments finished")
    position: int = Field(default=0, description="rows of the current segment trained on")
    rows: list[int] = Field(description="rows drawn so far")
    tokens: list[int] = Field(description="tokens drawn so far")
    loss_tokens: list[int] = Field(description="scored tokens drawn so far")
    rows_before: list[int] = Field(description="rows drawn before the current segment")
    train_nll: list[float] = Field(description="nats over the current segment")
    train_tokens: list[int] = Field(description="scored tokens of the current segment")
    seconds: float = Field(default=0.0, description="spent so far, over all starts")
    step_seconds: float = Field(default=0.0, description="of these, in optimizer steps")

    @classmethod
    def zero(cls, domains: int) -> Self:
        """Before the first step."""
        vectors = ("rows", "tokens", "loss_tokens", "rows_before", "train_nll", "train_tokens")
        return cls.model_validate({name: [0] * domains for name in vectors})

    def next_segment(self) -> None:
        """Begin to count a new segment."""
        self.segment, self.position, self.rows_before = self.segment + 1, 0, list(self.rows)
        self.train_nll, self.train_tokens = [0.0] * len(self.rows), [0] * len(self.rows)


class CheckpointState(Document):
    """Everything of a run that is not a tensor."""

    KIND: ClassVar[str] = "versatune/checkpoint"
    MADE_BY: ClassVar[str] = "versatune train CONFIG"
    FORMAT_VERSION: ClassVar[int] = 3
    EARLIER: ClassVar[Mapping[int, Mapping[str, str]]] = {
        2: {"files": "its tensors", "log_sha256": "the logs up to it"}
    }

    mixture_digest: str
    model_sha256: str
    train: dict[str, Any] = Field(description="the train section")
    seed: int
    counters: Counters
    mixer: dict[str, Any] = Field(description="the mixer's state; its weights compose the current segment")
    held_out_nll: list[list[float]] = Field(description="nats of every held-out row at the last evaluation")
    logs: dict[str, int] = Field(description="bytes of each log when this was made")
    log_sha256: dict[str, str] | None = Field(default=None, description="of these bytes; null in a state of format 2")
    files: dict[InsidePath, str] | None = Field(
        default=None, description="sha256 of the checkpoint's other files; null in a state of format 2"
    )


def whole_checkpoints(folder: Path) -> list[Path]:
    """Checkpoint directories, oldest first; those of a killed write have another name."""
    return sorted(p for p in folder.glob("[0-9]*") if p.is_dir())


def read_checkpoint(
    checkpoint: Path, run: Path, checksum: Callable[[Path], str] = sha256_file
) -> tuple[CheckpointState | None, list[str]]:
    """Read a checkpoint's state and compare the files that it pins.

    Args:
        checkpoint: its directory.
        run: the directory of the run, which has the logs.
        checksum: gives a file's sha256.

    Returns:
        The state, None if it cannot be read, and one line for each thing that is wrong; tensors may be loaded if there is none.
    """
    try:
        state = CheckpointState.load(inside(run, f"{checkpoint.relative_to(run).as_posix()}/{STATE}"))
    except VersatuneError as error:
        return None, [str(error)]
    problems: list[str] = []
    for name, digest in sorted((state.files or {}).items()):
        problems += _file_problem(checkpoint, name, digest, checksum)
    for name, digest in sorted((state.log_sha256 or {}).items()):
        problems += _log_problem(run, f"{name}.jsonl", state.logs.get(name, 0), digest)
    return state, problems


def _file_problem(checkpoint: Path, name: str, digest: str, checksum: Callable[[Path], str]) -> list[str]:
    try:
        file = inside(checkpoint, name)
        found = checksum(file) if file.is_file() else None
    except (VersatuneError, OSError) as error:
        return [str(error)]
    if found is None:
        return [f"{file}: missing"]
    return [] if found == digest else [f"{file}: sha256 is {found[:12]}..., {STATE} says {digest[:12]}..."]


def _log_problem(run: Path, name: str, length: int, digest: str) -> list[str]:
    try:
        file = inside(run, name)
        found = sha256_of_beginning(file, length)
    except (VersatuneError, OSError) as error:
        return [str(error)]
    if found == digest:
        return []
    return [f"{file}: its first {length:,} bytes are not those that were written when the checkpoint was made"]


def sha256_of_beginning(file: Path, length: int) -> str:
    """Return the sha256 of a file's first bytes, in hex; of a shorter file, of all it has."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while length > 0 and (block := stream.read(min(length, _BLOCK_BYTES))):
            digest.update(block)
            length -= len(block)
    return digest.hexdigest()
