"""Whether the machines of an engine can reach what a configuration names: found before a job is made, not when its workers fail."""

from __future__ import annotations

from collections.abc import Iterable

from apache_beam.options.pipeline_options import PipelineOptions

from versatune.pipelines.options import runner_name
from versatune.schemas.errors import ConfigError
from versatune.schemas.remote import is_remote

_ELSEWHERE = ("DataflowRunner", "TestDataflowRunner")
"""Engines whose workers share no disk with this machine; others (Flink, Spark, a pool of workers) may."""
_SHOWN = 5


def check_reach(options: PipelineOptions, places: Iterable[tuple[str, str]]) -> None:
    """Refuse places on this machine where the work is done on others.

    Args:
        options: which engine it is.
        places: what is named and where it is, such as ("output", "/home/me/outputs").

    Raises:
        ConfigError: naming all of them.
    """
    if runner_name(options) not in _ELSEWHERE:
        return
    if local := list(dict.fromkeys(f"{what} is {where}" for what, where in places if not is_remote(where))):
        more = f" and {len(local) - _SHOWN:,} more" if len(local) > _SHOWN else ""
        raise ConfigError(
            f"{runner_name(options)} works on machines that cannot read this one's files: {'; '.join(local[:_SHOWN])}{more}. Copy them to a"
            " bucket, and name their addresses, such as gs://BUCKET/raw/*.jsonl"
        )
