"""What the near-duplicate benchmark's systems have in common: they time themselves, after the texts are in memory."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.planted import read_texts

BANDS, PLACES = 18, 7
"""How all systems cut their signatures: versatune's choice for similarity 0.8 and 128 permutations."""
SIMILARITY = 0.8
PERMUTATIONS = 128

Find = Callable[[list[str], Path], Callable[[], Iterable[int]]]
"""Prepares the texts in the library's own form, and returns what is timed: it gives the numbers of the rows that go."""


def main(find: Find) -> None:
    """Run one system."""
    flags = argparse.ArgumentParser(description="One system of near_duplicates.py.")
    flags.add_argument("folder", type=Path, help="of planted.py")
    flags.add_argument("output", type=Path)
    arguments = flags.parse_args()
    arguments.output.mkdir(parents=True)
    timed = find(read_texts(arguments.folder), arguments.output)
    start, cpu = time.perf_counter(), time.process_time()
    removed = list(timed())
    taken = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
    (arguments.output / "result.json").write_text(json.dumps({**taken, "removed": removed}))
