"""A dataset version of very many shards: a true manifest and card, files with one row each."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from versatune.schemas.dataset import DatasetManifest, InputFile, Shard, SideFile, SourceBooks
from versatune.schemas.files import sha256_bytes
from versatune.transforms.shards.dataset_card import dataset_card

OWN = 7
"""Shards with a row of their own."""
LICENSES = ("CC-BY-4.0", "MIT")
_LINKS = 10_000  # names that one file of a file system may have, well below what any allows


def make_version(pattern: DatasetManifest, home: Path, version: str, shards: int, source: str = "synthetic") -> Path:
    """Write a version and return the path of its manifest.

    Args:
        pattern: a manifest that a build made; what says nothing of rows is taken from it.
        home: directory of the dataset.
        version: its name.
        shards: how many.
        source: of the rows in the first few shards; the others are the same in all versions.
    """
    folder = home / version
    files = _Files(folder)
    domains = pattern.taxonomy.domains
    per_bucket = 2 * len(domains)
    buckets = 1 << (-(-shards // per_bucket) - 1).bit_length()
    entries = []
    for number in range(shards):
        bucket, at = divmod(number, per_bucket)
        split, domain = ("train", "validation")[at % 2], domains[at // 2]
        path = f"data/{split}/{domain}/part-{bucket:05d}-of-{buckets:05d}.parquet"
        own = f"{number:028x}{bucket * (65536 // buckets):04x}" if number < OWN else None
        about = files.add(path, own=own, source=source)
        entries.append(
            Shard(path=path, split=split, domain=domain, tokens=0, loss_tokens=0, licenses=list(LICENSES), **about)
        )
    lineage = []
    for bucket in range(-(-shards // per_bucket)):
        path = f"lineage/part-{bucket:05d}-of-{buckets:05d}.parquet"
        count = min(per_bucket, shards - bucket * per_bucket)
        lineage.append(SideFile(path=path, **files.add(path, rows=count)))
    written = {domain: sum(entry.domain == domain for entry in entries) for domain in domains}
    books = SourceBooks(
        source="synthetic", read=shards, expanded=0, written=written, duplicates={}, near_duplicates={}, undetermined={},
        rejected={}, counts={},
    )  # fmt: skip
    inputs = [
        InputFile(
            source="synthetic",
            uri=f"{license_}.jsonl",
            bytes=1,
            sha256="0" * 64,
            rows=shards * at,
            license=license_,
            refused="",
        )
        for at, license_ in enumerate(LICENSES)
    ]
    manifest = pattern.changed(
        version=version, shards=sorted(entries, key=lambda entry: entry.path), lineage=lineage, rejects=[], books=[books],
        inputs=inputs, fields=[], near_duplicates=None, decontamination=None, repairs=None, tokenizer=None, model=None,
    )  # fmt: skip
    (folder / "README.md").write_text(dataset_card(manifest))
    manifest.write(folder / "manifest.json")
    pointer = {"path": f"{version}/manifest.json", "digest": manifest.digest}
    (home / "latest.json").write_text(json.dumps(pointer) + "\n")
    return folder / "manifest.json"


class _Files:
    """Writes files with few rows, most of them as further names of one that is there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[int, tuple[Path, dict[str, Any], int]] = {}

    def add(self, path: str, rows: int = 1, own: str | None = None, source: str = "") -> dict[str, Any]:
        """Write a file; return what a manifest says of it.

        Args:
            path: below the version's directory.
            rows: how many.
            own: id of the one row of a file that shares its content with no other.
            source: of that row.
        """
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if own is not None:
            return self._write(target, 1, own, source)
        known, about, names = self._made.get(rows, (target, {}, _LINKS))
        if names < _LINKS:
            os.link(known, target)
            self._made[rows] = known, about, names + 1
            return about
        about = self._write(target, rows, "0" * 32, "synthetic")
        self._made[rows] = target, about, 1
        return about

    def _write(self, target: Path, rows: int, identity: str, source: str) -> dict[str, Any]:
        columns = {"id": [identity] * rows, "source": [source] * rows, "license": ["MIT"] * rows}
        pq.write_table(pa.table(columns), target)
        data = target.read_bytes()
        return {"rows": rows, "bytes": len(data), "sha256": sha256_bytes(data)}
