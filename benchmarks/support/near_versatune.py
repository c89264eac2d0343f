"""The near-duplicate stage of a build, one block and one band after the other; run by near_duplicates.py."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.near_common import BANDS, PERMUTATIONS, PLACES, SIMILARITY, main
from benchmarks.support.planted import NGRAM
from versatune.schemas.arrow import MESSAGES
from versatune.schemas.config import NearDuplicatesConfig
from versatune.transforms.overlap.minhash import choose_bands
from versatune.transforms.overlap.near_duplicates import dropped_of, write_clusters, write_links, write_signatures

BATCH_ROWS = 4096


def find(texts: list[str], folder: Path) -> Callable[[], list[int]]:
    """Put the texts into batches, as they come out of the step before; a row's id is its number."""
    settings = NearDuplicatesConfig(enabled=True, similarity=SIMILARITY, ngram=NGRAM, permutations=PERMUTATIONS)
    assert choose_bands(SIMILARITY, PERMUTATIONS) == (BANDS, PLACES)
    batches = [_batch(texts, start) for start in range(0, len(texts), BATCH_ROWS)]
    texts.clear()

    def timed() -> list[int]:
        blocks = [write_signatures(batch, settings, str(folder), f"{at:06d}") for at, batch in enumerate(batches)]
        links = [write_links(blocks, band, SIMILARITY, str(folder)) for band in range(BANDS)]
        clusters = write_clusters(blocks, links, f"{folder}/near_duplicates.parquet")
        return [int(number) for number in dropped_of(clusters.path)[0][:, 1]]

    return timed


def _batch(texts: list[str], start: int) -> pa.RecordBatch:
    here = texts[start : start + BATCH_ROWS]
    turns = pa.StructArray.from_arrays([pa.repeat("user", len(here)), pa.array(here)], fields=list(MESSAGES.value_type))
    messages = pa.ListArray.from_arrays(pa.array(range(len(here) + 1), pa.int32()), turns, type=MESSAGES)
    return pa.record_batch(
        {"id": [f"{number:032x}" for number in range(start, start + len(here))], "messages": messages}
    )


if __name__ == "__main__":
    main(find)
