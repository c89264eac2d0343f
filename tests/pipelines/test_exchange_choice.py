"""Whichever way rows come together the dataset is the same; which way is chosen depends on the engine and on how much there is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from versatune.pipelines.build import run
from versatune.pipelines.exchange_choice import uses_shuffle
from versatune.schemas.config import BuildConfig
from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.progress import Silence
from versatune.transforms.shards import plan_shards

SETTINGS = {"shard_bytes": 4000, "batch_rows": 10}
BILLION = 1200 * 10**9  # bytes


@pytest.fixture
def merging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merge fragments however few they are."""
    monkeypatch.setattr(plan_shards, "RUNS", 3)
    monkeypatch.setattr(plan_shards, "_MERGED_FROM", 0)


def built(config: Any) -> tuple[str, dict[str, bytes]]:
    path = run(config, progress=Silence())
    found = {str(file.relative_to(path.parent)): file.read_bytes() for file in path.parent.rglob("*.parquet")}
    return DatasetManifest.load(path).digest, found


@pytest.fixture
def reference(make_config: Any) -> tuple[str, dict[str, bytes]]:
    return built(make_config("reference", **SETTINGS))


def test_a_build_through_the_engines_shuffle_is_the_same(make_config: Any, reference: Any) -> None:
    assert built(make_config("shuffled", exchange="shuffle", **SETTINGS)) == reference


@pytest.mark.usefixtures("merging")
@pytest.mark.parametrize("call", [1, 3])
def test_a_build_that_merges_is_the_same_and_goes_on_where_it_was_killed(
    make_config: Any, reference: Any, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    from versatune.transforms.shards import runs

    config = make_config("merged", exchange="files", **SETTINGS)
    whole, calls = runs.replace_bytes, iter(range(1, 100))

    def fail(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == call:
            raise OSError("power cut")
        return whole(*args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(Exception, match="power cut"):
        patch.setattr(runs, "replace_bytes", fail)
        run(config, progress=Silence())
    merged: list[Any] = []
    write = runs.merged
    monkeypatch.setattr(runs, "merged", lambda plan, number: (merged.append(number), write(plan, number))[1])
    assert built(config) == reference
    assert len(merged) == 3 - (call - 1)  # runs that have a record are not merged again
    assert not list(Path(config.home).glob(".staging-*"))


@pytest.mark.usefixtures("merging")
def test_a_killed_build_may_go_on_through_another_exchange(
    make_config: Any, reference: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_config("both", exchange="files", **SETTINGS)
    with monkeypatch.context() as patch, pytest.raises(Exception, match="power cut"):
        module = sys.modules["versatune.transforms.shards.write_shards"]
        whole, calls = module.replace_bytes, iter(range(1, 100))  # type: ignore[attr-defined]

        def fail(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == 2:
                raise OSError("power cut")
            return whole(*args, **kwargs)

        patch.setattr(module, "replace_bytes", fail)
        run(first, progress=Silence())
    assert built(make_config("both", exchange="shuffle", **SETTINGS)) == reference


@pytest.mark.parametrize(
    ("exchange", "runner", "size", "shuffle"),
    [
        ("auto", "FnApiRunner", BILLION, False),
        ("auto", "DirectRunner", BILLION, False),
        ("auto", "DataflowRunner", BILLION, True),
        ("auto", "FlinkRunner", BILLION, True),
        ("auto", "DataflowRunner", BILLION // 1000, False),
        ("files", "DataflowRunner", BILLION, False),
        ("shuffle", "FnApiRunner", 1, True),
    ],
)
def test_the_engines_shuffle_is_for_large_builds_on_several_machines(
    exchange: str, runner: str, size: int, shuffle: bool
) -> None:
    build = BuildConfig.model_validate({"exchange": exchange})
    assert uses_shuffle(build, runner, size, 16384 if size == BILLION else 16) is shuffle


def test_the_exchange_is_no_part_of_a_datasets_identity(make_config: Any) -> None:
    one, other = (make_config(name, exchange=name) for name in ("files", "shuffle"))
    assert one.build_fingerprint() == other.build_fingerprint()
