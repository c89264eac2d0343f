"""The examples of a finished version, for programs: Arrow batches from its shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from versatune.schemas.dataset import SPLITS, DatasetManifest, Shard
from versatune.schemas.errors import DataError, IntegrityError, UsageError, nearest
from versatune.versions.listing import find_version, paths

Split = Literal["train", "validation"]


def iter_batches(
    where: str | Path,
    *,
    split: Split = "train",
    domain: str | None = None,
    columns: Sequence[str] | None = None,
    batch_rows: int = 8192,
) -> Iterator[pa.RecordBatch]:
    """Iterate over a version's examples, in the order of its manifest; memory holds one batch and what Parquet needs around it.

    Args:
        where: a version's directory or its manifest.json; a dataset's directory or a configuration, for the newest version.
        split: ``train`` or ``validation``: held-out rows never come with the others.
        domain: this domain's examples alone; None for all of them.
        columns: names of columns; None for all (docs/data-contract.md says what they hold).
        batch_rows: most rows in a batch.

    Raises:
        DataError: there is no such version or column.
        ConfigError: the version's taxonomy has no such domain.
        UsageError: another split, or batches without rows.
        IntegrityError: a shard is missing, or not as large as the manifest says. ``versatune verify`` compares every byte.
    """
    if split not in SPLITS:
        raise UsageError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")
    if batch_rows < 1:
        raise UsageError(f"batch_rows is {batch_rows}; expected at least 1")
    file = find_version(Path(where))
    manifest = DatasetManifest.load(file)
    wanted = None if domain is None else manifest.taxonomy.domains[manifest.taxonomy.index(domain)]
    shards = [shard for shard in manifest.shards if shard.split == split and wanted in (None, shard.domain)]
    files = _whole(file.parent, shards)
    if columns is not None and files:
        _check_columns(columns, files[0])
    # A generator apart: what is wrong is said at the call, not at the first batch.
    return (batch for path in files for batch in _batches(path, columns, batch_rows))


def _whole(directory: Path, shards: Sequence[Shard]) -> list[str]:
    files = paths(directory, shards)
    for shard, path in zip(shards, files, strict=True):
        size = Path(path).stat().st_size
        if size != shard.bytes:
            raise IntegrityError(
                f"{path}: has {size:,} bytes, the manifest says {shard.bytes:,}; `versatune verify {directory}` names all that is wrong"
            )
    return files


def _check_columns(columns: Sequence[str], path: str) -> None:
    known = pq.read_schema(path).names
    for column in columns:
        if column not in known:
            raise DataError(f"{path}: has no column '{column}'{nearest(column, known)}")


def _batches(path: str, columns: Sequence[str] | None, rows: int) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=rows, columns=None if columns is None else list(columns))
