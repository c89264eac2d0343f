"""How much of fastText's own speed is left when versatune classifies rows?

    python benchmarks/classify_throughput.py            # 50,000 rows of each kind, seven times: one or two minutes
    python benchmarks/classify_throughput.py --quick    # 5,000 rows, once

One process, one thread, batches of 4,096 rows, the three systems in turn on every batch:

    bare        `fasttext.load_model(FILE).predict(texts, k)` on texts that are ready
    dense       the same with the model made dense, as versatune does when it loads it: the harder ceiling
    classify    the `classify` step of a build: messages in Arrow columns to texts, predictions, Arrow columns

The rows are those of build_throughput.py and, where there are any, labelled texts of JSON Lines with a field "text". Ratios are classify's rows a second by the
other's: 1 is fastText's own speed. Of each batch the median of the repeats counts.
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
import orjson
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.support.common import machine, parser, report, versions
from benchmarks.support.synthetic import make_row
from versatune.schemas.arrow import NORMALIZED
from versatune.schemas.files import sha256_file
from versatune.transforms.classifier.classify import classify_batch
from versatune.transforms.classifier.dense_model import dense_model
from versatune.transforms.classifier.fasttext_classifier import (
    LABEL_PREFIX,
    DomainClassifier,
    bundled_model,
    model_taxonomy,
    text_view_of_bytes,
)
from versatune.transforms.transport.messages import contents_without

BATCH_ROWS = 4096
ROWS, QUICK_ROWS = 50_000, 5_000
SEED = 20250117
Turns = list[tuple[str, str]]
Runs = Mapping[str, np.ndarray]
"""(repeats, batches, 2) seconds and processor seconds, by system and by part of ``classify``."""


def now() -> np.ndarray:
    """Return the time and the processor time of this thread, which is steadier where others use the machine too, in seconds."""
    return np.array([time.perf_counter(), time.thread_time()])


class Watched:
    """A classifier that notes when it is asked and when it has answered: what comes before and after is versatune's."""

    def __init__(self, classifier: DomainClassifier) -> None:
        self.undetermined_below = classifier.undetermined_below
        self.asked = self.answered = now()
        self._classifier = classifier

    def predict(self, texts: list[str]) -> np.ndarray:
        """Return (n, k) float32."""
        self.asked = now()
        probs = self._classifier.predict(texts)
        self.answered = now()
        return probs


def synthetic_rows(count: int) -> list[Turns]:
    """Return rows of the build benchmark as conversations."""
    chance = random.Random(SEED)
    rows = (orjson.loads(make_row(chance, number)) for number in range(count))
    return [[("user", row["instruction"]), ("assistant", row["output"])] for row in rows]


def labelled_rows(file: Path, count: int) -> list[Turns]:
    """Return texts of a labelled file, each as what a user says, shuffled: a file is in the order of its sources."""
    data = file.read_bytes()
    lines = (gzip.decompress(data) if file.suffix == ".gz" else data).splitlines()
    random.Random(SEED).shuffle(lines)
    return [[("user", orjson.loads(line)["text"])] for line in lines[:count]]


def record_batches(rows: Sequence[Turns]) -> list[pa.RecordBatch]:
    """Return rows as the step before ``classify`` leaves them."""
    return [
        pa.RecordBatch.from_pylist(
            [
                {
                    "id": f"{number:032x}",
                    "messages": [{"role": role, "content": content} for role, content in turns],
                    "unlearned": [],
                    "tags": [],
                    "num_chars": sum(len(content) for _, content in turns),
                    "row": number,
                    "item": 0,
                }
                for number, turns in enumerate(rows[start : start + BATCH_ROWS], start)
            ],
            schema=NORMALIZED,
        )
        for start in range(0, len(rows), BATCH_ROWS)
    ]


def load_dense(file: Path) -> Any:
    """Load a model made dense by fastText's own loader."""
    data = file.read_bytes()
    with tempfile.TemporaryDirectory(prefix="versatune-bench-") as folder:
        copy = Path(folder, "dense.bin")
        copy.write_bytes(dense_model(data) or data)
        return fasttext.load_model(str(copy))


