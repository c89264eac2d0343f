"""What every benchmark does alike: flags, the machine it ran on, measured child processes, one JSON line."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
_POLL_SECONDS = 0.25  # a look at a large process takes milliseconds of its time
_ORPHAN_SECONDS = 5.0
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Measured:
    """What a child process and its own children took."""

    seconds: float
    """Wall time, start-up included."""
    cpu_seconds: float
    """Processor time of all of them: steadier than wall time where others use the machine too."""
    peak_rss_mb: float
    """Largest resident memory of the whole process tree, MB; a page that processes share counts once (PSS), on Linux."""


def parser(description: str, *, repeats: int) -> argparse.ArgumentParser:
    """Return a parser with the flags that every benchmark takes."""
    flags = argparse.ArgumentParser(description=description)
    flags.add_argument("--quick", action="store_true", help="small and once: does it run at all?")
    flags.add_argument(
        "--json",
        action="store_true",
        help="one JSON object as the last line on standard output, all else on standard error",
    )
    flags.add_argument(
        "--repeats", type=int, default=repeats, help="runs of each variant; medians are reported (default: %(default)s)"
    )
    flags.add_argument(
        "--save", action="store_true", help="also write the JSON object to benchmarks/results/<date>-<name>.json"
    )
    return flags


def machine() -> dict[str, Any]:
    """Describe the machine."""
    try:
        names = [
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
    except OSError:
        names = []
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def measure(command: Sequence[str], *, env: Mapping[str, str] | None = None) -> Measured:
    """Run a command, watching the memory of its process tree; its output goes to standard error.

    Args:
        command: program and arguments.
        env: variables added to this process's own.

    Raises:
        SystemExit: the command failed.
    """
    _adopt_orphans()
    start, cpu_before = time.perf_counter(), _cpu_of_children()
    child = subprocess.Popen(command, cwd=ROOT, stdout=sys.stderr, env={**os.environ, **(env or {})})
    peak, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(_POLL_SECONDS):
            peak[0] = max(peak[0], tree_memory(child.pid))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    code = child.wait()
    seconds = time.perf_counter() - start
    stop.set()
    watcher.join()
    if code:
        sys.exit(f"benchmark: {' '.join(command)} ended with exit code {code}")
    _await_orphans()
    return Measured(seconds, _cpu_of_children() - cpu_before, peak[0] / 1e6)


def _adopt_orphans() -> None:
    """Become the parent of helpers that outlive the command (a fork server, say): else their processor time is lost."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _await_orphans() -> None:
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.02)
        except ChildProcessError:
            return


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def tree_memory(pid: int) -> int:
    """Return the resident bytes of a process and its descendants, each shared page counted once (where the system can tell)."""
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(map(_memory, tree))


def _memory(process: psutil.Process) -> int:
    """Return a process's share of resident memory (PSS: a page that n processes share counts 1/n in each), or RSS without /proc."""
    try:
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
        return 0 if sys.platform == "linux" else int(process.memory_info().rss)
    except (OSError, psutil.Error):  # it has ended
        return 0


def report(name: str, result: Mapping[str, Any], arguments: argparse.Namespace) -> None:
    """Print the figures, save them if asked to, and give programs their JSON line."""
    for key, value in result.items():
        print(f"{key:24} {value}", file=sys.stderr if arguments.json else sys.stdout)
    line = json.dumps({"name": name, **result})
    if arguments.save:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-{name}.json").write_text(
            json.dumps({"name": name, **result}, indent=2) + "\n"
        )
    if arguments.json:
        print(line)
