"""Where rows came from and what became of them, both ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from versatune.schemas.errors import DataError, UsageError
from versatune.versions.trace import trace_origin, trace_row


def row(story, prefix: str) -> dict[str, Any]:
    return trace_row(story.directory / "manifest.json", prefix)


def origin(story, place: str) -> dict[str, Any]:
    return trace_origin(story.directory / "manifest.json", place)


def places(origins: list[dict[str, Any]]) -> list[tuple[str, str, int, int, str]]:
    return [(o["source"], o["uri"], o["row"], o["item"], o["fate"]) for o in origins]


def test_a_written_row_says_where_it_is_and_all_rows_that_say_the_same(story) -> None:
    found = row(story, story.rows["copied"].id)
    assert (found["fate"], found["kept_id"], found["stands_for"]) == ("written", found["id"], [])
    assert places(found["origins"]) == [
        ("one", "raw/one.jsonl", 1, 0, "written"),
        ("two", "raw/two.csv", 0, 0, "duplicate"),
    ]
    shard = found["shard"]
    assert (shard["domain"], shard["source"], shard["license"]) == ("medicine", "one", "MIT")
    assert (story.directory / shard["path"]).is_file()


def test_tags_are_told(story) -> None:
    assert row(story, story.rows["plain"].id)["shard"]["tags"] == ["pii.email"]


def test_a_row_that_stands_for_others_names_them_with_their_copies(story) -> None:
    found = row(story, story.rows["kept"].id)
    (near,) = found["stands_for"]
    assert (near["id"], near["similarity"]) == (story.rows["near"].id, 0.9)
    assert {place[0] for place in places(near["origins"])} == {"one", "zoo"}


def test_a_row_that_was_dropped_says_what_stands_for_it(story) -> None:
    found = row(story, story.rows["near"].id)
    assert (found["fate"], found["kept_id"], found["similarity"]) == ("near_duplicate", story.rows["kept"].id, 0.9)
    assert [place[-1] for place in places(found["origins"])] == ["near_duplicate", "duplicate"]
    assert found["shard"]["id"] == story.rows["kept"].id


def test_a_prefix_of_six_digits_is_enough_where_it_is_unique(story) -> None:
    whole = story.rows["plain"].id
    assert row(story, whole[:6]) == row(story, whole[:20].upper()) == row(story, whole)


def test_every_example_is_found_both_ways(story) -> None:
    for name, made in story.rows.items():
        found = origin(story, f"{made.uri}:{made.row}")
        mine = [item for item in found["items"] if item.get("id") == made.id and item["item"] == made.item]
        assert len(mine) == 1, name
        assert ("shard" in mine[0]) and mine[0]["kept_id"] == row(story, made.id)["kept_id"]
        assert (made.source, made.uri, made.row, made.item) in {p[:4] for p in places(row(story, made.id)["origins"])}


def test_a_row_of_several_examples_tells_each_ones_fate(story) -> None:
    items = origin(story, "raw/two.csv:1")["items"]
    assert [(item["item"], item["fate"]) for item in items] == [(0, "written"), (1, "written"), (2, "rejected")]
    assert (items[2]["stage"], items[2]["reason"], items[2]["detail"]) == ("normalize", "bad_pair", "is wrong")
    assert "payload" not in items[2]


def test_a_rejected_row_a_duplicate_and_a_near_duplicate_by_their_origin(story) -> None:
    (rejected,) = origin(story, "raw/one.jsonl:5")["items"]
    assert (rejected["fate"], rejected["stage"], rejected["reason"]) == ("rejected", "read", "not_json")
    (copy,) = origin(story, "raw/two.csv:0")["items"]
    assert (copy["fate"], copy["kept_id"]) == ("duplicate", story.rows["copied"].id)
    near = story.rows["near"]
    (dropped,) = origin(story, f"{near.uri}:{near.row}")["items"]
    assert (dropped["fate"], dropped["kept_id"]) == ("near_duplicate", story.rows["kept"].id)


def test_the_end_of_a_path_is_enough_and_colons_belong_to_it(story) -> None:
    assert origin(story, "one.jsonl:0")["uri"] == "raw/one.jsonl"
    assert origin(story, "zoo.zip!/a:b.json:0")["uri"] == "zoo.zip!/a:b.json"


@pytest.mark.parametrize(
    ("ask", "kind", "said"),
    [
        (
            lambda s: row(s, "0" * 32),
            DataError,
            r"looked through the lineage of 8 examples.*\n.*broken\.parquet: damaged",
        ),
        (lambda s: row(s, "abc"), UsageError, "expected 6 to 32 hex digits"),
        (lambda s: row(s, "zzzzzzzz"), UsageError, "expected 6 to 32 hex digits"),
        (lambda s: origin(s, "raw/one.jsonl"), UsageError, "expected URI:ROW"),
        (lambda s: origin(s, "raw/one.jsonl:-1"), UsageError, "expected URI:ROW"),
        (lambda s: origin(s, "raw/one.json:1"), DataError, "none of the 4 files .* did you mean 'raw/one.jsonl'"),
        (lambda s: origin(s, "raw/one.jsonl:6"), DataError, "has 6 rows, from 0 to 5; there is no row 6"),
        (lambda s: origin(s, "raw/broken.parquet:0"), DataError, "was refused as a whole. raw/broken.parquet: damaged"),
    ],
)
def test_what_is_not_there_has_one_message(story, ask: Callable[[Any], Any], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=f"(?s){said}"):
        ask(story)


def test_a_prefix_of_several_ids_asks_for_more(story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("versatune.versions.trace._FEWEST_DIGITS", 1)
    digits = [made.id[0] for made in {made.id: made for made in story.rows.values()}.values()]
    shared = next((digit for digit in digits if digits.count(digit) > 1), None)
    assert shared is not None, "the made rows must share a first digit"
    with pytest.raises(UsageError, match="ids begin with it"):
        row(story, shared)


def test_only_the_files_that_may_hold_an_id_are_opened(story) -> None:
    made = story.rows["plain"]
    keep = trace_row(story.directory / "manifest.json", made.id)["shard"]["path"].rpartition("/")[2]
    for file in story.directory.rglob("part-*.parquet"):
        if file.name != keep:
            file.write_bytes(b"")
    assert row(story, made.id)["fate"] == "written"