def time_in_turn(file: Path, batches: Sequence[pa.RecordBatch], repeats: int) -> tuple[Runs, float]:
    """Time the systems on every batch, each time another one first; whatever slows the machine down for a while hits all of them.

    Returns:
        The seconds, and the share of rows that get the domain which bare fastText thinks most probable.
    """
    taxonomy = model_taxonomy(file)
    bare, dense = fasttext.load_model(str(file)), load_dense(file)
    loaded = DomainClassifier.load(file, taxonomy)
    # The very same model: where in memory a model lies changes its speed by some per cent.
    classifier = Watched(DomainClassifier(dense, taxonomy, sha256=loaded.sha256, card=loaded.card))
    systems: dict[str, Callable[[pa.RecordBatch, list[str]], Any]] = {
        "bare": lambda batch, texts: bare.predict(texts, k=len(taxonomy)),
        "dense": lambda batch, texts: dense.predict(texts, k=len(taxonomy)),
        "classify": lambda batch, texts: classify_batch(batch, classifier, taxonomy),
    }
    names = list(systems)
    ready = [(batch, [text_view_of_bytes(text) for text in contents_without(batch, "system")]) for batch in batches]
    seconds = {name: np.zeros((repeats, len(ready), 2)) for name in (*names, "text", "predict", "columns")}
    same = [_same_domain(systems, batch, texts) for batch, texts in ready]  # warms everything up, too
    for repeat in range(repeats):
        for number, (batch, texts) in enumerate(ready):
            first = (repeat + number) % len(names)
            for name in names[first:] + names[:first]:
                start = now()
                systems[name](batch, texts)  # thrown away at once: fastText's lists take time to go, too
                end = now()
                seconds[name][repeat, number] = end - start
                if name == "classify":
                    seconds["text"][repeat, number] = classifier.asked - start
                    seconds["predict"][repeat, number] = classifier.answered - classifier.asked
                    seconds["columns"][repeat, number] = end - classifier.answered
    return seconds, statistics.fmean(chain.from_iterable(same))


def _same_domain(systems: Mapping[str, Callable[..., Any]], batch: pa.RecordBatch, texts: list[str]) -> list[bool]:
    """Compare the domains of two systems; a text without a word is left out: versatune does not ask fastText about it."""
    domains = systems["classify"](batch, texts)["domain"].to_pylist()
    labels, _ = systems["bare"](batch, texts)
    return [
        LABEL_PREFIX + domain == best
        for domain, (best, *_), text in zip(domains, labels, texts, strict=True)
        if text.strip()
    ]


def figures(rows: int, runs: Runs) -> dict[str, Any]:
    """Put the results of one set of rows together: of each batch the median of its repeats, added up."""
    systems, parts = ("bare", "dense", "classify"), ("text", "predict", "columns")
    seconds, cpu = (
        {name: float(np.median(taken, axis=0)[:, clock].sum()) for name, taken in runs.items()} for clock in (0, 1)
    )
    return {
        "rows": rows,
        "seconds": {name: runs[name][:, :, 0].sum(axis=1).round(4).tolist() for name in systems},
        "cpu_seconds": {name: runs[name][:, :, 1].sum(axis=1).round(4).tolist() for name in systems},
        "rows_per_s": {name: round(rows / seconds[name]) for name in systems},
        "ratio_to_bare": round(seconds["bare"] / seconds["classify"], 3),
        "ratio_to_dense": round(seconds["dense"] / seconds["classify"], 3),
        "cpu_ratio_to_bare": round(cpu["bare"] / cpu["classify"], 3),
        "cpu_ratio_to_dense": round(cpu["dense"] / cpu["classify"], 3),
        "cpu_us_per_row": {name: round(1e6 * cpu[name] / rows, 2) for name in (*systems, *parts)},
    }


def _labelled_file(arguments: argparse.Namespace) -> Path | None:
    if arguments.labelled:
        return Path(arguments.labelled)
    shared = Path(os.environ.get("VERSATUNE_SHARED_DATA", ""), "labelled", "train.jsonl.gz")
    return shared if "VERSATUNE_SHARED_DATA" in os.environ and shared.is_file() else None


def main() -> None:
    """Make rows, time everything, report."""
    flags = parser(__doc__ or "", repeats=7)
    flags.add_argument("--rows", type=int, help=f"rows of each kind (default: {ROWS:,}; with --quick {QUICK_ROWS:,})")
    flags.add_argument("--model", type=Path, default=bundled_model(), help="the classifier (default: the bundled one)")
    flags.add_argument(
        "--labelled",
        help="also time rows of this JSON Lines file (default: labelled/train.jsonl.gz in $VERSATUNE_SHARED_DATA, if there)",
    )
    arguments = flags.parse_args()
    count = arguments.rows or (QUICK_ROWS if arguments.quick else ROWS)
    repeats = 1 if arguments.quick else arguments.repeats
    about = {
        "machine": machine(),
        "versions": versions("versatune", "pyarrow", "fasttext-numpy2", "numpy"),
        "model": {"bytes": arguments.model.stat().st_size, "sha256": sha256_file(arguments.model)},
        "repeats": repeats,
    }
    kinds = {"synthetic": synthetic_rows(count)}
    if file := _labelled_file(arguments):
        kinds["labelled"] = labelled_rows(file, count)
    results = {}
    for name, rows in kinds.items():
        seconds, same = time_in_turn(arguments.model, record_batches(rows), repeats)
        results[name] = figures(len(rows), seconds) | {"same_domain": round(same, 6)}
    ratios = [f"{clock}ratio_to_{system}" for clock in ("", "cpu_") for system in ("bare", "dense")]
    lowest = {f"lowest_{key}": min(result[key] for result in results.values()) for key in ratios}
    report("classify_throughput", about | lowest | results, arguments)


if __name__ == "__main__":
    main()
