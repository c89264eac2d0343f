"""The same rows make the same dataset: whoever reads them, in whatever order, from whatever files."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from versatune.pipelines.build import run
from versatune.schemas.config import Config
from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.progress import Silence
from versatune.transforms.shards import write_shards

SETTINGS: dict[str, Any] = {"shard_bytes": 4000, "near_duplicates": {"enabled": True, "ngram": 3, "similarity": 0.6}}
# Beam's portable runner: a job service, and one worker process that is handed the pickled graph.
PORTABLE = (
    "--runner=PortableRunner",
    "--job_endpoint=embed",
    "--environment_type=LOOPBACK",
)


def rows(path: Path) -> list[str]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [line for line in data.decode().splitlines() if line]


def dataset(config: Config, *beam_args: str) -> DatasetManifest:
    return DatasetManifest.load(run(config, beam_args=beam_args, progress=Silence()))


def data_files(manifest: DatasetManifest) -> dict[str, str]:
    near = [manifest.near_duplicates] if manifest.near_duplicates else []
    return {file.path: file.sha256 for file in [*manifest.shards, *near]}


def assert_same(one: DatasetManifest, other: DatasetManifest) -> None:
    """Hold two builds of the same rows against each other."""
    assert data_files(one) == data_files(other)
    assert one.books == other.books
    assert one.fields == other.fields
    assert one.digest == other.digest


@pytest.fixture
def reference(make_config: Any, tmp_path: Path) -> DatasetManifest:
    """Build the small corpus, the odd file a JSON Lines one, so that its rows can be moved between files."""
    raw = tmp_path / "raw"
    medicine = json.loads(gzip.decompress((raw / "medicine.json.gz").read_bytes()))
    (raw / "medicine.json.gz").unlink()
    (raw / "medicine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in medicine))
    manifest = dataset(make_config("reference", sources=sources("medicine.jsonl"), **SETTINGS))
    assert manifest.near_duplicates is not None
    assert manifest.near_duplicates.rows  # or nothing would be tried
    assert len({shard.path.rpartition("/")[2] for shard in manifest.shards}) > 1
    return manifest


def sources(medicine: str = "medicine*", law: str = "law*", order: int = 1) -> list[dict[str, Any]]:
    files = {"law": f"raw/{law}", "medicine": f"raw/{medicine}", "code": "raw/code.csv", "copies": "raw/copies.jsonl"}
    return [
        {"name": name, "files": [file], "domain": "law" if name == "law" else None} for name, file in files.items()
    ][::order]


@pytest.mark.parametrize(
    "changes",
    [
        {"workers": 2},
        {"workers": 4},
        {"batch_rows": 7},
        {"part_bytes": 1000, "workers": 2},
        {"part_bytes": 3000, "batch_rows": 1},
    ],
    ids=str,
)
def test_workers_batches_and_parts_change_nothing(
    make_config: Any, reference: DatasetManifest, changes: dict[str, Any]
) -> None:
    settings = SETTINGS | changes
    assert_same(dataset(make_config("other", sources=sources(order=-1), **settings)), reference)


def test_neither_does_the_portable_runner(make_config: Any, reference: DatasetManifest) -> None:
    assert_same(dataset(make_config("other", sources=sources(), **SETTINGS), *PORTABLE), reference)


def spread(lines: list[str], folder: Path, name: str, seed: int) -> None:
    """Write rows in another order into other files, one of them compressed."""
    chance = random.Random(seed)
    lines = chance.sample(lines, len(lines))
    cut = sorted(chance.sample(range(1, len(lines)), 3))
    for number, (start, end) in enumerate(zip([0, *cut], [*cut, len(lines)], strict=True)):
        data = "".join(f"{line}\n" for line in lines[start:end]).encode()
        file = folder / f"{name}-{number}.jsonl"
        if number % 2:
            file.with_suffix(".jsonl.gz").write_bytes(gzip.compress(data))
        else:
            file.write_bytes(data)


@pytest.fixture
def respread(make_config: Any, reference: DatasetManifest, tmp_path: Path) -> Config:
    """Configure a build of the same rows from other files, in another order."""
    assert reference.digest
    for name in ("law", "medicine"):
        file = tmp_path / "raw" / f"{name}.jsonl"
        lines = rows(file)
        file.unlink()
        spread(lines, tmp_path / "raw", name, seed=5)
    return make_config("other", sources=sources(), batch_rows=9, **SETTINGS)


def test_neither_do_other_files_and_another_order_of_rows(respread: Config, reference: DatasetManifest) -> None:
    other = dataset(respread)
    assert_same(other, reference)
    assert {file.uri for file in other.inputs} != {file.uri for file in reference.inputs}


def by_arrival(rows: Any, near_ids: np.ndarray) -> Any:
    """Decide as somebody would who does not sort: rows stay as they come, and of equal ones the first."""
    halves = list(zip(rows.first.tolist(), rows.second.tolist(), strict=True))
    seen: set[tuple[int, int]] = set()
    duplicate = np.array([half in seen or bool(seen.add(half)) for half in halves])
    order = np.arange(len(halves))
    return write_shards.Fates(order, duplicate, write_shards._found(near_ids, rows.first, rows.second))


def shuffled_ids(example: Any) -> str:
    """Name an example by chance, as ``hash`` does."""
    return hashlib.blake2b(repr((example, random.random())).encode(), digest_size=16).hexdigest()


@pytest.mark.parametrize(
    ("broken", "by"),
    [
        ("versatune.transforms.shards.write_shards.decide", by_arrival),
        ("versatune.transforms.reading.normalize.example_id", shuffled_ids),
    ],
    ids=["order of arrival", "ids by chance"],
)
def test_a_build_that_depends_on_more_than_its_rows_is_seen(
    respread: Config, reference: DatasetManifest, monkeypatch: pytest.MonkeyPatch, broken: str, by: Any
) -> None:
    monkeypatch.setattr(broken, by)
    with pytest.raises(AssertionError):
        assert_same(dataset(respread), reference)


def test_a_changed_row_is_another_dataset(make_config: Any, reference: DatasetManifest, tmp_path: Path) -> None:
    law = tmp_path / "raw" / "law.jsonl"
    law.write_text(law.read_text().replace("case 17", "case 1700", 1))
    with pytest.raises(AssertionError):
        assert_same(dataset(make_config("other", sources=sources(), **SETTINGS)), reference)
