from __future__ import annotations

import gzip
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from benchmarks.build_throughput import figures, scaling
from benchmarks.support.build_ceiling import work
from benchmarks.support.common import Measured
from benchmarks.support.job import SCHEMA, pair, record_batch
from benchmarks.support.synthetic import FILES, make_file


def taken(seconds: float, memory: float = 100.0) -> list[Measured]:
    return [Measured(seconds * factor, seconds, memory) for factor in (1.0, 0.5, 3.0)]


def test_a_ratio_above_one_says_that_the_build_is_faster() -> None:
    found = figures(
        1000, {"build": taken(2.0), "ceiling": taken(1.0), "datatrove": taken(4.0), "datasets": taken(2.5, 400.0)}
    )
    assert found["ratio_to_ceiling"] == 0.5
    assert found["ratio_to_datatrove"] == 2.0
    assert found["ratio_to_datasets_map"] == 1.25
    assert found["memory_ratio_to_datasets_map"] == 0.25
    assert found["rows_per_s"]["build"] == 500


def test_without_peers_their_keys_are_left_out() -> None:
    found = figures(1000, {"build": taken(2.0), "ceiling": taken(1.0)})
    assert not [key for key in found if "datatrove" in key or "datasets" in key]


def test_scaling_compares_throughput_with_the_smallest_and_memory_with_the_middle() -> None:
    found = scaling({100: taken(1.0, 10.0), 200: taken(2.0, 50.0), 1000: taken(8.0, 60.0)})
    assert found["per_row_ratio"] == 1.25
    assert found["peak_rss_ratio"] == 1.2


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    make_file(folder, 100 * FILES, 1, 0)
    return folder


def test_the_same_arguments_give_the_same_rows(raw: Path, tmp_path: Path) -> None:
    make_file(tmp_path, 100 * FILES, 1, 0)
    first, second = ((folder / "part-0.jsonl.gz") for folder in (raw, tmp_path))
    lines = gzip.decompress(first.read_bytes()).splitlines()
    assert lines == gzip.decompress(second.read_bytes()).splitlines()
    assert len(lines) == 100
    assert len(set(lines)) < 100


def test_the_ceiling_writes_every_row_with_its_label(raw: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    work(0, [raw / "part-0.jsonl.gz"], output)
    written = [row for file in output.glob("*.parquet") for row in pq.read_table(file, schema=SCHEMA).to_pylist()]
    lines = gzip.decompress((raw / "part-0.jsonl.gz").read_bytes()).splitlines()
    expected = record_batch([pair(orjson.loads(line)) for line in lines]).to_pylist()
    assert sorted(map(repr, written)) == sorted(map(repr, expected))
