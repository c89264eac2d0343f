"""Files and directories are whole or absent."""

from pathlib import Path

import pytest

from versatune.schemas.files import atomic_directory, canonical_json, sha256_bytes, sha256_file, write_atomic


def test_canonical_json_does_not_depend_on_key_order() -> None:
    assert (
        canonical_json({"b": 1, "a": [0.1, None]})
        == canonical_json({"a": [0.1, None], "b": 1})
        == b'{"a":[0.1,null],"b":1}'
    )


def test_a_written_file_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "f"
    write_atomic(file, b"one")
    write_atomic(file, b"two")
    assert file.read_bytes() == b"two"
    assert sha256_file(file) == sha256_bytes(b"two")
    assert [entry.name for entry in file.parent.iterdir()] == ["f"]


def test_a_directory_appears_only_when_its_block_succeeds(tmp_path: Path) -> None:
    target = tmp_path / "d"
    with pytest.raises(RuntimeError), atomic_directory(target) as partial:
        (partial / "x").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with atomic_directory(target) as partial:
        (partial / "x").write_text("whole")
    assert [(entry.name, (entry / "x").read_text()) for entry in tmp_path.iterdir()] == [("d", "whole")]


def test_leftovers_of_a_killed_run_are_swept(tmp_path: Path) -> None:
    (tmp_path / ".d.0badf00d.partial").mkdir()
    with atomic_directory(tmp_path / "d"):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["d"]
