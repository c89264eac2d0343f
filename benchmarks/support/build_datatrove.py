"""The same work as a datatrove pipeline, as somebody who wants it to be fast would write it; run by build_throughput.py.

    python benchmarks/support/build_datatrove.py FOLDER OUTPUT --workers 2 [--batched]

One task for each worker, so that nothing is started twice; the writer has a schema, large batches and neither page index nor content-defined chunks, both
of which cost it time. Documents are classified one at a time, as its own ``FastTextClassifierFilter`` does, or, with --batched, thousands at a time, in a
step that passes its streaming by.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.readers.jsonl import JsonlReader
from datatrove.pipeline.writers.parquet import ParquetWriter

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.job import BATCH_ROWS, DOMAINS, SCHEMA, SOURCE, one_row, pair, probabilities


def read_document(_reader: JsonlReader, row: dict[str, Any], _path: str, _number: int) -> dict[str, Any]:
    """Turn a raw row into the fields of a document."""
    prompt, answer = pair(row)
    return {"text": answer, "id": "", "metadata": {"prompt": prompt}}


class Classify(PipelineStep):
    """Gives documents their domain, one at a time."""

    name = "Classify"
    type = "CLASSIFY"

    def run(self, data: Iterator[Document], rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Label documents."""
        for document in data:
            probs = one_row((document.metadata["prompt"], document.text))
            document.metadata["domain"], document.metadata["domain_probs"] = DOMAINS[probs.index(max(probs))], probs
            yield document


class ClassifyBatches(PipelineStep):
    """Gives documents their domain, many at a time."""

    name = "ClassifyBatches"
    type = "CLASSIFY"

    def run(self, data: Iterator[Document], rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Label batches of documents."""
        while batch := list(islice(data, BATCH_ROWS)):
            probs = probabilities([(document.metadata["prompt"], document.text) for document in batch])
            for document, chosen, row in zip(batch, probs.argmax(axis=1).tolist(), probs.tolist(), strict=True):
                document.metadata["domain"], document.metadata["domain_probs"] = DOMAINS[chosen], row
                yield document


def write_document(_writer: ParquetWriter, document: Document) -> dict[str, Any]:
    """Turn a document into a row of the Parquet file."""
    fields = document.metadata
    return {
        "messages": [
            {"role": "user", "content": fields["prompt"]},
            {"role": "assistant", "content": document.text},
        ],
        "source": SOURCE,
        "domain": fields["domain"],
        "domain_probs": fields["domain_probs"],
    }


def main() -> None:
    """Run the pipeline."""
    flags = argparse.ArgumentParser(description="datatrove's local executor on the rows of build_throughput.py.")
    flags.add_argument("folder", type=Path)
    flags.add_argument("output", type=Path)
    flags.add_argument("--workers", type=int, required=True)
    flags.add_argument("--batched", action="store_true", help="classify thousands of documents at a time")
    arguments = flags.parse_args()
    LocalPipelineExecutor(
        pipeline=[
            JsonlReader(str(arguments.folder), glob_pattern="*.jsonl.gz", adapter=read_document, add_file_path=False),
            ClassifyBatches() if arguments.batched else Classify(),
            ParquetWriter(
                str(arguments.output / "data"),
                compression="zstd",
                adapter=write_document,
                batch_size=BATCH_ROWS,
                schema=SCHEMA,
                use_content_defined_chunking=False,
                write_page_index=False,
            ),
        ],
        tasks=arguments.workers,
        workers=arguments.workers,
        logging_dir=str(arguments.output / "logs"),
    ).run()


if __name__ == "__main__":
    main()
