"""What `make demo` says about the machine and the disk, and what `make clean` removes.

    python3.11 scripts/housekeeping.py gpu              # say so if there is a GPU, which the demo does not use
    python3.11 scripts/housekeeping.py disk [VENV]      # what lies on the disk now
    python3.11 scripts/housekeeping.py clean [VENV]     # remove it

Standard library only, as the set-up.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from setup_env import ROOMS, ROOT, empty, is_ours, lock_path, only_one, place_of, real, tree_gb

# What the demo, the tests and the tools leave in the checkout, beside the environment. A user's own outputs/ is not among it.
MADE = (".cache", "examples/outputs", "dist")
CACHES = (".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".import_linter_cache")
SOURCES = ("versatune", *ROOMS, "tests", "scripts", "examples", "benchmarks", "deploy", "docs")
GPU = """\
This machine has an NVIDIA GPU ({gpu}); the demo runs on the CPU. To use the GPU, in an environment of its own:
  python3.11 -m venv .venv-gpu
  .venv-gpu/bin/pip install --no-deps --require-hashes -r requirements/gpu.txt
  .venv-gpu/bin/pip install --no-deps .
  .venv-gpu/bin/versatune run examples/quickstart.yaml --set name=quickstart-gpu"""


def main(task: str = "", *words: str) -> None:
    """Say or do one of the three."""
    venv = place_of(list(words))
    tasks = {"gpu": lambda: about_gpu(find_gpu()), "disk": lambda: disk(venv, ROOT), "clean": lambda: clean(venv, ROOT)}
    if task not in tasks:
        sys.exit(f"housekeeping: '{task}' is not one of {', '.join(tasks)}")
    said = tasks[task]()
    if said:
        print(said, file=sys.stderr)


def find_gpu(devices: Path = Path("/dev")) -> str:
    """The first sign of an NVIDIA GPU, or nothing; told by names alone, because no library that could ask is installed yet."""
    found = [str(device) for device in sorted(devices.glob("nvidia[0-9]*"))]
    return found[0] if found else shutil.which("nvidia-smi") or ""


def about_gpu(gpu: str) -> str:
    """What to say about a GPU that was found, or nothing."""
    return GPU.format(gpu=gpu) if gpu else ""


def disk(venv: Path, root: Path) -> str:
    """What lies on the disk after a demo, and how it goes away."""
    places = [path for path in (venv, *(root / name for name in MADE)) if path.exists()]
    sizes = ", ".join(f"{shown(path, root)} {tree_gb(path):.1f} GB" for path in places)
    option = "" if venv == root / ".venv" else f" VENV={venv}"
    return f"On disk: {sizes}. `make clean{option}` removes all of it; pip's own cache of downloads lies elsewhere (docs/install.md)."


def clean(place: Path, root: Path) -> str:
    """Remove what make has made, and a link to the environment that leads nowhere then; say what that was."""
    gone, left, venv = [], "", real(place)
    if is_ours(venv):
        gone.append((venv, remove_environment(venv)))
        if place.is_symlink():
            gone.append((place, remove(place)))
    elif venv.exists():
        left = f"; {venv} is left as it is: set-up has not made it"
    gone += [(path, remove(path)) for path in leftovers(root) if path.exists() or path.is_symlink()]
    names = ", ".join(shown(path, root) for path, _ in gone if path.name != "__pycache__")
    return f"clean: removed {names or 'nothing'} ({sum(size for _, size in gone):.1f} GB){left}"


def remove_environment(venv: Path) -> float:
    """Remove an environment and its lock once nobody works on it; return its size in GB."""
    with only_one(venv):
        size = tree_gb(venv)
        if is_ours(venv):  # another `make clean` may have been faster
            empty(venv)
            shutil.rmtree(venv)
        if not lock_path(venv).stat().st_size:  # poetry.lock of VENV=poetry is not ours
            lock_path(venv).unlink()
    return size


def leftovers(root: Path) -> Iterator[Path]:
    """Where the demo, the tests and the tools write in a checkout; byte code only in folders that are ours."""
    yield from (root / name for name in (*MADE, *CACHES))
    if not (root / ".venv").exists():
        yield root / ".venv.lock"
    for name in SOURCES:
        yield from sorted((root / name).rglob("__pycache__"))


def remove(path: Path) -> float:
    """Remove a folder or a file, of a link only the link; return its size in GB."""
    if path.is_symlink() or path.is_file():
        path.unlink()
        return 0.0
    size = tree_gb(path)
    shutil.rmtree(path)
    return size


def shown(path: Path, root: Path) -> str:
    """A path as short as it can be said."""
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(f"housekeeping: {error}")
