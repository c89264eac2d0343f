"""Plan synthetic fragments of 4,096 rows through the local engine: plan_only.py FRAGMENTS STAGING."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

import versatune.transforms.transport.batch_coders  # noqa: F401  # registers how fragments travel
from versatune.transforms.shards.plan_shards import PlanShards
from versatune.transforms.transport.exchange import Fragment
from versatune.transforms.transport.field_counts import FieldCounts

DOMAINS = ("law", "medicine", "finance", "science", "code", "general")
PER_SPLIT = 14
"""Fragments of a part of a file: 64 MiB of JSON Lines."""


def fragment(number: int) -> Fragment:
    """Return what a batch of 4,096 rows of about 1.2 KB becomes."""
    split, batch = divmod(number, PER_SPLIT)
    return Fragment(
        key=f"{split:016x}-{batch:06d}",
        source=f"source-{split % 20}",
        rows=4096,
        bytes=4096 * 1200,
        parts=64,
        rejected=1,
        rejected_bytes=500,
        domains=dict.fromkeys(DOMAINS, 682),
        counts={"expanded": 1, "pii.email.masked": 3},
        raw_bytes=4096 * 1300,
        fields=FieldCounts({name: [4096, 0, 0] for name in ("instruction", "input", "output")}, [12288, 0, 0]),
        file_bytes=(6_000_000, 3000, 1_900_000),
    )


def record(split: int, fragments: int) -> dict[str, Any]:
    """Return the record that a part of a file was read."""
    return {
        "source": f"source-{split % 20}",
        "uri": f"raw/part-{split:06d}.jsonl.gz",
        "key": f"{split:016x}",
        "part": 0,
        "license": "CC0-1.0",
        "rows": 4096 * PER_SPLIT,
        "batches": min(PER_SPLIT, fragments - split * PER_SPLIT),
        "refused": "",
    }


def main() -> None:
    """Make the fragments inside the engine, so that it carries them as it does in a build."""
    fragments, staging = int(sys.argv[1]), sys.argv[2]
    splits = range(-(-fragments // PER_SPLIT))

    def of_split(split: int) -> Iterator[Fragment]:
        return map(fragment, range(split * PER_SPLIT, min(fragments, (split + 1) * PER_SPLIT)))

    with beam.Pipeline(runner=FnApiRunner()) as root:
        listed = root | beam.Create(splits) | beam.Reshuffle()
        root | PlanShards(
            fragments=listed | "Fragments" >> beam.FlatMap(of_split).with_output_types(Fragment),
            records=listed | "Records" >> beam.Map(record, fragments),
            splits=frozenset(f"{split:016x}" for split in splits),
            directory=f"{staging}/fragments",
            staging=staging,
            shard_bytes=128 * 2**20,
            settings="",
        )


if __name__ == "__main__":
    main()
