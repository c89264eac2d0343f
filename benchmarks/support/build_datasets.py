"""The same work with Hugging Face datasets, as somebody who wants it to be fast would write it; run by build_throughput.py.

    python benchmarks/support/build_datasets.py FOLDER OUTPUT --workers 2

``load_dataset("json")``, then ``map`` on Arrow tables (no Python object for each value on the way out), then Parquet,
compressed as ``to_parquet`` chooses: it does not take a codec; content-defined chunks and page index, which cost it time, are off.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pyarrow as pa
from datasets import load_dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.job import BATCH_ROWS, normalised, record_batch


def label(rows: pa.Table) -> pa.Table:
    """Label a batch of raw rows."""
    prompts, answers = (rows[name].to_pylist() for name in ("instruction", "output"))
    pairs = zip(map(normalised, prompts), map(normalised, answers), strict=True)
    return pa.Table.from_batches([record_batch(list(pairs))])


def main() -> None:
    """Load, map, write."""
    flags = argparse.ArgumentParser(description="datasets on the rows of build_throughput.py.")
    flags.add_argument("folder", type=Path)
    flags.add_argument("output", type=Path)
    flags.add_argument("--workers", type=int, required=True)
    arguments = flags.parse_args()
    files = sorted(map(str, arguments.folder.glob("*.jsonl.gz")))
    for split, rows in load_dataset("json", data_files={"train": files}, num_proc=arguments.workers).items():
        labelled = rows.with_format("arrow").map(
            label,
            batched=True,
            batch_size=BATCH_ROWS,
            num_proc=arguments.workers,
            remove_columns=rows.column_names,
        )
        arguments.output.mkdir(parents=True, exist_ok=True)
        labelled.to_parquet(
            str(arguments.output / f"{split}.parquet"), use_content_defined_chunking=False, write_page_index=False
        )


if __name__ == "__main__":
    main()
