"""Kill -9 at any moment: the next build does not do finished work again, ends in the same bytes, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from versatune.pipelines.build import run
from versatune.pipelines.build_plan import plan_build
from versatune.schemas.config import ClassifierConfig, Config
from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.pointer import read_pointer
from versatune.schemas.progress import Silence
from versatune.transforms.classifier.fasttext_classifier import bundled_model
from versatune.transforms.reading.tokenization import plan_tokenization

ROOT = Path(__file__).resolve().parents[2]
# Dies at the n-th call of a function, as often as it is told to, and says after each death what was there.
KILLED = """
import importlib, json, os, signal, sys
from pathlib import Path
from versatune.pipelines.build import run
from versatune.schemas.config import load_config
from versatune.schemas.progress import Silence

config = load_config(sys.argv[1])
found = []
for module, name, call in json.loads(sys.argv[2]):
    child = os.fork()
    if child == 0:
        module = importlib.import_module(module)
        function, calls = getattr(module, name), iter(range(1, 1000))
        def die(*args, **kwargs):
            if next(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)
        setattr(module, name, die)
        run(config, progress=Silence())
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, (module, name, call)
    home = Path(config.home)
    found.append([(home / "1.0" / "manifest.json").exists(), (home / "latest.json").exists()])
print(json.dumps(found))
"""
MOMENTS = [
    ["versatune.transforms.transport.exchange", "write_arrow", 1],
    [
        "versatune.transforms.transport.exchange",
        "replace_bytes",
        2,
    ],  # the second fragment is written, its record is not
    ["versatune.transforms.shards.resume", "replace_bytes", 1],  # a file is read, its record is not written
    ["versatune.transforms.shards.write_shards", "_write_parquet", 3],
    ["versatune.transforms.shards.write_shards", "replace_bytes", 2],  # the second bucket is written, its record is not
    ["versatune.transforms.shards.write_manifest", "move", 3],
    ["versatune.transforms.shards.write_manifest", "replace_bytes", 1],  # README.md
    ["versatune.transforms.shards.write_manifest", "replace_bytes", 2],  # manifest.json
    ["versatune.transforms.shards.write_manifest", "replace_bytes", 3],  # latest.json
]
NEAR = {"enabled": True, "ngram": 3}


def contents(folder: Path) -> dict[str, str]:
    files = sorted(
        file for file in folder.rglob("*") if file.is_file() and file.name not in ("manifest.json", "README.md")
    )
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def assert_same(path: Path, reference: Path) -> None:
    one, other = DatasetManifest.load(path), DatasetManifest.load(reference)
    assert one.digest == other.digest
    assert one.fields == other.fields
    assert contents(path.parent) == contents(reference.parent)


def assert_nothing_else(config: Config, path: Path) -> None:
    entries = sorted(entry.name for entry in Path(config.home).iterdir() if entry.name != "stages.json")
    assert entries == [".build.lock", path.parent.name, "latest.json"]
    assert read_pointer(Path(config.home) / "latest.json", what="dataset", command="build") == path


def test_a_build_that_is_killed_at_every_step_ends_in_the_same_bytes(make_config: Any, tmp_path: Path) -> None:
    settings = {"version": "1.0", "shard_bytes": 4000, "batch_rows": 20, "near_duplicates": NEAR}
    reference = run(make_config("reference", **settings), progress=Silence())
    killed = make_config("killed", **settings)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "killed.json"), json.dumps(MOMENTS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    complete = json.loads(done.stdout)
    assert complete == [[False, False]] * (len(MOMENTS) - 1) + [[True, False]]
    path = run(killed, progress=Silence())
    assert_same(path, reference)
    assert_nothing_else(killed, path)


def interrupted(config: Config, monkeypatch: pytest.MonkeyPatch, function: str, call: int) -> None:
    """Run a build whose ``call``-th call of a function fails, as if the machine had gone down there."""
    module, _, name = function.rpartition(".")
    whole, calls = getattr(sys.modules[module], name), iter(range(1, 1000))

    def fail(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == call:
            raise OSError("power cut")
        return whole(*args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(Exception, match="power cut"):
        patch.setattr(sys.modules[module], name, fail)
        run(config, progress=Silence())


def counted(monkeypatch: pytest.MonkeyPatch, function: str) -> list[Any]:
    """Record the first argument of each call of a function."""
    module, _, name = function.rpartition(".")
    whole, calls = getattr(sys.modules[module], name), []

    def count(*args: Any, **kwargs: Any) -> Any:
        calls.append(args[0])
        return whole(*args, **kwargs)

    monkeypatch.setattr(sys.modules[module], name, count)
    return calls


def test_batches_that_are_done_are_not_done_again(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(batch_rows=10)
    interrupted(config, monkeypatch, "versatune.transforms.transport.exchange.replace_bytes", 9)
    batches = counted(monkeypatch, "versatune.transforms.reading.normalize.normalize_batch")
    heard: list[str] = []

    class Listener(Silence):
        def say(self, message: str) -> None:
            heard.append(message)

    run(config, progress=Listener())
    assert len(batches) == 15 - 8  # 68, 40, 30 and 7 rows in batches of 10; eight were recorded before the failure
    assert any("goes on" in message for message in heard)


def test_shards_that_are_done_are_not_written_again(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(shard_bytes=4000)
    interrupted(config, monkeypatch, "versatune.transforms.shards.write_shards.replace_bytes", 4)
    gathered = counted(monkeypatch, "versatune.transforms.shards.write_shards.gather")
    batches = counted(monkeypatch, "versatune.transforms.reading.normalize.normalize_batch")
    path = run(config, progress=Silence())
    names = {shard.path.rpartition("/")[2] for shard in DatasetManifest.load(path).shards}
    assert len(gathered) == len(names) - 3
    assert not batches


def test_a_file_that_changed_meanwhile_is_read_again(
    make_config: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = make_config(shard_bytes=4000)
    interrupted(config, monkeypatch, "versatune.transforms.shards.write_shards.replace_bytes", 4)
    law = tmp_path / "raw" / "law.jsonl"
    law.write_text(law.read_text().replace("Explain number 7.", "Explain number 7 again."))
    path = run(config, progress=Silence())
    reference = run(make_config("reference", shard_bytes=4000), progress=Silence())
    assert_same(path, reference)


def with_a_damaged_leftover(config: Config, monkeypatch: pytest.MonkeyPatch) -> Path:
    interrupted(config, monkeypatch, "versatune.transforms.shards.write_shards.replace_bytes", 4)
    shard = next(Path(config.home).rglob("out/data/train/law/*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    return run(config, progress=Silence())


def test_a_leftover_that_is_damaged_is_made_again(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = run(make_config("reference", shard_bytes=4000), progress=Silence())
    assert_same(with_a_damaged_leftover(make_config(shard_bytes=4000), monkeypatch), reference)


def test_these_tests_see_a_leftover_that_is_taken_over_wrongly(
    make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = run(make_config("reference", shard_bytes=4000), progress=Silence())
    monkeypatch.setattr("versatune.transforms.shards.write_shards.ShardWriter._are_there", lambda *_: True)
    path = with_a_damaged_leftover(make_config(shard_bytes=4000), monkeypatch)
    with pytest.raises(AssertionError):
        assert_same(path, reference)


@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_a_build_with_worker_processes_is_killed_from_outside(make_config: Any, tmp_path: Path, seconds: float) -> None:
    settings = {"version": "1.0", "workers": 2, "batch_rows": 2, "shard_bytes": 4000}
    reference = run(make_config("reference", **settings), progress=Silence())
    killed = make_config("killed", **settings)
    command = [sys.executable, "-m", "versatune", "build", str(tmp_path / "killed.json")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    staging = Path(killed.home)
    deadline = time.monotonic() + 60
    while (
        not list(staging.glob(".staging-*/fragments/*.json")) and time.monotonic() < deadline and process.poll() is None
    ):
        time.sleep(0.02)
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    path = run(killed, progress=Silence())
    assert_same(path, reference)
    assert_nothing_else(killed, path)


def test_a_signature_block_that_a_power_cut_emptied_is_made_again(
    make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"shard_bytes": 4000, "near_duplicates": NEAR}
    reference = run(make_config("reference", **settings), progress=Silence())
    config = make_config(**settings)
    interrupted(config, monkeypatch, "versatune.transforms.shards.write_shards.replace_bytes", 4)
    next(block for block in Path(config.home).rglob("signatures/*.arrow") if "links" not in block.name).write_bytes(b"")
    assert_same(run(config, progress=Silence()), reference)


def staging_of(config: Config) -> str:
    """Return where a build of a configuration works."""
    return plan_build(config, [], plan_tokenization(config), {"versions": {}}, 0.0).staging


@pytest.mark.parametrize("change", ["special_tokens", "temperatures", "undetermined_below"])
def test_work_done_with_another_tokenizer_or_calibration_is_not_taken_over(
    make_config: Any, tiny_model: Path, tmp_path: Path, change: str
) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    classifier = Path(shutil.copy(bundled_model(), tmp_path / "mine.ftz"))
    card = json.loads(bundled_model().with_suffix(".json").read_text())
    classifier.with_suffix(".json").write_text(json.dumps(card))
    config = make_config(model=model)
    config = config.model_copy(update={"classifier": ClassifierConfig(path=str(classifier))})
    before = staging_of(config)
    assert staging_of(config) == before
    if change == "special_tokens":  # the vocabulary and the template stay
        file = model / "tokenizer_config.json"
        file.write_text(file.read_text().replace('"eos_token": "<|im_end|>"', '"eos_token": "<|endoftext|>"'))
    else:
        classifier.with_suffix(".json").write_text(
            json.dumps(card | {change: {"latin": 0.1, "other": 2.0} if change == "temperatures" else 0.123})
        )
    assert staging_of(config) != before


def test_work_done_with_other_libraries_is_not_taken_over(make_config: Any) -> None:
    config = make_config()
    versions = [{"pyarrow": "1"}, {"pyarrow": "1"}, {"pyarrow": "2"}]
    one, same, other = (plan_build(config, [], None, {"versions": found}, 0.0).staging for found in versions)
    assert one == same
    assert one != other
