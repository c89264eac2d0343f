"""Generations that are kept: one directory per (model, prompt, sampling, seed), one Parquet file per engine batch.

A sample is fixed by its index, so a larger probe, or one that was killed, generates only what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pyarrow as pa

from schemas.files import sha256_json
from transforms.generate import Generation
from transforms.part_store import Kept, count_kept, read_parts, write_rows

__all__ = ["KEPT", "Kept", "count_kept", "read_store", "store_key", "write_part"]

_FORMAT = 1
KEPT = pa.schema(
    [
        pa.field("index", pa.int64(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("num_tokens", pa.int32(), nullable=False),
        pa.field("finish_reason", pa.string(), nullable=False),
    ]
)


def store_key(*, model: str, prompt_token_id: int, sampling: dict[str, Any], seed: int) -> str:
    """Return the name of the directory for everything that decides a sample but its index."""
    return sha256_json([_FORMAT, model, prompt_token_id, sampling, seed])[:16]


def write_part(directory: str, generations: Sequence[Generation], about: dict[str, Any]) -> int:
    """Keep one batch, whole or not at all; return how many samples it has.

    Args:
        directory: the store; made if it is not there.
        generations: one batch, not empty.
        about: the engine, and the batch's ``seconds``; its ``tokens`` are added.
    """
    columns = zip(*map(astuple, generations), strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, KEPT, strict=True)]
    about = {**about, "tokens": sum(generation.num_tokens for generation in generations)}
    return write_rows(directory, f"{generations[0].index:08d}", pa.Table.from_arrays(arrays, schema=KEPT), about)


def read_store(directory: str | Path) -> Kept:
    """Read a store that nobody is writing to: delete what is damaged, and of two rows with one index keep that of the first file."""
    return read_parts(directory, KEPT)
