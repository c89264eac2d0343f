"""A model that is fetched from a store: only what it needs, whole or not at all, once."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.localfilesystem import LocalFileSystem

from versatune.models.files import model_digest
from versatune.models.source import model_folder
from versatune.schemas.config import load_config
from versatune.schemas.errors import DataError, IntegrityError, RunError
from versatune.transforms.engines.vllm_engine import VllmSettings, local_settings
from versatune.transforms.reading.tokenization import plan_tokenization
from versatune.transforms.transport import model_fetch
from versatune.transforms.transport.model_fetch import fetch_model

_ADDRESS = "bucket://models/tiny"
_SHELVES: dict[str, Path] = {}
_OPENED: list[str] = []


class Bucket(LocalFileSystem):
    """bucket://models/NAME stands for a folder."""

    @classmethod
    def scheme(cls) -> str:
        return "bucket"

    def has_dirs(self) -> bool:
        return False

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        for name, folder in _SHELVES.items():
            for file in sorted(folder.rglob("*")):
                address = f"bucket://models/{name}/{file.relative_to(folder)}"
                if file.is_file() and address.startswith(dir_or_prefix):
                    yield FileMetadata(address, file.stat().st_size, file.stat().st_mtime)

    def open(self, path: str, *_: Any, **__: Any) -> Any:
        name, _, file = path.removeprefix("bucket://models/").partition("/")
        _OPENED.append(file)
        time.sleep(0.01)
        return (_SHELVES[name] / file).open("rb")


@pytest.fixture(autouse=True)
def shelf(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder behind the address."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "shelf"
    shutil.copytree(tiny_model, folder)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "original").mkdir()
    (folder / "original" / "consolidated.safetensors").write_bytes(b"once more")
    _SHELVES.clear()
    _SHELVES["tiny"] = folder
    _OPENED.clear()
    return folder


def _cached(tmp_path: Path) -> list[Path]:
    return [entry for entry in (tmp_path / "cache" / "versatune" / "models").glob("[!.]*") if entry.is_dir()]


def test_what_a_model_needs_is_fetched_once_and_never_a_pickle(shelf: Path, tmp_path: Path) -> None:
    folder = fetch_model(_ADDRESS)
    assert model_digest(folder) == model_digest(shelf)
    assert {file.name for file in folder.iterdir()} == {file.name for file in shelf.iterdir()} - {
        "pytorch_model.bin",
        "original",
    }
    count = len(_OPENED)
    assert fetch_model(_ADDRESS) == folder == fetch_model(f"{_ADDRESS}/")
    assert len(_OPENED) == count


def test_a_model_that_has_changed_is_fetched_again(shelf: Path) -> None:
    before = fetch_model(_ADDRESS)
    config = (shelf / "config.json").read_text()
    (shelf / "config.json").write_text(f"{config}\n")
    after = fetch_model(_ADDRESS)
    assert (after / "config.json").read_text() == f"{config}\n"
    assert (before / "config.json").read_text() == config


def test_a_broken_transfer_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(source: Any, copy: Any, *_: Any) -> None:
        copy.write(source.read(5))

    with monkeypatch.context() as patch:
        patch.setattr(model_fetch.shutil, "copyfileobj", break_off)
        with pytest.raises(RunError, match=r"bucket://models/tiny/\S+: 5 of [\d,]+ bytes arrived"):
            fetch_model(_ADDRESS)
    assert _cached(tmp_path) == []
    assert model_digest(fetch_model(_ADDRESS)) == model_digest(_SHELVES["tiny"])


def test_two_who_want_it_at_once_fetch_it_once(tmp_path: Path) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(fetch_model(_ADDRESS))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == set(_cached(tmp_path))
    assert len(found) == 4
    assert len(_OPENED) == len(set(_OPENED))


def test_an_address_without_a_model_is_named(shelf: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"bucket://models/none: there is no config\.json among 0 files"):
        fetch_model("bucket://models/none")
    with pytest.raises(DataError, match="nowhere://models/tiny: it cannot be listed"):
        fetch_model("nowhere://models/tiny")


def test_a_disk_that_is_too_small_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_fetch.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 5, 5))
    with pytest.raises(RunError, match=r"GiB free; free some, or set XDG_CACHE_HOME"):
        fetch_model(_ADDRESS)


def test_stages_take_an_address_for_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"name: a\nmodel: {{path: '{_ADDRESS}'}}")
    config = load_config(file)
    assert model_folder(config, needed_for="x", fetch=fetch_model) == fetch_model(_ADDRESS)
    assert plan_tokenization(config).name == "tiny"


def test_a_worker_fetches_the_model_and_checks_that_it_is_the_planned_one(shelf: Path) -> None:
    values = {"dtype": "auto", "max_model_len": 8, "max_num_seqs": 1, "gpu_memory_utilization": 0.5}
    values |= {"cpu_kv_cache_gib": 1, "tensor_parallel_size": 1, "enforce_eager": True, "trust_remote_code": False}
    right = VllmSettings(model=_ADDRESS, model_digest=model_digest(shelf), **values)  # type: ignore[arg-type]
    assert local_settings(right).model == str(fetch_model(_ADDRESS))
    local = VllmSettings(model=str(shelf), **values)  # type: ignore[arg-type]
    assert local_settings(local) == local
    (shelf / "config.json").write_text("{}")
    with pytest.raises(IntegrityError, match=r"model bucket://models/tiny: its files have the digest .*Start it again"):
        local_settings(right)
