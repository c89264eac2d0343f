"""The plan: a function of what was read, in whatever order it arrives, and never of less."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as BeamTestPipeline
from apache_beam.testing.util import assert_that, equal_to

from versatune.schemas.errors import RunError
from versatune.transforms.shards.plan_shards import PlanShards, plan_shards
from versatune.transforms.shards.shard_plan import Planned, ShardPlan, load_plan, save_plan

MakeCorpus = Callable[..., Any]


def plan_of(corpus: Any, **changes: Any) -> ShardPlan:
    values: dict[str, Any] = {"directory": f"{corpus.home}/fragments", "shard_bytes": 1000, "settings": "x"}
    return plan_shards(**{"fragments": corpus.fragments, "records": corpus.records, **values, **changes})


def rejecting(plan: ShardPlan) -> list[list[Planned]]:
    """Return the fragments of each group that have rejects."""
    return [[found for found in plan.fragments(*bounds) if found.rejected] for bounds in plan.reject_groups]


@pytest.fixture
def three(corpus: MakeCorpus) -> Any:
    """Return three files, one of them in three parts, some with rejects."""
    made = corpus(batch_rows=4)
    made.file("b", range(10), rejects=[(11, "read.not_json"), (10, "read.not_json")], parts=3)
    made.file("a", range(20, 25), rejects=[(5, "clean.too_long")], source="two")
    return made.file("a", range(30, 33))


def test_the_plan_does_not_depend_on_the_order_of_arrival(three: Any) -> None:
    first = plan_of(three)
    for seed in range(5):
        fragments, records = list(three.fragments), list(three.records)
        random.Random(seed).shuffle(fragments)
        random.Random(seed + 1).shuffle(records)
        assert plan_of(three, fragments=fragments, records=records) == first


def test_fragments_are_in_the_order_of_source_file_part_and_row(three: Any) -> None:
    plan = plan_of(three)
    places = [plan.places[fragment.split] for fragment in plan.fragments()]
    assert [(place.source, place.uri, place.part) for place in places] == [
        ("one", "a", 0), ("one", "b", 0), ("one", "b", 1), ("one", "b", 2), ("two", "a", 0), ("two", "a", 0),
    ]  # fmt: skip
    *_, one, other = plan.fragments()
    assert one.key < other.key


def test_the_rows_of_a_part_are_counted_on_from_the_parts_before_it(three: Any) -> None:
    first_rows = {(p.uri, p.part): p.first_row for p in plan_of(three).places.values() if p.source == "one"}
    assert first_rows == {("a", 0): 0, ("b", 0): 0, ("b", 1): 4, ("b", 2): 8}


def test_a_fragment_that_arrives_twice_counts_once(three: Any) -> None:
    assert plan_of(three, fragments=[*three.fragments, *three.fragments[2:5]]) == plan_of(three)


@pytest.mark.parametrize("broken", range(3))
def test_of_a_refused_file_no_part_stays(three: Any, broken: int) -> None:
    records = [
        {**record, "refused": "damaged"} if (record["uri"], record["part"]) == ("b", broken) else record
        for record in three.records
    ]
    plan = plan_of(three, records=records)
    assert {place.uri for place in plan.places.values()} == {"a"}
    assert len(list(plan.fragments())) == 3
    assert [[fragment.split for fragment in group] for group in rejecting(plan)] == [
        [plan.table["key"][2].as_py().partition("-")[0]]
    ]
    assert plan.basis != plan_of(three).basis


def test_of_a_refused_file_batches_may_be_missing(three: Any) -> None:
    records = [
        {**record, "refused": "damaged", "batches": 9} if record["uri"] == "b" else record for record in three.records
    ]
    assert len(plan_of(three, records=records).table) == 3


def test_a_lost_fragment_is_noticed(three: Any) -> None:
    with pytest.raises(RunError, match="b was read as 1 batches, 0 arrived: rows were lost"):
        plan_of(three, fragments=three.fragments[1:])


def test_a_lost_record_is_noticed(three: Any) -> None:
    with pytest.raises(RunError, match="batches of 1 parts of files arrived without the record"):
        plan_of(three, records=three.records[1:])


def test_buckets_depend_on_the_texts_alone(three: Any, corpus: MakeCorpus) -> None:
    plan = plan_of(three)
    assert plan.buckets == 2  # 18 rows of 3 characters and 64 bytes
    assert plan_of(three, shard_bytes=100).buckets == 16
    again = corpus("again", parts=1, batch_rows=50)  # the same rows in other files, parts and batches
    again.file("z", [*range(10), *range(20, 25), *range(30, 33)])
    assert plan_of(again).buckets == plan.buckets
    assert plan_of(again).basis != plan.basis


@pytest.mark.parametrize(
    "change",
    [
        {"settings": "y"},
        {"shard_bytes": 100},
        {"fragment": {"rows": 99}},
        {"fragment": {"rejected": 99}},
        {"record": {"license": "CC0-1.0"}},
        {"record": {"rows": 5}},
        {"record": {"uri": "c"}},
        {"record": {"source": "zero"}},
    ],
    ids=str,
)
def test_whatever_decides_the_shards_is_in_the_basis(three: Any, change: dict[str, Any]) -> None:
    changes = dict(change)
    if values := changes.pop("fragment", None):
        changes["fragments"] = [replace(three.fragments[0], **values), *three.fragments[1:]]
    if values := changes.pop("record", None):
        changes["records"] = [{**three.records[0], **values}, *three.records[1:]]
    assert plan_of(three, **changes).basis != plan_of(three).basis


def test_rejects_are_grouped_by_their_bytes(three: Any) -> None:
    together = rejecting(plan_of(three, shard_bytes=10**6))
    apart = rejecting(plan_of(three, shard_bytes=1))
    assert [len(group) for group in together] == [2]
    assert [len(group) for group in apart] == [1, 1]
    assert together[0] == [apart[0][0], apart[1][0]]
    places = plan_of(three).places
    assert [places[fragment.split].source for fragment in together[0]] == ["one", "two"]


def test_a_build_that_read_nothing_has_a_plan(corpus: MakeCorpus) -> None:
    plan = plan_of(corpus().file("empty"))
    assert (plan.buckets, len(plan.table), plan.reject_groups) == (1, 0, [])
    assert len(plan.places) == 1


def test_the_transform_gives_what_the_function_gives(three: Any) -> None:
    with BeamTestPipeline(runner="FnApiRunner") as root:
        plans = root | PlanShards(
            fragments=root | "F" >> beam.Create(three.fragments[::-1]),
            records=root | "R" >> beam.Create(three.records[::-1]),
            splits=frozenset(record["key"] for record in three.records),
            directory=f"{three.home}/fragments",
            staging=str(three.home),
            shard_bytes=1000,
            settings="x",
        )
        expected = plan_of(three)
        assert_that(plans, equal_to([save_plan(expected, str(three.home))]))
    assert load_plan(save_plan(expected, str(three.home)).path) == expected


def test_a_part_of_which_nothing_was_heard_is_noticed(three: Any) -> None:
    keys = frozenset([*(record["key"] for record in three.records), "never-read"])
    with pytest.raises(Exception, match="nothing is known of 1 of"), BeamTestPipeline(runner="FnApiRunner") as root:
        root | PlanShards(
            fragments=root | "F" >> beam.Create(three.fragments),
            records=root | "R" >> beam.Create(three.records),
            splits=keys,
            directory="",
            staging="",
            shard_bytes=1000,
            settings="x",
        )
