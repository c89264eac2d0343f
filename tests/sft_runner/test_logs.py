"""Logs that a resumed run cuts back."""

from __future__ import annotations

from pathlib import Path

import pytest

from versatune.schemas.errors import IntegrityError
from versatune.sft_runner.logs import JsonLines


def test_lines_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "log.jsonl")
    log.write({"step": 1, "loss": 0.1 + 0.2})
    length = log.length
    log.write({"step": 2})
    again = JsonLines(tmp_path / "log.jsonl", length)
    assert again.read() == [{"step": 1, "loss": 0.1 + 0.2}]
    again.write({"step": 2, "other": True})
    assert [line["step"] for line in again.read()] == [1, 2]


def test_a_log_shorter_than_its_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(b"{}\n")
    with pytest.raises(IntegrityError, match="3 bytes, the checkpoint says 20"):
        JsonLines(tmp_path / "log.jsonl", 20)
