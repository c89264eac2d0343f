"""A build on a file system without directories, reached through Beam alone, as gs:// and s3:// are."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem

from versatune.pipelines.build import run
from versatune.pipelines.probe import run_with as run_probe_with
from versatune.schemas.config import ClassifierConfig, Config, ModelConfig, ProbeConfig
from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.errors import ChangedError, ConfigError, DataError
from versatune.schemas.probe import ProbeReport
from versatune.schemas.progress import Silence
from versatune.transforms.classifier import classify
from versatune.transforms.classifier.fasttext_classifier import bundled_model, card_path
from versatune.transforms.engines.engine import Generation, Outcome, Sample
from versatune.transforms.reading import read

STORE: dict[str, bytes] = {}
WRITES: list[str] = []


class Store(FileSystem):
    """Objects in memory under store://; one appears whole, when it is closed."""

    @classmethod
    def scheme(cls) -> str:
        return "store"

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path: str) -> tuple[str, str]:
        head, _, tail = path.rpartition("/")
        return head, tail

    def has_dirs(self) -> bool:
        return False

    def mkdirs(self, path: str) -> None:
        raise AssertionError("an object store has no directories")

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        for path in sorted(STORE):
            if path.startswith(dir_or_prefix):
                yield FileMetadata(path, len(STORE[path]), 0.0)

    def create(self, path: str, *_: Any, **__: Any) -> Any:
        class Object(io.BytesIO):
            def close(self) -> None:
                if not self.closed:
                    STORE[path] = self.getvalue()
                    WRITES.append(path)
                super().close()

        return Object()

    def open(self, path: str, *_: Any, **__: Any) -> Any:
        if path not in STORE:
            raise BeamIOError(f"no object {path}")
        return io.BytesIO(STORE[path])

    def rename(self, source_file_names: list[str], destination_file_names: list[str]) -> None:
        for source, destination in zip(source_file_names, destination_file_names, strict=True):
            STORE[destination] = STORE.pop(source)

    def copy(self, source_file_names: list[str], destination_file_names: list[str]) -> None:
        raise NotImplementedError

    def delete(self, paths: list[str]) -> None:
        for path in paths:
            del STORE[path]

    def exists(self, path: str) -> bool:
        return path in STORE

    def size(self, path: str) -> int:
        return len(STORE[path])

    def last_updated(self, path: str) -> float:
        return 0.0

    def checksum(self, path: str) -> str:
        return str(hash(STORE[path]))

    def metadata(self, path: str) -> FileMetadata:
        return FileMetadata(path, len(STORE[path]), 0.0)


@pytest.fixture(autouse=True)
def empty_store() -> None:
    STORE.clear()
    WRITES.clear()


def test_a_build_on_an_object_store_gives_the_same_bytes(make_config: Any, tiny_model: Path) -> None:
    local = run(make_config("local", model=tiny_model, shard_bytes=4000), progress=Silence()).parent
    remote = make_config("store://bucket/out", model=tiny_model, shard_bytes=4000)
    run(remote, progress=Silence())
    home = "store://bucket/out/small/"
    assert {path.removeprefix(f"{home}{local.name}/") for path in STORE if path.endswith(".parquet")} == {
        file.relative_to(local).as_posix() for file in local.rglob("*.parquet")
    }
    for path, data in STORE.items():
        if path.endswith(".parquet"):
            assert (local / path.removeprefix(f"{home}{local.name}/")).read_bytes() == data
    assert not [path for path in STORE if ".staging-" in path]
    assert [path for path in WRITES if ".staging-" not in path] == [
        f"{home}{local.name}/README.md",
        f"{home}{local.name}/manifest.json",  # after everything it names
        f"{home}latest.json",
    ]
    assert json.loads(STORE[f"{home}latest.json"])["path"] == f"{local.name}/manifest.json"


def test_versions_on_an_object_store_are_as_immutable(make_config: Any) -> None:
    config = make_config("store://bucket/out", version="1.0")
    run(config, progress=Silence())
    before = dict(STORE)
    run(config, progress=Silence())
    assert before == STORE
    with pytest.raises(ConfigError, match=r"1\.0"):
        run(make_config("store://bucket/out", version="1.0", validation_fraction=0.5), progress=Silence())
    assert before == STORE


def test_what_a_killed_build_left_on_an_object_store_is_swept(make_config: Any) -> None:
    home = "store://bucket/out/small"
    STORE[f"{home}/.staging-0123/fragments/rows-1-a.arrow"] = b"x"
    STORE[f"{home}/1.0/data/train/law/part-00099-of-00100.parquet"] = b"x"
    STORE["store://bucket/out/small/1.0.b"] = b"mine"
    run(make_config("store://bucket/out", version="1.0"), progress=Silence())
    assert b"x" not in STORE.values()
    assert b"mine" in STORE.values()


