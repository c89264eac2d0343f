"""Generations that are kept: one directory per (model, prompt, sampling, seed), many small Parquet files.

A sample is fixed by its index, so a larger probe, or one that was killed, generates only what is missing. Samples that an endpoint could
not give are noted in ``failed/`` there; they are asked for again by the next run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import pyarrow as pa

from versatune.schemas.files import sha256_json
from versatune.transforms.engines.engine import Failure, Generation, Outcome
from versatune.transforms.transport.part_store import Kept, read_parts, write_rows

_FORMAT = 2
_SPAN = re.compile(r"\d+\.\d+")
KEPT = pa.schema(
    [
        pa.field("index", pa.int64(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("num_tokens", pa.int32(), nullable=False),
        pa.field("finish_reason", pa.string(), nullable=False),
    ]
)
FAILED = pa.schema(
    [
        pa.field("index", pa.int64(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
    ]
)


def store_key(*, model: Any, prompt_token_id: int, sampling: dict[str, Any], seed: int) -> str:
    """Return the name of the directory for everything that decides a sample but its index.

    Args:
        model: the digest of its weights; behind an endpoint, address and name.
    """
    return sha256_json([_FORMAT, model, prompt_token_id, sampling, seed])[:16]


def keep_outcomes(outcomes: Sequence[Outcome], about: dict[str, Any], directory: str) -> None:
    """Keep what became of some samples, all or nothing.

    Args:
        outcomes: not empty.
        about: the engine, and the ``seconds`` they took; the generations' ``tokens`` are added.
        directory: the store; made if it is not there.
    """
    generations = [outcome for outcome in outcomes if isinstance(outcome, Generation)]
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    if failures:
        write_rows(failed_store(directory), _span(failures), _table(failures, FAILED), {})
    if generations:
        about = {**about, "tokens": sum(generation.num_tokens for generation in generations)}
        write_rows(directory, _span(generations), _table(generations, KEPT), about)


def read_store(directory: str, first: int = 0, stop: int | None = None) -> Kept:
    """Read the generations with indices from ``first`` up to, without, ``stop``; see :func:`versatune.transforms.transport.part_store.read_parts`."""

    def wanted(span: str) -> bool:
        if not _SPAN.fullmatch(span):
            return True  # not ours: reading it shows that
        lowest, highest = map(int, span.split("."))
        return highest >= first and (stop is None or lowest < stop)

    kept = read_parts(directory, KEPT, wanted)
    inside = [
        row
        for row, index in enumerate(kept.table.column("index").to_pylist())
        if index >= first and (stop is None or index < stop)
    ]
    return Kept(kept.table.take(pa.array(inside, pa.int64())), kept.batches, [kept.batch[row] for row in inside])


def read_failures(directory: str) -> dict[int, str]:
    """Return the reasons of the samples that could not be had, by index, also of those that were had later."""
    table = read_parts(failed_store(directory), FAILED).table
    return dict(zip(table.column("index").to_pylist(), table.column("reason").to_pylist(), strict=True))


def failed_store(directory: str) -> str:
    """Return where failures are noted."""
    return f"{directory}/failed"


def _span(outcomes: Sequence[Outcome]) -> str:
    """Name a file by the lowest and the highest index in it."""
    indices = [outcome.index for outcome in outcomes]
    return f"{min(indices):08d}.{max(indices):08d}"


def _table(outcomes: Sequence[Outcome], schema: pa.Schema) -> pa.Table:
    columns = zip(*map(astuple, outcomes), strict=True)
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )
