"""What a killed build leaves: finished work is used, nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as BeamTestPipeline
from apache_beam.testing.util import assert_that, equal_to

import versatune.transforms.transport.batch_coders  # noqa: F401  # registers how batches travel
from versatune.transforms.shards.resume import (
    Finished,
    PassOverFinished,
    find_finished,
    fragments_directory,
    load_finished,
    save_finished,
    save_read_record,
)
from versatune.transforms.transport.batch import InputSplit, RawBatch
from versatune.transforms.transport.exchange import examples_path


def split_of(record: dict[str, Any], parts: int = 1, **changes: Any) -> InputSplit:
    """Return the split that a corpus made a record of."""
    uri = record["uri"]
    made = InputSplit(source=record["source"], uri=uri, location=f"/{uri}", bytes=9, license=record["license"])
    return replace(made, part=record["part"], parts=parts, **changes)


@pytest.fixture
def killed(corpus: Callable[..., Any]) -> tuple[Any, list[InputSplit]]:
    """Return a build of two files, one of two parts, of two batches each, with all records saved; and its splits."""
    made = corpus(batch_rows=5).file("a", range(20), parts=2).file("b", range(20, 30))
    for record in made.records:
        save_read_record(record, str(made.home))
    splits = [split_of(record, parts=2 if record["uri"] == "a" else 1) for record in made.records]
    assert [split.key for split in splits] == [record["key"] for record in made.records]
    return made, splits


def find(made: Any, splits: list[InputSplit]) -> Finished:
    return find_finished(str(made.home), splits)


def remove(made: Any, key: str) -> None:
    (Path(fragments_directory(str(made.home))) / f"{key}.json").unlink()


def test_splits_that_were_read_to_their_end_are_not_read_again(killed: tuple[Any, list[InputSplit]]) -> None:
    made, splits = killed
    found = find(made, splits)
    assert found.todo == []
    assert sorted(found.records, key=lambda record: record["key"]) == sorted(
        made.records, key=lambda record: record["key"]
    )
    assert sorted(found.fragments, key=lambda f: f.key) == sorted(made.fragments, key=lambda f: f.key)


def test_a_split_without_a_record_is_read_again_and_its_fragments_are_used(
    killed: tuple[Any, list[InputSplit]],
) -> None:
    made, splits = killed
    (Path(made.home) / "reads" / f"{splits[1].key}.json").unlink()
    found = find(made, splits)
    assert found.todo == [splits[1]]
    assert len(found.records) == 2
    assert len(found.fragments) == 6


def test_a_split_of_which_a_batch_is_missing_is_read_again(killed: tuple[Any, list[InputSplit]]) -> None:
    made, splits = killed
    remove(made, f"{splits[0].key}-000001")
    found = find(made, splits)
    assert found.todo == [splits[0]]
    assert f"{splits[0].key}-000000" in {fragment.key for fragment in found.fragments}
    assert len(found.fragments) == 5


def test_a_hub_dataset_is_taken_whole_or_not_at_all(
    killed: tuple[Any, list[InputSplit]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, splits = killed
    monkeypatch.setattr("versatune.transforms.shards.resume.SCHEME", "/b")  # the second file's location
    assert find(made, splits).todo == []
    (Path(made.home) / "reads" / f"{splits[2].key}.json").unlink()
    found = find(made, splits)
    assert found.todo == [splits[2]]
    assert {fragment.split for fragment in found.fragments} == {split.key for split in splits[:2]}


def test_a_split_that_was_refused_is_tried_again(killed: tuple[Any, list[InputSplit]]) -> None:
    made, splits = killed
    save_read_record({**made.records[2], "refused": "b: damaged"}, str(made.home))
    found = find(made, splits)
    assert found.todo == [splits[2]]


def test_a_file_without_rows_is_finished_by_its_record(corpus: Callable[..., Any]) -> None:
    made = corpus().file("empty")
    save_read_record(made.records[0], str(made.home))
    assert find(made, [split_of(made.records[0])]).todo == []


@pytest.mark.parametrize("change", [{"modified": "later"}, {"bytes": 10}, {"license": "CC0-1.0"}, {"start": 1}])
def test_what_was_read_from_a_file_that_has_changed_since_is_ignored(
    killed: tuple[Any, list[InputSplit]], change: dict[str, Any]
) -> None:
    made, splits = killed
    changed = [*splits[:2], replace(splits[2], **change)]
    found = find(made, changed)
    assert found.todo == [changed[2]]
    assert {fragment.split for fragment in found.fragments} == {split.key for split in splits[:2]}
    assert {record["uri"] for record in found.records} == {"a"}


def test_a_file_that_is_gone_leaves_nothing(killed: tuple[Any, list[InputSplit]]) -> None:
    made, splits = killed
    found = find(made, splits[:2])
    assert (found.todo, len(found.records), len(found.fragments)) == ([], 2, 4)


def test_a_fragment_that_was_not_finished_is_none(killed: tuple[Any, list[InputSplit]]) -> None:
    made, splits = killed
    key = f"{splits[2].key}-000000"
    remove(made, key)
    folder = Path(fragments_directory(str(made.home)))
    assert (folder / f"{key}.examples.arrow").exists()
    (folder / f"{key}.json.partial").write_text("{")
    assert find(made, splits).todo == [splits[2]]


@pytest.mark.parametrize("harm", ["gone", "cut short"])
def test_a_batch_whose_file_a_power_cut_took_is_read_again(killed: tuple[Any, list[InputSplit]], harm: str) -> None:
    made, splits = killed
    path = Path(examples_path(fragments_directory(str(made.home)), made.fragments[-1].key))
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:100])
    found = find(made, splits)
    assert found.todo == [splits[2]]
    assert made.fragments[-1] not in found.fragments


def test_records_that_a_power_cut_emptied_are_none(killed: tuple[Any, list[InputSplit]]) -> None:
    made, splits = killed
    (Path(made.home) / "reads" / f"{splits[0].key}.json").write_bytes(b"")
    (Path(fragments_directory(str(made.home))) / f"{splits[2].key}-000001.json").write_bytes(b"")
    found = find(made, splits)
    assert found.todo == [splits[0], splits[2]]
    assert len(found.fragments) == 5


def test_a_first_build_finds_nothing(tmp_path: Path) -> None:
    split = InputSplit(source="s", uri="a", location="/a", bytes=1)
    assert find_finished(str(tmp_path / "staging"), [split]) == Finished([], [], [split])


def test_a_resumed_build_plans_the_same_shards(killed: tuple[Any, list[InputSplit]]) -> None:
    made, splits = killed
    (Path(made.home) / "reads" / f"{splits[1].key}.json").unlink()
    remove(made, f"{splits[1].key}-000001")
    whole = made.plan()
    found = find(made, splits)
    again = [fragment for fragment in made.fragments if fragment.split == splits[1].key]  # read again, all of it
    made.fragments = [*again, *found.fragments]
    made.records = [*found.records, made.records[1]]
    assert made.plan() == whole


def test_batches_that_have_a_fragment_are_passed_over(killed: tuple[Any, list[InputSplit]]) -> None:
    made, splits = killed
    remove(made, f"{splits[0].key}-000001")
    batches = [RawBatch(splits[0], number, number, [b"{}"]) for number in range(4)]
    path = save_finished(find(made, splits), str(made.home))
    with BeamTestPipeline(runner="FnApiRunner") as root:
        left = root | beam.Create(batches) | PassOverFinished(finished=path)
        assert left.element_type is RawBatch
        assert_that(left | beam.Map(lambda batch: batch.number), equal_to([1, 2, 3]))


def test_finished_fragments_travel_as_a_file_named_by_its_content(killed: tuple[Any, list[InputSplit]]) -> None:
    made, splits = killed
    found = find(made, splits)
    path = save_finished(found, str(made.home))
    assert path is not None
    assert list(load_finished(path)) == found.fragments
    remove(made, f"{splits[0].key}-000001")
    assert save_finished(find(made, splits), str(made.home)) != path
    assert save_finished(Finished([], [], splits), str(made.home)) is None
