"""The wheel: what it holds, whose its names are, and how little its help page loads."""

from __future__ import annotations

import fnmatch
import importlib.metadata
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ROOMS = sorted(path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name != "versatune")
HEAVY = {"torch", "apache_beam", "transformers", "vllm", "fasttext", "datasets", "matplotlib", "pyarrow.dataset"}
HEAVY |= {"versatune.schemas.config"}  # its models take as long to make as the rest of the help page


@pytest.fixture(scope="module")
def distribution() -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution("versatune")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("versatune is not installed here: `make test` runs this against its wheel")


def in_the_repository() -> set[str]:
    """Every file that versatune's package is made of, by its name in a wheel."""
    folders = {"versatune": ROOT / "versatune", **{f"versatune/{room}": ROOT / room for room in ROOMS}}
    return {
        f"{name}/{path.relative_to(folder)}"
        for name, folder in folders.items()
        for path in folder.rglob("*")  # which does not follow links
        if path.is_file() and path.suffix != ".pyc"
    }


def test_the_distribution_has_one_top_level_name(distribution):
    names = {file.parts[0] for file in distribution.files if not file.parts[0].startswith(("..", "versatune-"))}
    assert names == {"versatune"}
    assert PYPROJECT["tool"]["check-wheel-contents"]["toplevel"] == ["versatune"]
    assert set(importlib.metadata.packages_distributions()["versatune"]) == {"versatune"}


def test_the_wheel_holds_every_file_of_the_rooms_and_nothing_else(distribution):
    installed = {
        file.as_posix() for file in distribution.files if file.parts[0] == "versatune" and file.suffix != ".pyc"
    }
    assert installed == in_the_repository()
    assert "versatune/py.typed" in installed


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel of the checkout, the source distribution, and the wheel made from that."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder, "wheel", "sdist")
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "source", filter="data")
        members = archive.getmembers()
    (source,) = (folder / "source").iterdir()
    build(source, folder / "again", "wheel")
    return folder, members


def build(source, folder, *targets):
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    for target in targets:
        subprocess.run([*command, "-t", target], check=True, capture_output=True, cwd=source)


def names_in(folder):
    (wheel,) = folder.glob("*.whl")
    return sorted(zipfile.ZipFile(wheel).namelist())


def test_a_wheel_from_the_source_distribution_is_that_of_the_checkout(built):
    folder, _ = built
    assert names_in(folder) == names_in(folder / "again")
    assert {name.split("/")[0] for name in names_in(folder)} == {"versatune", "versatune-0.1.0.dist-info"}


def test_the_source_distribution_holds_each_room_once_and_no_link(built):
    _, members = built
    assert len({member.name for member in members}) == len(members)
    assert not [member.name for member in members if member.islnk() or member.issym()]
    tops = {member.name.split("/")[1] for member in members}
    texts = {"CHANGELOG.md", "LICENSE", "NOTICE", "PKG-INFO", "README.md", ".gitignore", "pyproject.toml"}
    assert tops == {"versatune", *texts}


def test_the_files_to_upload_are_what_an_index_takes(built):
    """Metadata is valid and the README renders; nothing forbids the upload."""
    folder, _ = built
    files = [str(file) for file in (*folder.glob("*.whl"), *folder.glob("*.tar.gz"))]
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2
    assert not [line for line in PYPROJECT["project"]["classifiers"] if line.startswith("Private")]


def test_each_room_is_a_link_of_the_package():
    links = {path.name: path.readlink() for path in (ROOT / "versatune").iterdir() if path.is_symlink()}
    assert links == {room: Path("..") / room for room in ROOMS}


def test_every_module_imports_from_an_empty_folder(distribution, tmp_path):
    code = (
        "import importlib, pkgutil, versatune\n"
        "names = [found.name for found in pkgutil.walk_packages(versatune.__path__, 'versatune.')]\n"
        "for name in names:\n    if not name.endswith('.__main__'): importlib.import_module(name)\n"
        "print(len(names))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) == sum(name.endswith(".py") for name in in_the_repository()) - 1


def test_init_files_hold_a_docstring_only():
    """Importing one module never loads another's libraries; versatune's own loads its interface when it is used."""
    for room in ROOMS:
        for init in (ROOT / room).rglob("__init__.py"):
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


@pytest.mark.parametrize("name", ["cpu", "gpu", "worker", "gpu-worker"])
def test_locks_pin_every_package_by_hash_and_name_no_place(name):
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    lines = text.splitlines()
    pinned = [line.split("==")[0].split("[")[0] for line in lines if "==" in line]
    assert len(set(pinned)) == len(pinned) > 100
    assert all(line.endswith(" \\") for line in lines if "==" in line), "a package without a hash"
    assert not [line for line in lines if "://" in line or line.startswith("-")]


def test_the_context_of_the_image_lets_through_what_the_image_is_made_of():
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    needed = ["pyproject.toml", "README.md", "LICENSE", "NOTICE", "deploy/check_image.py", "versatune", *ROOMS]
    needed += [f"requirements/{lock}.txt" for lock in ("worker", "gpu-worker")]
    assert [name for name in needed if not any(fnmatch.fnmatch(name, pattern) for pattern in allowed)] == []


def test_cpu_lock_takes_the_cpu_build_of_torch():
    assert "\ntorch==2.13.0+cpu \\" in (ROOT / "requirements" / "cpu.txt").read_text()
