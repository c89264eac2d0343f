"""The staging directory: one for what is built, all others are swept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from versatune.pipelines.staging import staging_directory, sweep
from versatune.schemas.config import Config, load_config

BUILD: dict[str, Any] = {"validation_fraction": 0.2}


def config_of(folder: Path, sources: list[dict[str, Any]] | None = None, **build: Any) -> Config:
    folder.mkdir(parents=True, exist_ok=True)
    value = {
        "name": "n",
        "output": "out",
        "sources": sources or [{"name": "s", "files": ["a"]}],
        "build": BUILD | build,
    }
    (folder / "c.json").write_text(json.dumps(value))
    return load_config(folder / "c.json")


def test_the_directory_is_one_of_the_outputs(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    staging = Path(staging_directory(config))
    assert staging.parent == Path(config.home)
    assert staging.name.startswith(".staging-")
    assert staging_directory(config, "classifier") == staging_directory(config, "classifier")


@pytest.mark.parametrize(
    "change",
    [
        {"batch_rows": 5},
        {"part_bytes": 5},
        {"max_row_bytes": 5},
        {"clean": {"min_answer_chars": 2}},
        {"pii": {"email": "mask"}},
        {"near_duplicates": {"enabled": True}},
        {"validation_fraction": 0.3},
        {"sources": [{"name": "s", "files": ["a"], "domain": "law"}]},
        {"sources": [{"name": "s", "files": ["a"], "fields": {"text": "x"}}]},
        {"sources": [{"name": "s", "files": ["a"], "license": "MIT"}]},
    ],
    ids=str,
)
def test_what_changes_a_batch_changes_the_directory(change: dict[str, Any], tmp_path: Path) -> None:
    assert staging_directory(config_of(tmp_path, **change)) != staging_directory(config_of(tmp_path))


def test_code_classifier_tokenizer_and_repairs_change_the_directory(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    identities: list[tuple[Any, ...]] = [
        ("1", "c", None, None), ("2", "c", None, None), ("1", "d", None, None), ("1", "c", {"sha256": "t"}, None),
        ("1", "c", {"sha256": "u"}, None), ("1", "c", None, "r"),
    ]  # fmt: skip
    assert len({staging_directory(config, *identity) for identity in identities}) == len(identities)


def test_workers_versions_and_the_place_of_files_do_not_change_the_name(tmp_path: Path) -> None:
    one = config_of(tmp_path / "a", workers=1)
    two = config_of(tmp_path / "b", [{"name": "s", "files": ["z"]}], workers=2, version="1.0", on_refused_file="fail")
    assert Path(staging_directory(one)).name == Path(staging_directory(two)).name


def test_what_other_builds_left_is_swept_and_everything_else_stays(tmp_path: Path) -> None:
    config = config_of(tmp_path, version="7-mine")
    staging = staging_directory(config)
    home = Path(config.home)
    stays = [
        f"{Path(staging).name}/fragments/a.json", "20260101-aaaa/manifest.json", "20260101-aaaa/data/x.parquet",
        "latest.json", "probe/probe.json", "runs/7/x",
    ]  # fmt: skip
    goes = [
        ".staging-000000000000/out/data/x.parquet", "20260102-bbbb/data/train/law/part-00000-of-00002.parquet",
        "20260102-bbbb/lineage/part-00001-of-00002.parquet", "20260102-bbbb/near_duplicates.parquet",
        "20260102-bbbb/manifest.json.0123abcd.partial", "7-mine/README.md", "rejected/part-00000-of-00001.parquet",
    ]  # fmt: skip
    for name in [*stays, *goes]:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("")
    sweep(config, staging)
    assert sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()) == sorted(stays)
    assert not any((home / name).parent.exists() for name in goes)


@pytest.mark.parametrize(
    "name",
    [
        "2023/a.jsonl", "2023/data/train/law/mine.parquet", "2023/part-00000-of-00001.parquet", "7-mine/data/rows.jsonl",
        "rejected/notes.txt",
    ],
)  # fmt: skip
def test_a_directory_with_somebodys_files_is_never_swept(name: str, tmp_path: Path) -> None:
    config = config_of(tmp_path, version="7-mine")
    path = Path(config.home) / name
    path.parent.mkdir(parents=True)
    path.write_text("rows")
    (path.parent / "README.md").write_text("mine too")
    sweep(config, staging_directory(config))
    assert path.read_text() == "rows"
    assert (path.parent / "README.md").exists()


def test_a_link_of_a_versions_name_is_left_alone(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    Path(config.home).mkdir(parents=True)
    (Path(config.home) / "2023").symlink_to(tmp_path / "elsewhere")
    sweep(config, staging_directory(config))
    assert (Path(config.home) / "2023").is_symlink()


def test_sweeping_before_the_first_build_does_nothing(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    sweep(config, staging_directory(config))
    assert not Path(config.home).exists()


def test_names_with_glob_characters_are_only_names(tmp_path: Path) -> None:
    config = config_of(tmp_path / "data[1]")
    other = Path(config.home) / ".staging-other"
    (other / "x").mkdir(parents=True)
    sweep(config, staging_directory(config))
    assert not other.exists()
