"""What every benchmark does alike: flags, the machine it ran on, measured child processes, one JSON line."""

from __future__ import annotations

import argparse
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
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Measured:
    """What a child process and its own children took."""

    seconds: float
    """Wall time, start-up included."""
    cpu_seconds: float
    """Processor time of all of them: steadier than wall time where others use the machine too."""
    peak_rss_mb: float
    """Largest sum of resident memory, MB; pages that processes share count in each."""


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


def measure(command: Sequence[str]) -> Measured:
    """Run a command, watching the memory of its process tree; its output goes to standard error.

    Raises:
        SystemExit: the command failed.
    """
    start, cpu_before = time.perf_counter(), _cpu_of_children()
    child = subprocess.Popen(command, cwd=ROOT, stdout=sys.stderr)
    peak, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(_POLL_SECONDS):
            peak[0] = max(peak[0], _tree_rss(child.pid))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    code = child.wait()
    seconds = time.perf_counter() - start
    stop.set()
    watcher.join()
    if code:
        sys.exit(f"benchmark: {' '.join(command)} ended with exit code {code}")
    return Measured(seconds, _cpu_of_children() - cpu_before, peak[0] / 1e6)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _tree_rss(pid: int) -> int:
    total = 0
    try:
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            total += process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0  # some process ended while we looked; the next look counts
    return total


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
