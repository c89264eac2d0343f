"""Finished work that is kept: a directory of Parquet files, one per batch, each whole or absent.

A killed run leaves the batches it finished; the next one does the rest. A damaged file is deleted and its rows are done again.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.files import write_atomic

_BATCH_KEY = b"versatune.batch"


@dataclass(frozen=True)
class Kept:
    """What a store holds."""

    table: pa.Table
    """Its rows, ascending and unique in the first column."""
    batches: list[dict[str, Any]]
    """What was said of each batch, in order of file name."""


def write_rows(directory: str, name: str, table: pa.Table, about: dict[str, Any]) -> int:
    """Keep one batch, whole or not at all; return how many rows it has.

    Args:
        directory: the store; made if it is not there.
        name: of the batch, without hyphens; decides the order of the files.
        table: its rows.
        about: kept with it, plain JSON data.
    """
    buffer = pa.BufferOutputStream()
    metadata = {_BATCH_KEY: json.dumps(about, sort_keys=True)}
    pq.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd")
    file = f"part-{name}-{table.num_rows}-{uuid.uuid4().hex[:8]}.parquet"
    write_atomic(Path(directory) / file, buffer.getvalue().to_pybytes())
    return int(table.num_rows)


def read_parts(directory: str | Path, schema: pa.Schema) -> Kept:
    """Read a store that nobody is writing to: delete what is damaged, and of two rows with one key keep that of the first file."""
    tables, batches = [], []
    for leftover in Path(directory).glob(".*.partial"):
        leftover.unlink(missing_ok=True)
    for file in _parts(directory):
        try:
            table = pq.read_table(file, memory_map=False)
        except (pa.ArrowException, OSError):
            file.unlink(missing_ok=True)
            continue
        if not table.schema.equals(schema):
            file.unlink()
            continue
        batches.append(json.loads((table.schema.metadata or {}).get(_BATCH_KEY, b"{}")))
        tables.append(table.replace_schema_metadata(None))
    return Kept(_unique(pa.concat_tables([schema.empty_table(), *tables])), batches)


def count_kept(directory: str | Path) -> int:
    """Count the rows in a store by the names of its files: cheap, and of use while it is written to."""
    return sum(int(file.name.split("-")[2]) for file in _parts(directory))


def _parts(directory: str | Path) -> list[Path]:
    return sorted(Path(directory).glob("part-*-*-*.parquet"))


def _unique(table: pa.Table) -> pa.Table:
    first: dict[Any, int] = {}
    for row, key in enumerate(table.column(0).to_pylist()):
        first.setdefault(key, row)
    return table.take([first[key] for key in sorted(first)]) if first else table
