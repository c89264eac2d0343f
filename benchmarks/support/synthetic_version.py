"""A dataset version of very many shards: a true manifest and card, files with one row each."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from versatune.schemas.dataset import DatasetManifest, InputFile, Shard, SideFile, SourceBooks
from versatune.schemas.files import sha256_bytes
from versatune.transforms.shards.dataset_card import dataset_card

LICENSES = ("CC-BY-4.0", "MIT")
_LINKS = 10_000  # names that one file of a file system may have, well below what any allows


def make_version(pattern: DatasetManifest, home: Path, version: str, shards: int, changed: int = 0) -> Path:
    """Write a version and return the path of its manifest.

    Args:
        pattern: a manifest that a build made; what says nothing of rows is taken from it.
        home: directory of the dataset.
        version: its name.
        shards: how many.
        changed: how many of them have other content than those of the same name in another version.
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
        about = files.add(path, f"{number:028x}{bucket * (65536 // buckets):04x}", other=number < changed)
        entries.append(
            Shard(path=path, split=split, domain=domain, tokens=0, loss_tokens=0, licenses=list(LICENSES), **about)
        )
    lineage = []
    for bucket in range(-(-shards // per_bucket)):
        path = f"lineage/part-{bucket:05d}-of-{buckets:05d}.parquet"
        count = min(per_bucket, shards - bucket * per_bucket)
        lineage.append(SideFile(path=path, **files.add(path, "0" * 32, rows=count)))
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
        self._made: dict[tuple[int, bool], tuple[Path, dict[str, object], int]] = {}

    def add(self, path: str, identity: str, rows: int = 1, *, other: bool = False) -> dict[str, object]:
        """Write a file; return what a manifest says of it."""
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        known, about, names = self._made.get((rows, other), (target, {}, _LINKS))
        if names < _LINKS:
            os.link(known, target)
            self._made[rows, other] = known, about, names + 1
            return about
        table = pa.table(
            {"id": [identity] * rows, "source": ["other" if other else "synthetic"] * rows, "license": ["MIT"] * rows}
        )
        pq.write_table(table, target)
        data = target.read_bytes()
        about = {"rows": rows, "bytes": len(data), "sha256": sha256_bytes(data)}
        self._made[rows, other] = target, about, 1
        return about
