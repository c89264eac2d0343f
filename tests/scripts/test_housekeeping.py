"""What make says of the machine and of the disk, and what `make clean` removes."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def housekeeping(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("housekeeping")


@pytest.fixture
def checkout(tmp_path):
    """A checkout after everything was run in it, with a user's own files beside."""
    root = tmp_path / "checkout"
    for name in (
        *(".venv/pyvenv.cfg", ".venv/versatune-lock.sha256", ".venv/bin/python", ".venv.lock"),
        *(
            ".cache/models/a",
            "examples/outputs/quickstart/b",
            "dist/c.whl",
            ".ruff_cache/d",
            "mixing/__pycache__/e.pyc",
        ),
        *("outputs/mine/manifest.json", "examples/mine.yaml", "mine/__pycache__/e.pyc", "mixing/drift.py"),
        *(".venv-gpu/pyvenv.cfg", ".git/config"),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("" if name == ".venv.lock" else name)
    return root


def files(root):
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


KEPT = {
    *("outputs/mine/manifest.json", "examples/mine.yaml", "mine/__pycache__/e.pyc", "mixing/drift.py"),
    *(".venv-gpu/pyvenv.cfg", ".git/config"),
}


def test_clean_removes_what_make_has_made_and_nothing_else(checkout, housekeeping):
    said = housekeeping.clean(checkout / ".venv", checkout)
    assert files(checkout) == KEPT
    assert said.startswith("clean: removed .venv, .cache, examples/outputs, dist, .ruff_cache (")
    assert housekeeping.clean(checkout / ".venv", checkout) == "clean: removed nothing (0.0 GB)"


def test_clean_removes_an_environment_elsewhere_if_the_set_up_made_it(checkout, tmp_path, housekeeping):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for home in (ours, theirs):
        home.mkdir()
        (home / "pyvenv.cfg").touch()
    (ours / "versatune-lock.sha256").touch()
    (theirs / "versatune-notes.txt").touch()
    housekeeping.clean(ours, checkout)
    said = housekeeping.clean(theirs, checkout)
    assert not ours.exists()
    assert (theirs / "pyvenv.cfg").exists()
    assert f"{theirs} is left as it is" in said
    assert {path.name for path in tmp_path.iterdir()} == {"checkout", "theirs"}
    assert (checkout / ".venv" / "pyvenv.cfg").exists()


def test_clean_leaves_a_users_own_environment_in_the_checkout(checkout, housekeeping):
    (checkout / ".venv" / "versatune-lock.sha256").unlink()
    said = housekeeping.clean(checkout / ".venv", checkout)
    assert files(checkout) == KEPT | {".venv/pyvenv.cfg", ".venv/bin/python", ".venv.lock"}
    assert said.endswith(f"; {checkout}/.venv is left as it is: set-up has not made it")


def test_clean_removes_an_environment_behind_a_link_and_the_link(checkout, tmp_path, housekeeping):
    (tmp_path / "disk").mkdir()
    (checkout / ".venv").rename(tmp_path / "disk" / "environment")
    (checkout / ".venv").symlink_to(tmp_path / "disk" / "environment")
    said = housekeeping.clean(checkout / ".venv", checkout)
    assert said.startswith(f"clean: removed {tmp_path}/disk/environment, .venv, .cache,")
    assert files(checkout) == KEPT
    assert not (checkout / ".venv").is_symlink()
    assert not list((tmp_path / "disk").iterdir())


def test_clean_leaves_a_link_to_what_the_set_up_has_not_made(checkout, tmp_path, housekeeping):
    (tmp_path / "mine").mkdir()
    (checkout / "link").symlink_to(tmp_path / "mine")
    said = housekeeping.clean(checkout / "link", checkout)
    assert f"{tmp_path}/mine is left as it is" in said
    assert (checkout / "link").exists()


def test_clean_leaves_a_users_file_where_the_lock_would_lie(checkout, tmp_path, housekeeping):
    (tmp_path / "poetry").mkdir()
    (tmp_path / "poetry" / "versatune-lock.sha256").touch()
    (tmp_path / "poetry.lock").write_text("of the user")
    housekeeping.clean(tmp_path / "poetry", checkout)
    assert {path.name for path in tmp_path.iterdir()} == {"checkout", "poetry.lock"}


def test_clean_does_not_follow_a_link_out_of_the_checkout(checkout, tmp_path, housekeeping):
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "model").touch()
    (checkout / ".hypothesis").symlink_to(tmp_path / "large")
    housekeeping.clean(checkout / ".venv", checkout)
    assert not (checkout / ".hypothesis").is_symlink()
    assert (tmp_path / "large" / "model").exists()


