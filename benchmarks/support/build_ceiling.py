"""The least a build can do: read, label and write, in as many processes as it has workers, and nothing else.

    python benchmarks/support/build_ceiling.py FOLDER OUTPUT --workers 2

Reads the same JSONL.gz files, gives the same rows the same labels with the same classifier, and writes the same columns as zstd Parquet,
one file for each process and domain. No engine, no checks, no order, no duplicates, no splits, no manifest.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import multiprocessing
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from schemas.arrow import MESSAGES, ORIGIN, example_schema
from schemas.taxonomy import DEFAULT_TAXONOMY
from transforms.fasttext_classifier import DomainClassifier, text_view

BATCH_ROWS = 4096
DOMAINS = pa.array(DEFAULT_TAXONOMY.domains)
SCHEMA = example_schema(len(DEFAULT_TAXONOMY), tokenized=False)


def read_batches(file: Path) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the number of the first row and the lines of each batch."""
    with pa.OSFile(str(file)) as stored:
        lines = io.BufferedReader(pa.CompressedInputStream(stored, "gzip"), 2**20)
        first = 0
        while batch := list(islice(lines, BATCH_ROWS)):
            yield first, batch
            first += len(batch)


def label(lines: list[bytes], uri: str, first: int, classifier: DomainClassifier) -> pa.RecordBatch:
    """Turn lines into rows of a shard."""
    rows = [orjson.loads(line) for line in lines]
    contents = [text for row in rows for text in (row["instruction"], row["output"])]
    count = len(rows)
    turns = [[["user", row["instruction"]], ["assistant", row["output"]]] for row in rows]
    ids = [hashlib.blake2b(orjson.dumps(turn), digest_size=16).hexdigest() for turn in turns]
    probs = classifier.predict([text_view(contents[i : i + 2]) for i in range(0, 2 * count, 2)])
    structs = pa.StructArray.from_arrays(
        [pa.array(["user", "assistant"] * count), pa.array(contents)], fields=list(MESSAGES.value_type)
    )
    places = [pa.repeat(uri, count), pa.array(range(first, first + count), pa.int64())]
    columns = [
        pa.array(ids),
        pa.ListArray.from_arrays(pa.array(range(0, 2 * count + 1, 2), pa.int32()), structs, type=MESSAGES),
        pa.repeat("synthetic", count),
        pa.repeat("CC0-1.0", count),
        pa.StructArray.from_arrays(places, fields=list(ORIGIN)),
        pa.array([len(row["instruction"]) + len(row["output"]) for row in rows], pa.int32()),
        DOMAINS.take(pa.array(probs.argmax(axis=1))),
        pa.FixedSizeListArray.from_arrays(pa.array(probs.ravel()), len(DOMAINS)),
    ]
    return pa.record_batch(columns, schema=SCHEMA)


def work(number: int, files: list[Path], output: Path) -> None:
    """Do one process's share."""
    classifier = DomainClassifier.load(None, DEFAULT_TAXONOMY)
    writers: dict[str, pq.ParquetWriter] = {}
    for file in files:
        for first, lines in read_batches(file):
            batch = label(lines, file.name, first, classifier)
            for domain in batch["domain"].unique().to_pylist():
                if domain not in writers:
                    path = output / f"{domain}-{number}.parquet"
                    repeating = ["source", "license", "domain"]
                    writers[domain] = pq.ParquetWriter(path, SCHEMA, compression="zstd", use_dictionary=repeating)
                writers[domain].write_batch(batch.filter(pc.equal(batch["domain"], domain)))
    for writer in writers.values():
        writer.close()


def main() -> None:
    """Divide the files and wait."""
    flags = argparse.ArgumentParser(description="The bare loop that a build is compared with.")
    flags.add_argument("folder", type=Path, help="*.jsonl.gz with the fields instruction and output")
    flags.add_argument("output", type=Path)
    flags.add_argument("--workers", type=int, required=True)
    arguments = flags.parse_args()
    arguments.output.mkdir(parents=True)
    files = sorted(arguments.folder.glob("*.jsonl.gz"))
    context = multiprocessing.get_context("spawn")
    shares = [
        context.Process(target=work, args=(i, files[i :: arguments.workers], arguments.output))
        for i in range(arguments.workers)
    ]
    for share in shares:
        share.start()
    for share in shares:
        share.join()
    sys.exit(any(share.exitcode for share in shares))


if __name__ == "__main__":
    main()
