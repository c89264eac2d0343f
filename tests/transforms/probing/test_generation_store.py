"""Kept generations: whole or absent, each index once."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from versatune.transforms.engines.engine import Failure, Generation, Outcome
from versatune.transforms.probing.generation_store import KEPT, keep_outcomes, read_failures, read_store, store_key
from versatune.transforms.transport.part_store import count_kept, sweep


def _generations(first: int, count: int, text: str = "text") -> list[Outcome]:
    return [Generation(index, 100 + index, f"{text} {index}", 3, "stop") for index in range(first, first + count)]


def test_what_is_kept_is_read_back_in_order_of_index(tmp_path: Path) -> None:
    keep_outcomes(_generations(4, 2), {"seconds": 2.0}, str(tmp_path / "store"))
    keep_outcomes(_generations(0, 4), {"seconds": 1.0}, str(tmp_path / "store"))
    kept = read_store(str(tmp_path / "store"))
    assert kept.table.schema.equals(KEPT)
    assert kept.table.column("index").to_pylist() == list(range(6))
    assert kept.table.column("text").to_pylist() == [f"text {index}" for index in range(6)]
    assert kept.batches == [{"seconds": 1.0, "tokens": 12}, {"seconds": 2.0, "tokens": 6}]
    assert kept.batch == [0, 0, 0, 0, 1, 1]


def test_a_part_of_the_indices_is_read_from_the_files_that_hold_it(tmp_path: Path) -> None:
    for first in (0, 4, 8):
        keep_outcomes(_generations(first, 4), {"first": first}, str(tmp_path))
    kept = read_store(str(tmp_path), 3, 6)
    assert kept.table.column("index").to_pylist() == [3, 4, 5]
    assert [kept.batches[number]["first"] for number in kept.batch] == [0, 4, 4]
    assert len(kept.batches) == 2


def test_failures_are_noted_apart_with_their_reason(tmp_path: Path) -> None:
    keep_outcomes([*_generations(0, 2), Failure(2, 102, "request_failed", "500")], {}, str(tmp_path))
    keep_outcomes([Failure(4, 104, "timeout", "120 s")], {}, str(tmp_path))
    assert read_store(str(tmp_path)).table.column("index").to_pylist() == [0, 1]
    assert read_failures(str(tmp_path)) == {2: "request_failed", 4: "timeout"}
    assert count_kept(str(tmp_path)) == 2


def test_a_store_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_store(str(tmp_path / "absent")).table.num_rows == 0
    assert count_kept(str(tmp_path / "absent")) == 0


def test_of_two_rows_with_one_index_the_first_file_s_is_kept(tmp_path: Path) -> None:
    keep_outcomes(_generations(0, 2, "one"), {}, str(tmp_path))
    keep_outcomes(_generations(0, 2, "two"), {}, str(tmp_path))
    first = min(tmp_path.glob("part-*"))
    expected = pq.read_table(first).column("text").to_pylist()
    assert read_store(str(tmp_path)).table.column("text").to_pylist() == expected


def test_damaged_and_foreign_files_are_swept_and_their_samples_are_missing(tmp_path: Path) -> None:
    keep_outcomes(_generations(0, 2), {}, str(tmp_path))
    keep_outcomes(_generations(2, 2), {}, str(tmp_path))
    cut = min(tmp_path.glob("part-*"))
    cut.write_bytes(cut.read_bytes()[:-20])
    foreign = tmp_path / "part-00000008-1-aaaaaaaa.parquet"
    pq.write_table(pq.read_table(sorted(tmp_path.glob("part-*"))[1]).drop_columns(["seed"]), foreign)
    (tmp_path / "part-00000009-1-bbbbbbbb.parquet").write_bytes(b"")
    leftover = tmp_path / "part-00000004.00000006-2-cccccccc.parquet.dddddddd.partial"
    leftover.write_bytes(b"half")
    sweep(str(tmp_path))
    assert read_store(str(tmp_path)).table.column("index").to_pylist() == [2, 3]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_whose_structure_is_whole_and_whose_content_is_not_is_swept_too(tmp_path: Path) -> None:
    for first in (0, 2):
        keep_outcomes(_generations(first, 2), {}, str(tmp_path))
    changed = min(tmp_path.glob("part-*"))
    table = pq.read_table(changed)
    pq.write_table(table.set_column(2, table.schema.field(2), [["other", "texts"]]), changed)
    assert read_store(str(tmp_path)).table.column("index").to_pylist() == [2, 3]
    assert not changed.exists()


def test_files_of_an_earlier_versatune_with_names_by_chance_are_read(tmp_path: Path) -> None:
    keep_outcomes(_generations(0, 2), {}, str(tmp_path))
    (file,) = tmp_path.glob("part-*")
    file.rename(tmp_path / "part-00000000.00000001-2-0badcafe.parquet")
    assert read_store(str(tmp_path)).table.column("index").to_pylist() == [0, 1]


def test_the_files_names_say_how_many_samples_there_are(tmp_path: Path) -> None:
    keep_outcomes(_generations(0, 3), {}, str(tmp_path))
    keep_outcomes(_generations(3, 4), {}, str(tmp_path))
    assert count_kept(str(tmp_path)) == 7


def test_text_of_any_kind_survives(tmp_path: Path) -> None:
    text = "\x00 line\nbreak \u2028 \U0001f600 \ufffd"
    keep_outcomes([Generation(0, 1, text, 3, "length")], {}, str(tmp_path))
    assert read_store(str(tmp_path)).table.column("text").to_pylist() == [text]


def test_whatever_decides_a_sample_decides_the_store() -> None:
    base = {"model": "a", "prompt_token_id": 1, "sampling": {"temperature": 1.0}, "seed": 0}
    changes = [{}, {"model": "b"}, {"prompt_token_id": 2}, {"sampling": {"temperature": 0.9}}, {"seed": 1}]
    keys = [store_key(**{**base, **change}) for change in changes]  # type: ignore[arg-type]
    assert len(set(keys)) == len(changes)
    assert keys[0] == store_key(**base)  # type: ignore[arg-type]
