"""Finished work that is kept: a directory of Parquet files, each whole or absent, on any file system.

A killed run leaves what it finished; the next one does the rest. A damaged file is deleted and its rows are done again: a file's name ends
with the first digits of the sha256 of its content. Of files of an earlier versatune, whose names end with 8 digits drawn by chance, only
damage to their structure is found.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from versatune.schemas.files import sha256_bytes
from versatune.transforms.transport import storage

_BATCH_KEY = b"versatune.batch"
_DIGITS = 16


@dataclass(frozen=True)
class Kept:
    """What a store holds."""

    table: pa.Table
    """Its rows, ascending and unique in the first column."""
    batches: list[dict[str, Any]]
    """What was said of each file's rows, in order of file name."""
    batch: list[int]
    """Of each row, the position in ``batches``."""


def write_rows(directory: str, name: str, table: pa.Table, about: dict[str, Any]) -> int:
    """Keep some rows, all or none of them; return how many.

    Args:
        directory: the store; made if it is not there.
        name: of the rows, without hyphens; decides the order of the files.
        table: its rows.
        about: kept with it, plain JSON data.
    """
    buffer = pa.BufferOutputStream()
    metadata = {_BATCH_KEY: json.dumps(about, sort_keys=True)}
    pq.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd")
    data = buffer.getvalue().to_pybytes()
    file = f"part-{name}-{table.num_rows}-{sha256_bytes(data)[:_DIGITS]}.parquet"
    storage.replace_bytes(f"{directory}/{file}", data)
    return int(table.num_rows)


def read_parts(directory: str, schema: pa.Schema, wanted: Callable[[str], bool] = lambda name: True) -> Kept:
    """Read a store: delete what is damaged, and of two rows with one key keep that of the first file.

    Args:
        directory: the store; an absent one is empty.
        schema: of its rows.
        wanted: says of a file by its name, as given to :func:`write_rows`, whether it is to be read.
    """
    tables, batches = [], []
    for file in _parts(directory):
        if not wanted(_name(file)):
            continue
        table = _read(file, schema)
        if table is None:
            storage.delete(file)
            continue
        batches.append(json.loads((table.schema.metadata or {}).get(_BATCH_KEY, b"{}")))
        tables.append(table.replace_schema_metadata(None))
    rows, origin = _unique(pa.concat_tables([schema.empty_table(), *tables]), [table.num_rows for table in tables])
    return Kept(rows, batches, origin)


def sweep(directory: str) -> None:
    """Delete what killed writers left; nobody may be writing to the store."""
    for leftover in storage.match(f"{directory}/part-*.partial"):
        storage.delete(leftover)


def count_kept(directory: str) -> int:
    """Count the rows in a store by the names of its files: cheap, and of use while it is written to."""
    return sum(int(file.rpartition("/")[2].split("-")[2]) for file in _parts(directory))


def _parts(directory: str) -> list[str]:
    return list(storage.match(f"{directory}/part-*-*-*.parquet"))


def _name(file: str) -> str:
    return file.rpartition("/")[2].split("-")[1]


def _read(file: str, schema: pa.Schema) -> pa.Table | None:
    digits = file.rpartition("-")[2].partition(".")[0]
    try:
        data = storage.read_bytes(file)
        if len(digits) == _DIGITS and not sha256_bytes(data).startswith(digits):
            return None
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError):
        return None
    return table if table.schema.equals(schema) else None


def _unique(table: pa.Table, sizes: list[int]) -> tuple[pa.Table, list[int]]:
    """Return the rows in order of their key, each key once, and of each the number of the file it came from."""
    origin = [number for number, size in enumerate(sizes) for _ in range(size)]
    first: dict[Any, int] = {}
    for row, key in enumerate(table.column(0).to_pylist()):
        first.setdefault(key, row)
    chosen = [first[key] for key in sorted(first)]
    return (table.take(chosen) if chosen else table), [origin[row] for row in chosen]
