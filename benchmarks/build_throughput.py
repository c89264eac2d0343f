"""How fast is `versatune build`, and how much memory does it take, beside the least that any build could do and beside other libraries?

    python benchmarks/build_throughput.py              # 1,000,000 synthetic rows, about a quarter of an hour
    python benchmarks/build_throughput.py --quick      # 20,000 rows, once
    python benchmarks/build_throughput.py --scaling    # also 100,000 and 200,000 rows: does a row's cost grow with their number?

One run makes the rows (about 1.2 KB of JSON each, 8 % of them exact duplicates, in 8 JSONL.gz files) and times, in turn, each as a process of its own
with its start-up, on the same number of processes:

    build       `versatune build` without a tokenizer, all else as it is by default
    ceiling     the bare pyarrow and fastText loop of support/build_ceiling.py
    dense_ceiling   the same with the classifier made dense when it is loaded, which is half of what makes the build fast
    datatrove   its local executor, a document at a time (support/build_datatrove.py)
    datatrove_batched   the same with documents classified thousands at a time
    datasets    load_dataset, map and to_parquet (support/build_datasets.py)

Only the build drops duplicates, divides the rows, orders them and keeps books. Medians are reported; ratios are the other's seconds by the build's.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.support.common import Measured, machine, measure, parser, report, versions
from benchmarks.support.peers import PINS, peers_python
from benchmarks.support.synthetic import make_rows

SUPPORT = Path(__file__).with_name("support")
SCALES = (100_000, 200_000, 1_000_000)
QUICK = 50  # by which --quick divides every number of rows

Runs = Mapping[str, list[Measured]]
System = Callable[[Path, Path], Measured]
"""Times one run: from the folder of raw files to an output folder."""


def build_system(workers: int, digests: set[str]) -> System:
    """Return what times `versatune build`, and notes the digest of what it wrote."""

    def run(raw: Path, output: Path) -> Measured:
        config = {
            "name": "bench",
            "output": str(output),
            "sources": [{"name": "synthetic", "files": [str(raw / "*.jsonl.gz")], "license": "CC0-1.0"}],
            "build": {"tokenize": False, "workers": workers},
        }
        output.mkdir()
        file = output / "bench.json"
        file.write_text(json.dumps(config))
        taken = measure([sys.executable, "-m", "versatune", "build", str(file), "--json"])
        digests.add(f"{raw.name}-{json.loads((output / 'bench' / 'latest.json').read_text())['digest']}")
        return taken

    return run


def script_system(python: str, script: str, workers: int, *more: str) -> System:
    """Return what times one of the scripts in support/, without a network and with its caches beside its output."""

    def run(raw: Path, output: Path) -> Measured:
        caches = f"{output}-cache"
        offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": caches, "HF_DATASETS_CACHE": caches}
        quiet = {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "DATATROVE_COLORIZE_LOGS": "0"}
        command = [python, str(SUPPORT / script), str(raw), str(output), "--workers", str(workers), *more]
        return measure(command, env=offline | quiet)

    return run


def time_in_turn(systems: Mapping[str, System], raw: Path, work: Path, repeats: int) -> dict[str, list[Measured]]:
    """Run every system once, then again; whatever slows the machine down for a while hits all of them."""
    runs = defaultdict(list)
    for repeat in range(repeats):
        for name, system in systems.items():
            output = work / f"{name}-{repeat}"
            runs[name].append(system(raw, output))
            print(f"{name}: {runs[name][-1].seconds:.1f} s", file=sys.stderr)
            for left in (output, Path(f"{output}-cache")):
                shutil.rmtree(left, ignore_errors=True)
    return dict(runs)


def median(runs: list[Measured], figure: str) -> float:
    """Return the median of one figure."""
    return float(statistics.median(getattr(taken, figure) for taken in runs))


def figures(rows: int, runs: Runs) -> dict[str, Any]:
    """Put the results of one number of rows together."""
    seconds = {name: median(taken, "seconds") for name, taken in runs.items()}
    cpu = {name: median(taken, "cpu_seconds") for name, taken in runs.items()}
    memory = {name: median(taken, "peak_rss_mb") for name, taken in runs.items()}
    found: dict[str, Any] = {
        "seconds": {name: [round(one.seconds, 2) for one in taken] for name, taken in runs.items()},
        "cpu_seconds": {name: [round(one.cpu_seconds, 2) for one in taken] for name, taken in runs.items()},
        "rows_per_s": {name: round(rows / value) for name, value in seconds.items()},
        "peak_rss_mb": {name: round(value) for name, value in memory.items()},
    }
    for name in (name for name in runs if name != "build"):
        key = "datasets_map" if name == "datasets" else name
        found[f"ratio_to_{key}"] = round(seconds[name] / seconds["build"], 3)
        found[f"cpu_ratio_to_{key}"] = round(cpu[name] / cpu["build"], 3)
        found[f"memory_ratio_to_{key}"] = round(memory["build"] / memory[name], 3)
    return found


def scaling(runs: Mapping[int, list[Measured]]) -> dict[str, Any]:
    """Compare the build with itself at other numbers of rows: throughput from the smallest to the largest, memory from the middle one."""
    small, middle, large = sorted(runs)
    per_s = {rows: rows / median(taken, "seconds") for rows, taken in runs.items()}
    memory = {rows: median(taken, "peak_rss_mb") for rows, taken in runs.items()}
    return {
        "scaling_rows_per_s": {str(rows): round(value) for rows, value in per_s.items()},
        "scaling_peak_rss_mb": {str(rows): round(value) for rows, value in memory.items()},
        "per_row_ratio": round(per_s[large] / per_s[small], 3),
        "peak_rss_ratio": round(memory[large] / memory[middle], 3),
    }


def time_scaling(build: System, work: Path, repeats: int, divisor: int) -> dict[int, list[Measured]]:
    """Time the build alone at each number of rows, in turn."""
    runs = defaultdict(list)
    for rows in (scale // divisor for scale in SCALES):
        make_rows(work / f"raw-{rows}", rows)
    for repeat in range(repeats):
        for rows in (scale // divisor for scale in SCALES):
            output = work / f"scale-{rows}-{repeat}"
            runs[rows].append(build(work / f"raw-{rows}", output))
            shutil.rmtree(output)
    return dict(runs)


def main() -> None:
    """Make rows, time everything, report."""
    flags = parser(__doc__ or "", repeats=3)
    flags.add_argument("--rows", type=int, help="rows to make (default: 1,000,000; with --quick 20,000)")
    flags.add_argument("--workers", type=int, help="processes of every system (default: one per core, at least 2)")
    flags.add_argument("--scaling", action="store_true", help="also time the build alone at three numbers of rows")
    flags.add_argument("--without-peers", action="store_true", help="leave datatrove and datasets out")
    flags.add_argument("--peers-venv", type=Path, help="environment of the other libraries; made if it is not there")
    arguments = flags.parse_args()
    rows = arguments.rows or (1_000_000 // QUICK if arguments.quick else 1_000_000)
    repeats = 1 if arguments.quick else arguments.repeats
    host = machine()
    workers = arguments.workers or max(2, host["cores"])
    digests: set[str] = set()
    systems = {
        "ceiling": script_system(sys.executable, "build_ceiling.py", workers),
        "dense_ceiling": script_system(sys.executable, "build_ceiling.py", workers, "--dense"),
        "build": build_system(workers, digests),
    }
    if not arguments.without_peers:
        python = peers_python(arguments.peers_venv)
        systems["datatrove"] = script_system(python, "build_datatrove.py", workers)
        systems["datatrove_batched"] = script_system(python, "build_datatrove.py", workers, "--batched")
        systems["datasets"] = script_system(python, "build_datasets.py", workers)
    with tempfile.TemporaryDirectory(prefix="versatune-bench-") as name:
        work = Path(name)
        json_bytes = make_rows(work / "raw", rows)
        result = figures(rows, time_in_turn(systems, work / "raw", work, repeats))
        if arguments.scaling:
            grown = time_scaling(systems["build"], work, repeats, QUICK if arguments.quick else 1)
            result |= scaling(grown)
    about = {
        "machine": host,
        "versions": versions("versatune", "apache-beam", "pyarrow", "fasttext-numpy2", "numpy", "orjson", "datasets"),
        "peers": [] if arguments.without_peers else list(PINS),
        "rows": rows,
        "json_mb": round(json_bytes / 1e6, 1),
        "workers": workers,
        "repeats": repeats,
    }
    same = len(digests) == (1 + len(SCALES) if arguments.scaling else 1)
    report("build_throughput", about | result | {"same_digest": same}, arguments)


if __name__ == "__main__":
    main()
