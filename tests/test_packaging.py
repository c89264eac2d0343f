"""The wheel: what it holds, whose its names are, and how little its help page loads."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
HEAVY = {"torch", "apache_beam", "transformers", "vllm", "fasttext", "datasets", "matplotlib", "pyarrow.dataset"}


@pytest.fixture(scope="module")
def distribution() -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution("versatune")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("versatune is not installed here: `make test` runs this against its wheel")


@pytest.mark.parametrize("name", PACKAGES)
def test_each_top_level_name_has_one_owner(name, distribution):
    assert set(importlib.metadata.packages_distributions()[name]) == {distribution.name}


def test_wheel_holds_every_file_of_the_packages_and_nothing_else(distribution):
    installed = {file.as_posix() for file in distribution.files if file.parts[0] in PACKAGES and file.suffix != ".pyc"}
    sources = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert installed == sources


def test_wheel_has_no_other_top_level_name(distribution):
    names = {file.parts[0] for file in distribution.files if not file.parts[0].startswith(("..", "versatune-"))}
    assert names == set(PACKAGES)


def test_wheel_refuses_to_be_uploaded(distribution):
    assert "Private :: Do Not Upload" in distribution.metadata.get_all("Classifier")


def test_lists_of_packages_agree():
    assert PYPROJECT["tool"]["check-wheel-contents"]["toplevel"] == PACKAGES
    assert PYPROJECT["tool"]["importlinter"]["root_packages"] == PACKAGES
    assert PYPROJECT["tool"]["mypy"]["packages"] == PACKAGES


def test_init_files_hold_a_docstring_only():
    for package in PACKAGES:
        for init in (ROOT / package).rglob("__init__.py"):
            assert init.read_text().strip().count("\n") == 0, init


def test_no_init_file_under_tests():
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_help_loads_no_heavy_library():
    code = (
        "import sys\n"
        "from versatune.cli.app import main\n"
        "sys.argv = ['versatune', '--help']\n"
        "try:\n    main()\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        f"print('heavy:', *sorted({HEAVY!r} & set(sys.modules)))\n"
    )
    # -P keeps the working directory off the path, so that `make test` looks at the wheel; elsewhere the checkout is named.
    env_path = next(path for path in sys.path if (Path(path) / "versatune").is_dir())
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {env_path!r})\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy:"


@pytest.mark.parametrize("name", ["cpu", "gpu", "worker"])
def test_locks_pin_every_package_by_hash_and_name_no_place(name):
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    lines = text.splitlines()
    pinned = [line.split("==")[0].split("[")[0] for line in lines if "==" in line]
    assert len(set(pinned)) == len(pinned) > 100
    assert all(line.endswith(" \\") for line in lines if "==" in line), "a package without a hash"
    assert not [line for line in lines if "://" in line or line.startswith("-")]


def test_cpu_lock_takes_the_cpu_build_of_torch():
    assert "\ntorch==2.13.0+cpu \\" in (ROOT / "requirements" / "cpu.txt").read_text()
