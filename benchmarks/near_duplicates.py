"""What does it cost to find near-duplicates, and how many are found, beside datatrove and datasketch on the same rows?

    python benchmarks/near_duplicates.py            # 100,000 texts of about 170 words, several minutes
    python benchmarks/near_duplicates.py --quick    # 5,000 texts, once

A tenth of the texts are edited copies of others, with exact Jaccard similarities of word 5-grams from 0.55 to 1. Each system is a process of its own on
one core, and times itself from texts in memory to the list of rows that go: signatures, bands, clusters. All have 126 or 128 hashes in 18 bands of 7; a
pair counts as found if one of its rows goes. Only versatune compares the signatures of what meets in a band, so only its recall falls off below 0.8:
the others drop what happens to meet.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.support.common import Measured, machine, measure, parser, report, versions
from benchmarks.support.peers import PINS, peers_python
from benchmarks.support.planted import Pair, make_planted, read_pairs

SUPPORT = Path(__file__).with_name("support")
ROWS, QUICK_ROWS = 100_000, 5_000
THRESHOLD = 0.8
EDGES = (0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.01)


class Run(NamedTuple):
    """One run of one system."""

    seconds: float
    """From texts in memory to the rows that go."""
    cpu_seconds: float
    process: Measured
    removed: frozenset[int]


def time_in_turn(pythons: Mapping[str, str], rows: Path, work: Path, repeats: int) -> dict[str, list[Run]]:
    """Run every system once, then again; whatever slows the machine down for a while hits all of them."""
    runs = defaultdict(list)
    for repeat in range(repeats):
        for name, python in pythons.items():
            output = work / f"{name}-{repeat}"
            threads = {"OMP_NUM_THREADS": "1", "DATATROVE_COLORIZE_LOGS": "0"}
            process = measure([python, str(SUPPORT / f"near_{name}.py"), str(rows), str(output)], env=threads)
            result = json.loads((output / "result.json").read_text())
            runs[name].append(Run(result["seconds"], result["cpu_seconds"], process, frozenset(result["removed"])))
            print(f"{name}: {result['seconds']:.1f} s", file=sys.stderr)
    return dict(runs)


def recall_curve(pairs: Sequence[Pair], removed: frozenset[int]) -> dict[str, float | None]:
    """Return the share of pairs that were found, by their exact similarity."""
    curve: dict[str, float | None] = {}
    for low, high in pairwise(EDGES):
        here = [pair for pair in pairs if low <= pair.similarity < high]
        found = sum(is_found(pair, removed) for pair in here)
        curve[f"{low:.2f}"] = round(found / len(here), 3) if here else None
    return curve


def is_found(pair: Pair, removed: frozenset[int]) -> bool:
    """Say whether one of two rows goes."""
    return pair.original in removed or pair.copy in removed


def figures(runs: Mapping[str, Sequence[Run]], pairs: Sequence[Pair], rows: int) -> dict[str, Any]:
    """Put the results together; medians over the repeats."""
    seconds = {name: statistics.median(run.seconds for run in taken) for name, taken in runs.items()}
    cpu = {name: statistics.median(run.cpu_seconds for run in taken) for name, taken in runs.items()}
    memory = {name: statistics.median(run.process.peak_rss_mb for run in taken) for name, taken in runs.items()}
    similar = [pair for pair in pairs if pair.similarity >= THRESHOLD]
    result: dict[str, Any] = {
        "us_per_row": {name: round(value / rows * 1e6, 1) for name, value in seconds.items()},
        "cpu_us_per_row": {name: round(value / rows * 1e6, 1) for name, value in cpu.items()},
        "peak_rss_mb": {name: round(value) for name, value in memory.items()},
    }
    for name in runs:
        if name != "versatune":
            result[f"ratio_to_{name}"] = round(seconds[name] / seconds["versatune"], 2)
            result[f"cpu_ratio_to_{name}"] = round(cpu[name] / cpu["versatune"], 2)
    removed = {name: taken[0].removed for name, taken in runs.items()}
    return result | {
        "same_result_every_time": all(len({run.removed for run in taken}) == 1 for taken in runs.values()),
        "planted": len(pairs),
        "planted_at_threshold": len(similar),
        "duplicates_found": {name: len(rows_gone) for name, rows_gone in removed.items()},
        "recall_at_threshold": {
            name: round(sum(is_found(pair, gone) for pair in similar) / len(similar), 4)
            for name, gone in removed.items()
        },
        "recall_curve": {name: recall_curve(pairs, gone) for name, gone in removed.items()},
    }


def main() -> None:
    """Make texts, time everything, report."""
    flags = parser(__doc__ or "", repeats=3)
    flags.add_argument("--rows", type=int, help=f"texts to make (default: {ROWS:,}; with --quick {QUICK_ROWS:,})")
    flags.add_argument("--without-peers", action="store_true", help="leave datatrove and datasketch out")
    flags.add_argument("--peers-venv", type=Path, help="environment of the other libraries; made if it is not there")
    arguments = flags.parse_args()
    rows = arguments.rows or (QUICK_ROWS if arguments.quick else ROWS)
    repeats = 1 if arguments.quick else arguments.repeats
    pythons = {"versatune": sys.executable}
    if not arguments.without_peers:
        pythons |= dict.fromkeys(("datatrove", "datasketch"), peers_python(arguments.peers_venv))
    about = {
        "machine": machine(),
        "versions": versions("versatune", "pyarrow", "numpy"),
        "peers": [] if arguments.without_peers else list(PINS),
        "rows": rows,
        "repeats": repeats,
    }
    with tempfile.TemporaryDirectory(prefix="versatune-bench-") as name:
        work = Path(name)
        make_planted(work / "rows", rows)
        runs = time_in_turn(pythons, work / "rows", work, repeats)
        result = figures(runs, read_pairs(work / "rows"), rows)
    report("near_duplicates", about | result, arguments)


if __name__ == "__main__":
    main()
