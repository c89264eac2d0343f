"""Which way rows come together: through files, or through the shuffle of the engine. The dataset is the same."""

from __future__ import annotations

from versatune.schemas.config import BuildConfig
from versatune.transforms.shards.plan_shards import count_merges

_SPILLING = ("DataflowRunner", "FlinkRunner", "SparkRunner")
"""Engines whose shuffle does not have to fit into memory."""
_ROW_BYTES = 1024  # of text in a usual row


def uses_shuffle(build: BuildConfig, runner: str, input_bytes: int, buckets: int) -> bool:
    """Choose the engine's shuffle where it is asked for; or, left to us, where files would have to be merged first on several machines.

    Merging writes all rows once more, and each bucket then waits for some hundred requests; a shuffle moves the same bytes once.

    Args:
        build: its ``exchange``, and the rows in a batch.
        runner: the engine's name.
        input_bytes: about how many bytes of rows there are.
        buckets: about how many buckets.
    """
    if build.exchange != "auto":
        return build.exchange == "shuffle"
    fragments = input_bytes // (build.batch_rows * _ROW_BYTES)
    return runner in _SPILLING and count_merges(fragments, buckets) > 0