def test_raw_files_come_from_an_object_store(make_config: Any, tmp_path: Path) -> None:
    STORE["store://bucket/raw/law.jsonl"] = (tmp_path / "raw" / "law.jsonl").read_bytes()
    config = make_config(sources=[{"name": "law", "files": ["store://bucket/raw/*.jsonl"], "domain": "law"}])
    manifest = DatasetManifest.load(run(config, progress=Silence()))
    assert [(file.uri, file.rows) for file in manifest.inputs] == [("store://bucket/raw/law.jsonl", 68)]
    with pytest.raises(DataError, match="matches no file"):
        run(make_config(sources=[{"name": "law", "files": ["store://bucket/none/*.jsonl"]}]), progress=Silence())


def test_workers_find_a_local_classifier_beside_remote_output(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in (str(bundled_model()), card_path(str(bundled_model()))):
        (tmp_path / f"mine{Path(file).suffix}").write_bytes(Path(file).read_bytes())
    opened: list[str | None] = []
    load = classify.shared_classifier
    monkeypatch.setattr(classify, "shared_classifier", lambda path, *rest: opened.append(path) or load(path, *rest))
    config = make_config("store://bucket/out")
    mine = config.model_copy(update={"classifier": ClassifierConfig(path=str(tmp_path / "mine.ftz"))})
    reference = DatasetManifest.load(run(make_config("local"), progress=Silence()))
    run(mine, progress=Silence())
    assert opened[-1] is not None
    assert opened[-1].startswith("store://bucket/out/small/.staging-")
    pointer = json.loads(STORE["store://bucket/out/small/latest.json"])
    assert pointer["digest"] == reference.digest


class _Engine:
    about: ClassVar[dict[str, Any]] = {"engine": "fake"}

    def generate(self, samples: Sequence[Sample]) -> Iterator[list[Outcome]]:
        yield [
            Generation(s.index, s.seed, f"The court held that contract {s.seed} was void.", 9, "stop") for s in samples
        ]


def test_a_probe_on_an_object_store_gives_the_same_report_and_goes_on_there(tmp_path: Path, tiny_model: Path) -> None:
    def probe(output: str, samples: int) -> Config:
        section = ProbeConfig(samples=samples, samples_per_round=10, max_new_tokens=16, batch_size=5, half_width=None)
        return Config(name="toy", output=output, model=ModelConfig(path=str(tiny_model)), probe=section)

    local = run_probe_with(probe(str(tmp_path), 30), lambda plan: _Engine, progress=Silence())
    run_probe_with(probe("store://bucket/out", 20), lambda plan: _Engine, progress=Silence())
    half = {path for path in STORE if "/part-" in path}
    run_probe_with(probe("store://bucket/out", 30), lambda plan: _Engine, progress=Silence())
    assert half < {path for path in STORE if "/part-" in path}
    digest = json.loads(STORE["store://bucket/out/toy/probe/latest.json"])["digest"]
    reference = ProbeReport.load(local)
    assert digest == reference.digest
    folder = f"store://bucket/out/toy/probe/{digest[:12]}"
    assert STORE[f"{folder}/{reference.generations}"] == (local.parent / reference.generations).read_bytes()


def test_an_object_that_changes_while_it_is_read_ends_the_build_and_costs_one_request_a_part(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "store://bucket/raw/law.jsonl"
    STORE[address] = (tmp_path / "raw" / "law.jsonl").read_bytes()
    config = make_config("out", sources=[{"name": "law", "files": [address]}], part_bytes=3000)
    asked: list[str] = []
    known = Store.metadata
    monkeypatch.setattr(Store, "metadata", lambda self, path: asked.append(path) or known(self, path))
    run(config, progress=Silence())
    parts = -(-len(STORE[address]) // 3000)
    assert parts > 2
    assert asked.count(address) == parts + 1  # and one for the listing

    whole = read.json_lines.rows

    def rows(*args: Any, **kwargs: Any) -> Any:
        STORE[address] = STORE[address].replace(b"court", b"tribunal")
        return whole(*args, **kwargs)

    monkeypatch.setattr(read.json_lines, "rows", rows)
    with pytest.raises(ChangedError, match=rf"^source 'law': {address}: the file changed .* bytes and has .* now"):
        run(make_config("other", sources=[{"name": "law", "files": [address]}], part_bytes=3000), progress=Silence())
