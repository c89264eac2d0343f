"""Generations that are kept: one directory per (model, prompt, sampling, seed), one Parquet file per engine batch.

A sample is fixed by its index, so a larger probe, or one that was killed, generates only what is missing. Files are written whole or not
at all; a damaged one is deleted and its samples are generated again.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.files import sha256_json, write_atomic
from transforms.generate import Generation

_FORMAT = 1
_BATCH_KEY = b"versatune.batch"
KEPT = pa.schema(
    [
        pa.field("index", pa.int64(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("num_tokens", pa.int32(), nullable=False),
        pa.field("finish_reason", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Kept:
    """What a store holds."""

    table: pa.Table
    """Rows of ``KEPT``, ascending and unique in ``index``."""
    batches: list[dict[str, Any]]
    """What the engine said of itself for each file, with the batch's ``seconds`` and ``tokens``, in order of file name."""


def store_key(*, model: str, prompt_token_id: int, sampling: dict[str, Any], seed: int) -> str:
    """Return the name of the directory for everything that decides a sample but its index."""
    return sha256_json([_FORMAT, model, prompt_token_id, sampling, seed])[:16]


def write_part(directory: str, generations: Sequence[Generation], about: dict[str, Any]) -> int:
    """Keep one batch, whole or not at all; return how many samples it has.

    Args:
        directory: the store; made if it is not there.
        generations: one batch, not empty.
        about: the engine, and the batch's ``seconds``.
    """
    columns = zip(*map(astuple, generations), strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, KEPT, strict=True)]
    about = {**about, "tokens": sum(generation.num_tokens for generation in generations)}
    table = pa.Table.from_arrays(arrays, schema=KEPT.with_metadata({_BATCH_KEY: json.dumps(about, sort_keys=True)}))
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    name = f"part-{generations[0].index:08d}-{len(generations)}-{uuid.uuid4().hex[:8]}.parquet"
    write_atomic(Path(directory) / name, buffer.getvalue().to_pybytes())
    return len(generations)


def read_store(directory: str | Path) -> Kept:
    """Read a store that nobody is writing to: delete what is damaged, and of two rows with one index keep that of the first file."""
    tables, batches = [], []
    for leftover in Path(directory).glob(".*.partial"):
        leftover.unlink(missing_ok=True)
    for file in _parts(directory):
        try:
            table = pq.read_table(file, memory_map=False)
        except (pa.ArrowException, OSError):
            file.unlink(missing_ok=True)
            continue
        if not table.schema.equals(KEPT):
            file.unlink()
            continue
        batches.append(json.loads((table.schema.metadata or {}).get(_BATCH_KEY, b"{}")))
        tables.append(table.replace_schema_metadata(None))
    return Kept(_unique(pa.concat_tables([KEPT.empty_table(), *tables])), batches)


def count_kept(directory: str | Path) -> int:
    """Count the samples in a store by the names of its files: cheap, and of use while it is written to."""
    return sum(int(file.name.split("-")[2]) for file in _parts(directory))


def _parts(directory: str | Path) -> list[Path]:
    return sorted(Path(directory).glob("part-*-*-*.parquet"))


def _unique(table: pa.Table) -> pa.Table:
    first: dict[int, int] = {}
    for row, index in enumerate(table.column("index").to_pylist()):
        first.setdefault(index, row)
    return table.take([first[index] for index in sorted(first)]) if first else table
