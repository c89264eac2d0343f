"""The benchmark of large builds: what it counts is what was opened, and its synthetic versions are whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from versatune.schemas.dataset import ClassifierRecord, DatasetManifest
from versatune.schemas.progress import Silence
from versatune.schemas.taxonomy import DEFAULT_TAXONOMY
from versatune.versions import diff
from versatune.versions.diff import diff_rows
from versatune.versions.verify import verify

ROOT = Path(__file__).resolve().parents[2]


def test_opens_below_a_staging_directory_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / ".staging-0123" / "fragments"
    folder.mkdir(parents=True)
    code = f"""
import pyarrow as pa
from pathlib import Path
Path({str(folder)!r}, "a.arrow").write_bytes(b"x" * 9)
Path({str(folder)!r}, "a.arrow").read_bytes()
pa.memory_map({str(folder / "a.arrow")!r})
Path({str(tmp_path)!r}, "else.txt").write_text("")
"""
    counted = tmp_path / "opens"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "benchmarks/support/count_opens"), "COUNT_OPENS": str(counted)}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
    assert Counter(counted.read_text().splitlines()) == {"fragments written": 1, "fragments read": 2}


PATTERN = DatasetManifest.create(
    name="d", version="1", created_at="", environment={}, schema_version=1, code_version="1", taxonomy=DEFAULT_TAXONOMY,
    classifier=ClassifierRecord(
        sha256="0" * 64, labels=[], undetermined_below=0.4, confusion=None, precision_determined=None, unseen_ece=None
    ),
    tokenizer=None, inputs=[], parent=None, near_duplicates=None, decontamination=None, repairs=None, lineage=[], books=[], fields=[],
    shards=[], rejects=[], config={"build": {"validation_fraction": 0.1}},
)  # fmt: skip


@pytest.fixture
def versions(tmp_path: Path) -> list[Path]:
    """Return the manifests of two versions of 40 shards, 7 of which differ."""
    from benchmarks.support.synthetic_version import make_version

    return [
        make_version(PATTERN, tmp_path / "made", name, 40, source)
        for name, source in (("1.0", "one"), ("1.1", "other"))
    ]


def test_a_synthetic_version_is_whole(versions: list[Path]) -> None:
    for file in versions:
        manifest, problems = verify(file, Silence())
        assert problems == []
        assert isinstance(manifest, DatasetManifest)
        assert len(manifest.shards) == 40


def test_two_synthetic_versions_differ_in_what_was_changed(versions: list[Path]) -> None:
    sides = [(file.parent, DatasetManifest.load(file)) for file in versions]
    changes = diff_rows(sides[0], sides[1], Silence())
    assert sum(changes.changed["source"].values()) == 7
    assert changes.unchanged == 33
    assert json.loads((versions[0].parent.parent / "latest.json").read_text())["path"] == "1.1/manifest.json"


def test_a_manifest_grows_by_a_few_hundred_bytes_a_shard(tmp_path: Path) -> None:
    from benchmarks.support.synthetic_version import make_version

    small, large = (
        make_version(PATTERN, tmp_path, name, shards).stat().st_size for name, shards in (("1", 200), ("2", 600))
    )
    assert (large - small) / 400 < 450  # with the lineage files, one for each dozen of shards


def test_versions_whose_files_are_the_same_are_compared_without_opening_one(
    versions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    read = diff.pq.read_table
    monkeypatch.setattr(diff.pq, "read_table", lambda path, **more: (opened.append(path), read(path, **more))[1])
    compared: list[int] = []
    compare = diff._compare
    monkeypatch.setattr(diff, "_compare", lambda *sides: (compared.append(1), compare(*sides))[1])
    sides = [(file.parent, DatasetManifest.load(file)) for file in versions]
    diff_rows(sides[0], sides[0], Silence())
    assert (opened, compared) == ([], [])
    diff_rows(sides[0], sides[1], Silence())
    assert (len(opened), len(compared)) == (2 * 7, 1)
