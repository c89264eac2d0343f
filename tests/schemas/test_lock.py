"""One process at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from versatune.schemas.errors import RunError
from versatune.schemas.lock import only_one

HOLDER = "import sys; from versatune.schemas.lock import only_one\nwith only_one(sys.argv[1], 'train'): print('held', flush=True); sys.stdin.read()"


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(RunError, match=r"run: another train is writing here; wait for it"),
            only_one(folder, "train"),
        ):
            pass
        with only_one(folder, "build"):
            pass
        holder.kill()
        holder.wait()
    with only_one(folder, "train"):
        assert (folder / ".train.lock").exists()


def test_a_lock_that_is_a_link_is_refused_and_what_it_leads_to_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".train.lock").symlink_to(tmp_path / "mine.txt")
    with pytest.raises(RunError, match=r"\.train\.lock: is a link"), only_one(tmp_path / "run", "train"):
        pass
    assert (tmp_path / "mine.txt").read_text() == "mine"
