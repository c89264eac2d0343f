"""What does a large build cost: rows a second, memory, opened files; and what do the commands cost that read a manifest of 100,000 shards?

    python benchmarks/scale.py                          # builds 200,000 synthetic rows
    python benchmarks/scale.py --rows 5000000 --kill    # more, killed once when half of it is read, and resumed
    python benchmarks/scale.py --exchange shuffle       # rows through the engine's shuffle
    python benchmarks/scale.py --merge                  # fragments are merged into runs, however few they are
    python benchmarks/scale.py --manifests              # mix, ls, diff and verify on two versions of 100,000 shards each
    python benchmarks/scale.py --plan                   # the plan of a billion rows, through the local engine

Rows are those of build_throughput.py. Opens are those of files below the staging directory, by folder: what the second half of a build reads.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.support.common import ROOT, Measured, machine, measure, parser, report, tree_memory, versions
from benchmarks.support.synthetic import make_rows

SUPPORT = Path(__file__).with_name("support")
BATCH_ROWS = 4096
BILLION = 244_141
_POLL_SECONDS = 0.2


def write_config(work: Path, raw: Path, **build: Any) -> Path:
    """Configure a build without a tokenizer."""
    file = work / "scale.json"
    sources = [{"name": "synthetic", "files": [str(raw / "*.jsonl.gz")], "license": "CC0-1.0"}]
    config = {"name": "scale", "output": str(work / "out"), "sources": sources, "build": {"tokenize": False, **build}}
    file.write_text(json.dumps(config | {"mix": {"policy": "uniform", "unit": "rows", "budget": 1000}}))
    return file


def killed_halfway(command: list[str], env: dict[str, str], fragments: int, home: Path) -> Measured:
    """Run a build until half of its fragments are there, then kill all of its processes."""
    start, peak = time.perf_counter(), 0
    child = subprocess.Popen(command, cwd=ROOT, stdout=sys.stderr, env={**os.environ, **env}, start_new_session=True)
    while child.poll() is None and sum(1 for _ in home.glob(".staging-*/fragments/*.json")) < fragments // 2:
        peak = max(peak, tree_memory(child.pid))
        time.sleep(_POLL_SECONDS)
    if child.poll() is not None:
        sys.exit("benchmark: the build ended before it could be killed")
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    return Measured(time.perf_counter() - start, 0.0, peak / 1e6)


def time_build(work: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Build, killed in the middle if asked to, and say what it took."""
    json_bytes = make_rows(work / "raw", arguments.rows)
    file = write_config(
        work, work / "raw", exchange=arguments.exchange, workers=1 if arguments.merge else arguments.workers
    )
    counted = work / "opens"
    env = {"PYTHONPATH": os.pathsep.join([str(SUPPORT / "count_opens"), str(ROOT)]), "COUNT_OPENS": str(counted)}
    command = [sys.executable, "-m", "versatune", "build", str(file), "--json"]
    if arguments.merge:
        merging = "from versatune.transforms.shards import plan_shards as p; p._MERGED_FROM = 0; p.RUNS = 4"
        command[1:3] = ["-c", f"{merging}; from versatune.cli.app import main; main()"]
    runs = []
    if arguments.kill:
        runs.append(killed_halfway(command, env, arguments.rows // BATCH_ROWS, work / "out" / "scale"))
    runs.append(measure(command, env=env))
    pointer = json.loads((work / "out" / "scale" / "latest.json").read_text())
    manifest = json.loads((work / "out" / "scale" / pointer["path"]).read_bytes())
    seconds = sum(run.seconds for run in runs)
    opens = Counter(counted.read_text().splitlines())
    return {
        "rows": arguments.rows,
        "json_mb": round(json_bytes / 1e6, 1),
        "seconds": [round(run.seconds, 1) for run in runs],
        "rows_per_s": round(arguments.rows / seconds),
        "cpu_seconds": round(runs[-1].cpu_seconds, 1),
        "peak_rss_mb": round(max(run.peak_rss_mb for run in runs)),
        "opens": sum(opens.values()),
        "opens_by_kind": dict(sorted(opens.items())),
        "shards": len(manifest["shards"]),
        "digest": pointer["digest"],
    }


def time_manifests(work: Path, shards: int) -> dict[str, Any]:
    """Time the commands that work on manifests alone, each a process of its own."""
    from benchmarks.support.synthetic_version import make_version
    from versatune.schemas.dataset import DatasetManifest

    make_rows(work / "raw", 2000)
    file = write_config(work, work / "raw", validation_fraction=0.0)
    measure([sys.executable, "-m", "versatune", "build", str(file)])
    home = work / "out" / "scale"
    pattern = DatasetManifest.load(home / json.loads((home / "latest.json").read_text())["path"])
    one, other = (
        make_version(pattern, home, name, shards, source) for name, source in (("1.0", "one"), ("1.1", "other"))
    )
    commands = {
        "mix": ["mix", str(file)],
        "ls": ["ls", str(home)],
        "diff": ["diff", str(one.parent), str(other.parent)],
        "verify": ["verify", str(other.parent)],
    }
    taken = {name: measure([sys.executable, "-m", "versatune", *command]) for name, command in commands.items()}
    return {
        "shards": shards,
        "manifest_bytes_per_shard": round(other.stat().st_size / shards),
        "seconds": {name: round(run.seconds, 1) for name, run in taken.items()},
        "cpu_seconds": {name: round(run.cpu_seconds, 1) for name, run in taken.items()},
        "peak_rss_mb": {name: round(run.peak_rss_mb) for name, run in taken.items()},
    }


def time_plan(work: Path, fragments: int) -> dict[str, Any]:
    """Plan so many synthetic fragments through the local engine."""
    taken = measure([sys.executable, str(SUPPORT / "plan_only.py"), str(fragments), str(work)])
    (plan,) = work.glob("plan-*.arrow")
    return {
        "fragments": fragments,
        "seconds": round(taken.seconds, 1),
        "cpu_seconds": round(taken.cpu_seconds, 1),
        "peak_rss_mb": round(taken.peak_rss_mb),
        "plan_bytes_per_fragment": round(plan.stat().st_size / fragments, 1),
    }


def main() -> None:
    """Measure what is asked for, report."""
    flags = parser(__doc__ or "", repeats=1)
    flags.add_argument("--rows", type=int, default=200_000, help="rows to build (default: %(default)s)")
    flags.add_argument("--kill", action="store_true", help="kill the build when half of it is read, and resume it")
    flags.add_argument("--workers", type=int, default=0, help="processes of the build (default: as the build chooses)")
    flags.add_argument("--exchange", choices=("auto", "files", "shuffle"), default="auto")
    flags.add_argument(
        "--merge", action="store_true", help="merge fragments into 4 runs, however few they are; one worker"
    )
    flags.add_argument("--manifests", nargs="?", type=int, const=100_000, help="commands on so many shards (100,000)")
    flags.add_argument("--plan", nargs="?", type=int, const=BILLION, help="plan so many fragments (a billion rows)")
    arguments = flags.parse_args()
    if arguments.quick:
        arguments.rows = 20_000
    host = machine()
    with tempfile.TemporaryDirectory(prefix="versatune-bench-") as name:
        work = Path(name)
        if arguments.manifests:
            result = time_manifests(work, arguments.manifests)
        elif arguments.plan:
            result = time_plan(work, arguments.plan)
        else:
            result = time_build(work, arguments)
    about = {"machine": host, "versions": versions("versatune", "apache-beam", "pyarrow", "numpy")}
    report("scale", about | result, arguments)


if __name__ == "__main__":
    main()
