"""Files on any file system, names with glob characters included."""

from __future__ import annotations

from pathlib import Path

import pytest

from versatune.transforms.transport.storage import delete_tree, literal_directories, match

ODD = ["run[1]", "what?", "a*b", "plain"]


@pytest.mark.parametrize("name", ODD)
def test_directories_that_exist_stand_for_themselves(name: str, tmp_path: Path) -> None:
    for folder in (name, "run1", "whatX", "aXb"):
        (tmp_path / folder / "v1").mkdir(parents=True)
        (tmp_path / folder / "v1" / "manifest.json").touch()
    assert list(match(f"{tmp_path}/{name}/*/manifest.json")) == [str(tmp_path / name / "v1" / "manifest.json")]


@pytest.mark.parametrize("name", ODD)
def test_a_tree_is_deleted_under_its_own_name_alone(name: str, tmp_path: Path) -> None:
    for folder in (name, "run1", "whatX", "aXb"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").touch()
    delete_tree(str(tmp_path / name))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({"run1", "whatX", "aXb"})


def test_a_uri_is_left_as_it_is() -> None:
    assert literal_directories("gs://bucket/a[1]/*.jsonl") == "gs://bucket/a[1]/*.jsonl"
