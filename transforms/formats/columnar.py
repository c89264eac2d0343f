"""Parquet, and Arrow in its stream and file formats, a batch of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.formats.encoding import dump_row

_ROWS_AT_ONCE = 1024  # bounds the Python objects that are alive, whatever the size of a row group


def parquet_rows(file: BinaryIO) -> Iterator[bytes]:
    """Yield each row of a Parquet file as a JSON object."""
    with pq.ParquetFile(file) as parquet:
        for batch in parquet.iter_batches(batch_size=_ROWS_AT_ONCE):
            yield from _rows(batch)


def arrow_rows(file: BinaryIO) -> Iterator[bytes]:
    """Yield each row of an Arrow IPC file or stream (as the ``datasets`` library saves them) as a JSON object."""
    is_file = file.read(6) == b"ARROW1"
    file.seek(0)
    if is_file:
        with pa.ipc.open_file(file) as reader:
            for number in range(reader.num_record_batches):
                yield from _rows(reader.get_batch(number))
    else:
        with pa.ipc.open_stream(file) as reader:
            for batch in reader:
                yield from _rows(batch)


def _rows(batch: pa.RecordBatch) -> Iterator[bytes]:
    for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
        yield from map(dump_row, batch.slice(start, _ROWS_AT_ONCE).to_pylist())
