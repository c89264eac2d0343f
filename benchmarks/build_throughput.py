"""How fast is `versatune build`, and how much memory does it take, beside the least that any build could do?

    python benchmarks/build_throughput.py            # 200,000 synthetic rows, several minutes
    python benchmarks/build_throughput.py --quick    # 20,000 rows, once

One run makes the rows (about 1.3 KB of JSON each, 8 % of them exact duplicates, in 8 JSONL.gz files), then times `build` without a
tokenizer and the bare loop of support/build_ceiling.py in turn, each as a process of its own with its start-up, and reports medians.
"""

from __future__ import annotations

import gzip
import json
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.support.common import Measured, machine, measure, parser, report, versions
from schemas.dataset import DatasetManifest
from schemas.pointer import read_pointer

FILES = 8
DUPLICATES = 0.08
SENTENCES_PER_ROW = (8, 22)
# Sentences are "<opening> <subject> <verb> <object> <ending>"; the words of one column fit those of the others.
SUBJECTS = {
    "law": ["the court", "a tenant", "the statute", "the appellant", "this contract", "the defendant", "a trustee"],
    "medicine": [
        "the patient",
        "a physician",
        "the vaccine",
        "chronic fever",
        "an antibiotic",
        "the biopsy",
        "a nurse",
    ],
    "finance": [
        "the bond",
        "an investor",
        "the central bank",
        "quarterly revenue",
        "a hedge fund",
        "the index",
        "the loan",
    ],
    "science": [
        "the enzyme",
        "a neutron star",
        "the reaction",
        "photosynthesis",
        "the magnetic field",
        "a glacier",
        "the cell",
    ],
    "code": [
        "def parse(line):",
        "the compiler",
        "a python list",
        "the SQL query",
        "this function",
        "an HTTP server",
        "the loop",
    ],
    "general": [
        "my neighbour",
        "the recipe",
        "a good story",
        "the garden",
        "our holiday",
        "the football team",
        "a letter",
    ],
}
OPENINGS = [
    "In most cases,",
    "As a rule,",
    "For this reason",
    "Before 1990,",
    "Under pressure",
    "Strictly speaking,",
    "On the whole,",
]
VERBS = [
    "changes",
    "requires",
    "does not affect",
    "was compared with",
    "depends on",
    "returns",
    "replaces",
    "precedes",
    "explains",
]
OBJECTS = [
    "the usual procedure",
    "a second opinion",
    "its own limits",
    "every later step",
    "the written record",
    "a lower bound",
]
ENDINGS = [
    "without exception.",
    "as shown above.",
    "if time allows.",
    "within a few days.",
    "at moderate cost.",
    "for both sides.",
]