def test_disk_names_the_folders_with_their_sizes_and_the_command_that_removes_them(checkout, tmp_path, housekeeping):
    (checkout / ".cache" / "models" / "weights").write_bytes(b"0" * 200_000_000)
    said = housekeeping.disk(checkout / ".venv", checkout)
    assert said.startswith(
        "On disk: .venv 0.0 GB, .cache 0.2 GB, examples/outputs 0.0 GB, dist 0.0 GB. `make clean` removes"
    )
    (tmp_path / "elsewhere").mkdir()
    assert f"`make clean VENV={tmp_path}/elsewhere`" in housekeeping.disk(tmp_path / "elsewhere", checkout)


def test_gpu_is_told_by_its_device_or_by_nvidias_command(tmp_path, housekeeping, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert housekeeping.find_gpu(tmp_path) == ""
    assert housekeeping.about_gpu("") == ""
    (tmp_path / "nvidia-smi").touch(mode=0o755)
    assert housekeeping.find_gpu(tmp_path) == str(tmp_path / "nvidia-smi")
    (tmp_path / "nvidiactl").touch()
    (tmp_path / "nvidia3").touch()
    assert housekeeping.find_gpu(tmp_path) == str(tmp_path / "nvidia3")


def test_words_about_a_gpu_name_it_and_files_that_exist(housekeeping):
    said = housekeeping.about_gpu("/dev/nvidia0")
    assert "(/dev/nvidia0); the demo runs on the CPU" in said
    assert (ROOT / "requirements" / "gpu.txt").is_file()
    assert "-r requirements/gpu.txt" in said
    assert (ROOT / "examples" / "quickstart.yaml").is_file()
    assert "run examples/quickstart.yaml" in said


def make(root, *arguments):
    """Run make, in a folder that is its own home."""
    if not shutil.which("make"):
        pytest.skip("no make here")
    environment = os.environ | {"HOME": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    command = ["make", f"PYTHON={sys.executable}", *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_make_without_python_says_what_to_install():
    done = make(ROOT, "setup", "PYTHON=/no/such/python")
    assert done.returncode
    assert "no /no/such/python here" in done.stderr
    assert "apt install python3.11 python3.11-venv" in done.stderr


@pytest.fixture
def copied(checkout):
    """The checkout with the real Makefile and scripts."""
    shutil.copy(ROOT / "Makefile", checkout)
    (checkout / "scripts").mkdir()
    for name in ("setup_env.py", "housekeeping.py"):
        shutil.copy(ROOT / "scripts" / name, checkout / "scripts")
    (checkout / "circle").symlink_to("circle")
    return checkout


@pytest.mark.parametrize(
    ("value", "tasks", "message"),
    [
        ("my env", ("setup", "clean"), "VENV='my env': name a folder by letters"),
        ("", ("setup", "clean"), "VENV='': name a folder by letters"),
        ("it's", ("setup", "clean"), "VENV='it's': name a folder by letters"),
        ("a=b", ("setup", "clean"), "VENV='a=b': name a folder by letters"),
        ("-x", ("setup", "clean"), "VENV='-x': name a folder by letters"),
        ("/", ("setup", "clean"), "VENV='/' means /, which is or holds your home"),
        (".", ("setup", "clean"), "VENV='.' means {root}, which is or holds your home"),
        ("..", ("setup", "clean"), "VENV='..' means {root.parent}, which is or holds your home"),
        ("~", ("setup", "clean"), "VENV='~' means {root}, which is or holds your home"),
        ("examples/mine.yaml", ("setup",), "set-up: {root}/examples/mine.yaml cannot be made"),
        ("examples/mine.yaml/in", ("setup",), "{root}/examples/mine.yaml is no folder"),
        ("circle", ("setup",), "{root}/circle is no folder"),
        ("outputs", ("setup",), "set-up: {root}/outputs is there already, and set-up has not made it"),
    ],
)
def test_place_where_no_environment_can_be_is_refused_in_one_line_and_nothing_is_made_or_removed(
    copied, value, tasks, message
):
    before = sorted(copied.parent.rglob("*"))
    for task in tasks:
        done = make(copied, task, f"VENV={value}")
        assert done.returncode
        said, _ = done.stderr.splitlines()  # the other line is make's own
        assert message.format(root=copied) in said
        assert sorted(copied.parent.rglob("*")) == before


@pytest.mark.parametrize("value", ["examples/mine.yaml", "circle", "nowhere"])
def test_clean_without_an_environment_removes_the_rest(copied, value):
    done = make(copied, "clean", f"VENV={value}")
    assert done.returncode == 0, done.stderr
    assert "clean: removed .cache, examples/outputs, dist, .ruff_cache (" in done.stderr
    assert (copied / "examples" / "mine.yaml").exists()
