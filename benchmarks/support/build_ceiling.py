"""The least a build can do: read, normalise, label and write, in as many processes as it has workers, and nothing else.

    python benchmarks/support/build_ceiling.py FOLDER OUTPUT --workers 2 [--dense]

Plain pyarrow and fastText: columns are built without a Python object for each nested value, texts have no Parquet dictionary, each process
writes one zstd Parquet file for each domain. No engine, no ids, no origins, no checks, no order, no duplicates dropped, no splits, no books.
"""

from __future__ import annotations

import argparse
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

from benchmarks.support.job import BATCH_ROWS, SCHEMA, pair, record_batch


def read_batches(file: Path) -> Iterator[list[bytes]]:
    """Yield the lines of each batch."""
    with pa.OSFile(str(file)) as stored:
        lines = io.BufferedReader(pa.CompressedInputStream(stored, "gzip"), 2**20)
        while batch := list(islice(lines, BATCH_ROWS)):
            yield batch


def work(number: int, files: list[Path], output: Path, dense: bool = False) -> None:
    """Do one process's share."""
    writers: dict[str, pq.ParquetWriter] = {}
    for file in files:
        for lines in read_batches(file):
            batch = record_batch([pair(orjson.loads(line)) for line in lines], dense=dense)
            for domain in batch["domain"].unique().to_pylist():
                if domain not in writers:
                    path = output / f"{domain}-{number}.parquet"
                    writers[domain] = pq.ParquetWriter(
                        path, SCHEMA, compression="zstd", use_dictionary=["source", "domain"]
                    )
                writers[domain].write_batch(batch.filter(pc.equal(batch["domain"], domain)))
    for writer in writers.values():
        writer.close()


def main() -> None:
    """Divide the files and wait."""
    flags = argparse.ArgumentParser(description="The bare loop that a build is compared with.")
    flags.add_argument("folder", type=Path, help="*.jsonl.gz with the fields instruction and output")
    flags.add_argument("output", type=Path)
    flags.add_argument("--workers", type=int, required=True)
    flags.add_argument("--dense", action="store_true", help="with the classifier made dense, as versatune does")
    arguments = flags.parse_args()
    arguments.output.mkdir(parents=True)
    files = sorted(arguments.folder.glob("*.jsonl.gz"))
    context = multiprocessing.get_context("spawn")
    shares = [
        context.Process(target=work, args=(i, files[i :: arguments.workers], arguments.output, arguments.dense))
        for i in range(arguments.workers)
    ]
    for share in shares:
        share.start()
    for share in shares:
        share.join()
    sys.exit(any(share.exitcode for share in shares))


if __name__ == "__main__":
    main()
