"""A build whose input changes in the midst of it fails, names the file, and goes on with the others when it is run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

from versatune.pipelines import build
from versatune.pipelines.build import run
from versatune.schemas.config import Config
from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.errors import ChangedError, DataError
from versatune.schemas.progress import Silence
from versatune.transforms.shards.resume import PassOverFinished

ROOT = Path(__file__).resolve().parents[2]


class Said(Silence):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def after_the_first_batch_of(source: str, once: Path, do: Callable[[], None]) -> Any:
    """Return PassOverFinished with a step before it that does something in the midst of a read, on whatever worker reads."""

    def step(batch: Any) -> Any:
        import contextlib

        if batch.split.source == source:
            with contextlib.suppress(FileExistsError):
                once.touch(exist_ok=False)
                do()
        return batch

    class Passing(PassOverFinished):
        def expand(self, batches: Any) -> Any:
            return super().expand(batches | "InTheMidst" >> beam.Map(step).with_output_types(Any))

    return Passing


def changing(path: Path, how: str) -> Callable[[], None]:
    name = str(path)

    def change() -> None:
        import os
        import shutil

        if how == "cut":
            os.truncate(name, os.path.getsize(name) // 2)
        elif how == "appended":
            with open(name, "ab") as file:
                file.write(b'{"instruction": "More?", "input": "", "output": "More."}\n')
        elif how == "replaced":
            shutil.copyfile(name, f"{name}.new")
            os.replace(f"{name}.new", name)
        else:
            os.unlink(name)

    return change


@pytest.mark.parametrize(
    ("workers", "how", "what"),
    [
        (1, "cut", "bytes and has"),
        (1, "appended", "bytes and has"),
        (1, "replaced", "was written at"),
        (1, "gone", "it is gone"),
        (2, "appended", "bytes and has"),
        (2, "cut", "bytes and has"),
    ],
)
@pytest.mark.parametrize("on_refused_file", ["fail", "skip"])
def test_a_file_that_changes_in_the_midst_of_a_read_ends_the_build(
    make_config: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
    how: str,
    what: str,
    on_refused_file: str,
) -> None:
    if workers == 2 and on_refused_file == "skip":
        pytest.skip("one process shows it")
    config = make_config(batch_rows=10, workers=workers, on_refused_file=on_refused_file)
    change = changing(tmp_path / "raw" / "law.jsonl", how)
    monkeypatch.setattr(build, "PassOverFinished", after_the_first_batch_of("law", tmp_path / "done", change))
    with pytest.raises(ChangedError, match=rf"^source 'law': raw/law\.jsonl: the file changed .*{what}") as error:
        run(config, progress=Silence())
    assert error.value.exit_code == DataError.exit_code
    assert "\n" not in str(error.value)
    assert not list(Path(config.home).glob("*/manifest.json"))


def test_the_next_build_uses_what_was_read_of_other_files_and_is_as_one_from_the_start(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(batch_rows=10, version="1.0")
    change = changing(tmp_path / "raw" / "law.jsonl", "appended")
    with monkeypatch.context() as patch, pytest.raises(ChangedError):
        patch.setattr(build, "PassOverFinished", after_the_first_batch_of("law", tmp_path / "done", change))
        run(config, progress=Silence())
    said = Said()
    path = run(config, progress=said)
    assert any("goes on with 77 rows" in line for line in said.lines)  # all but those of law.jsonl
    fresh = DatasetManifest.load(run(make_config("fresh", batch_rows=10, version="1.0"), progress=Silence()))
    assert DatasetManifest.load(path).digest == fresh.digest
    assert sum(book.read for book in fresh.books if book.source == "law") == 69
    assert [entry.name for entry in Path(config.home).iterdir() if entry.name.startswith(".staging")] == []


KILLED_THEN_CHANGED = """
import os, signal, sys
from versatune.pipelines.build import run
from versatune.schemas.config import load_config
from versatune.schemas.progress import Silence
from versatune.transforms.transport import exchange

whole, calls = exchange.replace_bytes, iter(range(1, 1000))
def die(*args, **kwargs):
    if next(calls) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*args, **kwargs)
exchange.replace_bytes = die
run(load_config(sys.argv[1]), progress=Silence())
"""


def test_between_a_kill_and_the_next_build_no_file_may_change_unnoticed(make_config: Any, tmp_path: Path) -> None:
    config: Config = make_config(batch_rows=10, version="1.0")
    command = [sys.executable, "-c", KILLED_THEN_CHANGED, str(tmp_path / "out.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    file = tmp_path / "raw" / "law.jsonl"
    before = file.stat()
    file.write_bytes(file.read_bytes().replace(b"court", b"clerk"))  # as long as it was
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    path = run(config, progress=Silence())
    fresh = run(make_config("fresh", batch_rows=10, version="1.0"), progress=Silence())
    assert DatasetManifest.load(path).digest == DatasetManifest.load(fresh).digest
