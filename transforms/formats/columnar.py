"""Parquet, and Arrow in its stream and file formats, a batch of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from versatune.transforms.formats.arrow_values import json_rows, refuse_equal_names
from versatune.transforms.formats.encoding import dump_row
from versatune.transforms.formats.fault import bounded
from versatune.transforms.transport.batch import RowFault

_ROWS_AT_ONCE = 1024  # bounds the Python objects that are alive, whatever the size of a row group
_BYTES_AT_ONCE = 16 * 2**20  # with rows of many kilobytes fewer are alive


def parquet_rows(file: Any, max_row_bytes: int, start: int = 0, end: int | None = None) -> Iterator[bytes | RowFault]:
    """Yield each row of a Parquet file's row groups ``start`` to ``end`` (exclusive) as a JSON object; NaN is null."""
    with pq.ParquetFile(file) as parquet:
        refuse_equal_names(parquet.schema_arrow)
        for number in range(start, parquet.num_row_groups if end is None else end):
            group = parquet.metadata.row_group(number)
            size = _rows_at_once(group.num_rows, group.total_byte_size)
            for batch in parquet.iter_batches(batch_size=size, row_groups=[number], use_threads=False):
                yield from batch_rows(batch, max_row_bytes)


def arrow_rows(file: Any, max_row_bytes: int) -> Iterator[bytes | RowFault]:
    """Yield each row of an Arrow IPC file or stream (as the ``datasets`` library saves them) as a JSON object."""
    is_file = file.read(6) == b"ARROW1"
    file.seek(0)
    if is_file:
        with pa.ipc.open_file(file) as reader:
            refuse_equal_names(reader.schema)
            for number in range(reader.num_record_batches):
                yield from _checked_rows(reader.get_batch(number), max_row_bytes)
    else:
        with pa.ipc.open_stream(file) as reader:
            refuse_equal_names(reader.schema)
            for batch in reader:
                yield from _checked_rows(batch, max_row_bytes)


def batch_rows(batch: pa.RecordBatch, max_row_bytes: int) -> Iterator[bytes | RowFault]:
    """Yield each row of a batch as a JSON object."""
    size = _rows_at_once(batch.num_rows, batch.nbytes)
    for start in range(0, batch.num_rows, size):
        for row in json_rows(batch.slice(start, size)):
            yield bounded(dump_row(row), max_row_bytes)


def row_group_bytes(file: Any) -> list[int]:
    """Return the stored size of each row group of a Parquet file."""
    with pq.ParquetFile(file) as parquet:
        groups = (parquet.metadata.row_group(number) for number in range(parquet.num_row_groups))
        return [sum(group.column(i).total_compressed_size for i in range(group.num_columns)) for group in groups]


def _checked_rows(batch: pa.RecordBatch, max_row_bytes: int) -> Iterator[bytes | RowFault]:
    batch.validate(full=True)  # offsets of a damaged file point anywhere
    yield from batch_rows(batch, max_row_bytes)


def _rows_at_once(num_rows: int, num_bytes: int) -> int:
    return max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE * num_rows // max(1, num_bytes)))