def make_rows(folder: Path, rows: int, seed: int = 20250117) -> int:
    """Write the raw files and return the bytes of JSON in them; the same arguments give the same files."""
    chance = random.Random(seed)
    folder.mkdir()
    written = 0
    for number in range(FILES):
        recent: list[bytes] = []
        with gzip.open(folder / f"part-{number}.jsonl.gz", "wb", compresslevel=1) as stream:
            for row in range(rows * number // FILES, rows * (number + 1) // FILES):
                line = chance.choice(recent) if recent and chance.random() < DUPLICATES else make_row(chance, row)
                if len(recent) < 500:
                    recent.append(line)
                stream.write(line)
                written += len(line)
    return written


def make_row(chance: random.Random, number: int) -> bytes:
    """Make one row about one subject; its number makes it unique."""
    subjects = SUBJECTS[chance.choice(list(SUBJECTS))]
    count = chance.randint(*SENTENCES_PER_ROW)
    columns = (chance.choices(words, k=count) for words in (OPENINGS, subjects, VERBS, OBJECTS, ENDINGS))
    sentences = [" ".join(words) for words in zip(*columns, strict=True)]
    question = f"Question {number}: what can be said about {chance.choice(subjects)} and {chance.choice(subjects)}?"
    return json.dumps({"instruction": question, "input": "", "output": " ".join(sentences)}).encode() + b"\n"


def run_build(folder: Path, output: Path, workers: int) -> tuple[Measured, DatasetManifest]:
    """Time `versatune build` on the raw files."""
    config = {
        "name": "bench",
        "output": str(output),
        "sources": [{"name": "synthetic", "files": [str(folder / "*.jsonl.gz")], "license": "CC0-1.0"}],
        "build": {"tokenize": False, "workers": workers},
    }
    file = output.with_suffix(".json")
    file.write_text(json.dumps(config))
    taken = measure([sys.executable, "-m", "versatune", "build", str(file), "--json"])
    return taken, DatasetManifest.load(read_pointer(output / "bench" / "latest.json", what="dataset", command="build"))


def main() -> None:
    """Make rows, time both, report."""
    flags = parser(__doc__ or "", repeats=3)
    flags.add_argument("--rows", type=int, help="rows to make (default: 200,000; with --quick 20,000)")
    flags.add_argument("--workers", type=int, help="processes of both (default: one per core, at least 2)")
    arguments = flags.parse_args()
    rows = arguments.rows or (20_000 if arguments.quick else 200_000)
    repeats = 1 if arguments.quick else arguments.repeats
    host = machine()
    workers = arguments.workers or max(2, host["cores"])
    builds: list[Measured] = []
    ceilings: list[Measured] = []
    digests = set()
    with tempfile.TemporaryDirectory(prefix="versatune-bench-") as name:
        work = Path(name)
        json_bytes = make_rows(work / "raw", rows)
        for repeat in range(repeats):
            script = Path(__file__).with_name("support") / "build_ceiling.py"
            bare = [
                sys.executable,
                str(script),
                str(work / "raw"),
                str(work / f"ceiling{repeat}"),
                "--workers",
                str(workers),
            ]
            ceilings.append(measure(bare))
            taken, manifest = run_build(work / "raw", work / f"build{repeat}", workers)
            builds.append(taken)
            digests.add(manifest.digest)
    report("build_throughput", figures(rows, json_bytes, workers, builds, ceilings, manifest, digests, host), arguments)


def figures(
    rows: int,
    json_bytes: int,
    workers: int,
    builds: list[Measured],
    ceilings: list[Measured],
    manifest: DatasetManifest,
    digests: set[str],
    host: dict[str, Any],
) -> dict[str, Any]:
    """Put the results together; medians over the repeats."""
    build_seconds = statistics.median(taken.seconds for taken in builds)
    ceiling_seconds = statistics.median(taken.seconds for taken in ceilings)
    (books,) = manifest.books
    return {
        "machine": host,
        "versions": versions("versatune", "apache-beam", "pyarrow", "fasttext-numpy2", "numpy", "orjson"),
        "rows": rows,
        "json_mb": round(json_bytes / 1e6, 1),
        "workers": workers,
        "repeats": len(builds),
        "build_seconds": [round(taken.seconds, 2) for taken in builds],
        "ceiling_seconds": [round(taken.seconds, 2) for taken in ceilings],
        "build_cpu_seconds": [round(taken.cpu_seconds, 2) for taken in builds],
        "ceiling_cpu_seconds": [round(taken.cpu_seconds, 2) for taken in ceilings],
        "build_rows_per_s": round(rows / build_seconds),
        "ceiling_rows_per_s": round(rows / ceiling_seconds),
        "ratio_to_ceiling": round(ceiling_seconds / build_seconds, 3),
        "cpu_ratio_to_ceiling": round(
            statistics.median(taken.cpu_seconds for taken in ceilings)
            / statistics.median(taken.cpu_seconds for taken in builds),
            3,
        ),
        "peak_rss_mb": round(statistics.median(taken.peak_rss_mb for taken in builds)),
        "ceiling_peak_rss_mb": round(statistics.median(taken.peak_rss_mb for taken in ceilings)),
        "written": sum(books.written.values()),
        "duplicates": books.duplicates,
        "same_digest": len(digests) == 1,
    }


if __name__ == "__main__":
    main()
