"""Signature blocks: one for each batch with examples, there before its fragment is, found again by its key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.testing.test_pipeline import TestPipeline as BeamTestPipeline
from apache_beam.testing.util import assert_that, equal_to

import versatune.transforms.transport.batch_coders  # noqa: F401  # registers how batches travel
from versatune.schemas.arrow import REJECT
from versatune.schemas.config import NearDuplicatesConfig
from versatune.transforms.overlap.near_duplicates import signature_rows
from versatune.transforms.shards.shard_plan import save_plan
from versatune.transforms.shards.signatures import ListSignatures, WriteSignatures
from versatune.transforms.transport.batch import Batch, InputSplit

SETTINGS = NearDuplicatesConfig(enabled=True)


def test_each_batch_with_examples_gets_a_block_and_passes(rows: Callable[..., pa.RecordBatch], tmp_path: Path) -> None:
    split = InputSplit(source="s", uri="a", location="/a", bytes=1)
    chat = [("user", "one two three four five six"), ("assistant", "seven")]
    rejects = pa.RecordBatch.from_pylist([], schema=REJECT)
    batches = [
        Batch(f"{split.key}-{number:06d}", split, examples, rejects, Counter())
        for number, examples in enumerate([rows(chat, chat), rows()])
    ]
    with BeamTestPipeline(runner="FnApiRunner") as root:
        passed = root | beam.Create(batches) | WriteSignatures(settings=SETTINGS, directory=str(tmp_path))
        assert passed.element_type is Batch
        keys = passed | beam.Map(lambda batch: (batch.key, batch.examples.num_rows))
        assert_that(keys, equal_to([(batches[0].key, 2), (batches[1].key, 0)]))
    (block,) = tmp_path.iterdir()
    assert block.name == f"{batches[0].key}.arrow"
    with pa.memory_map(str(block)) as stream:
        assert pa.ipc.open_file(stream).get_batch(0).equals(signature_rows(batches[0].examples, SETTINGS))


def test_the_blocks_of_a_plan_are_those_of_its_fragments_with_examples(corpus: Callable[..., Any]) -> None:
    made = corpus(batch_rows=2).file("a", range(3)).file("b", rejects=[(0, "read.not_json")])
    made.file("c", [9], refused="c: damaged")
    keys = [fragment.key for fragment in made.fragments[:2]]
    with BeamTestPipeline(runner="FnApiRunner") as root:
        paths = root | beam.Create([save_plan(made.plan(), str(made.home))]) | ListSignatures(directory="/s")
        assert_that(paths, equal_to([f"/s/{key}.arrow" for key in keys]))
