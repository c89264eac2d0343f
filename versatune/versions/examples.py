"""The examples of a finished version, for programs: Arrow batches from its shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from versatune.schemas.arrow import example_schema
from versatune.schemas.dataset import SPLITS, DatasetManifest, Shard, Split
from versatune.schemas.errors import DataError, IntegrityError, UsageError, nearest
from versatune.versions.listing import find_version, paths

_MOST_ROWS = 2**31 - 1


def iter_batches(
    where: Path,
    *,
    split: Split = "train",
    domain: str | None = None,
    columns: Sequence[str] | None = None,
    batch_rows: int = 8192,
) -> Iterator[pa.RecordBatch]:
    """Iterate over a version's examples; arguments and errors are those of :func:`versatune.interface.iter_batches`."""
    if split not in SPLITS:
        raise UsageError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")
    if not isinstance(batch_rows, int) or batch_rows < 1:
        raise UsageError(f"batch_rows is {batch_rows!r}; expected a whole number of at least 1")
    file = find_version(where).absolute()
    manifest = DatasetManifest.load(file)
    names = _columns(manifest, columns)
    wanted = None if domain is None else manifest.taxonomy.domains[manifest.taxonomy.index(domain)]
    shards = [shard for shard in manifest.shards if shard.split == split and wanted in (None, shard.domain)]
    files = _whole(file.parent, shards)
    # A generator apart: what is wrong is said at the call, not at the first batch.
    return (batch for path in files for batch in _batches(path, names, min(batch_rows, _MOST_ROWS)))


def _whole(directory: Path, shards: Sequence[Shard]) -> list[str]:
    files = paths(directory, shards)
    for shard, path in zip(shards, files, strict=True):
        size = Path(path).stat().st_size
        if size != shard.bytes:
            raise IntegrityError(
                f"{path}: has {size:,} bytes, the manifest says {shard.bytes:,}; `versatune verify {directory}` names all that is wrong"
            )
    return files


def _columns(manifest: DatasetManifest, columns: Sequence[str] | None) -> list[str]:
    known: list[str] = example_schema(len(manifest.taxonomy), tokenized=manifest.tokenizer is not None).names
    if columns is None:
        return known
    if isinstance(columns, str):
        raise UsageError(f"columns is {columns!r}; expected a list of names, such as [{columns!r}]")
    names = list(columns)
    for name in names:
        if name not in known:
            raise DataError(f"dataset {manifest.version}: has no column '{name}'{nearest(name, known)}")
    return names


def _batches(path: str, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=rows, columns=columns)
