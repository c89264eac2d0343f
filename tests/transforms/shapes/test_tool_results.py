"""Which result belongs to which call."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from versatune.transforms.shapes.base import RowError
from versatune.transforms.shapes.conversation import example_id, read_examples


def conversation(calls: list[dict[str, Any]], results: list[dict[str, Any]]) -> bytes:
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "", "tool_calls": calls}]
    turns += [{"role": "tool", **result} for result in results]
    return orjson.dumps({"messages": [*turns, {"role": "assistant", "content": "A"}]})


def call(name: str, identity: Any = None) -> dict[str, Any]:
    function = {"type": "function", "function": {"name": name, "arguments": {}}}
    return function if identity is None else function | {"id": identity}


def results_of(row: bytes) -> list[str]:
    (example,) = read_examples(row)
    return [content for role, content in example.messages if role == "tool"]


def reason_of(row: bytes) -> tuple[str, str]:
    with pytest.raises(RowError) as caught:
        read_examples(row)
    return caught.value.reason, caught.value.detail


@given(st.permutations(range(4)), st.sampled_from(["tool_call_id", "call_id", "toolCallId", "id", "name", "toolName"]))
def test_results_are_put_into_the_order_of_the_calls_they_name(order: list[int], field: str) -> None:
    calls = [call(f"f{n}", f"id{n}") for n in range(4)]
    value = "f{}" if "name" in field.lower() else "id{}"
    results = [{field: value.format(n), "content": f"r{n}"} for n in order]
    assert results_of(conversation(calls, results)) == ["r0", "r1", "r2", "r3"]


def test_an_id_counts_before_a_name_and_a_number_is_an_id() -> None:
    calls = [call("f", 0), call("g", 1)]
    results = [{"tool_call_id": 1, "name": "f", "content": "g's"}, {"tool_call_id": 0, "name": "g", "content": "f's"}]
    assert results_of(conversation(calls, results)) == ["f's", "g's"]


def test_an_id_of_the_turn_itself_names_no_call() -> None:
    calls = [call("f", "a"), call("g", "b")]
    assert results_of(conversation(calls, [{"id": "m1", "content": "1"}, {"id": "m2", "content": "2"}])) == ["1", "2"]
    results = [{"id": "b", "tool_call_id": "a", "content": "1"}, {"id": "a", "tool_call_id": "b", "content": "2"}]
    assert results_of(conversation(calls, results)) == ["1", "2"]


def test_where_calls_share_an_id_the_name_tells() -> None:
    calls = [call("f", "0"), call("g", "0")]
    results = [{"tool_call_id": "0", "name": name, "content": name} for name in ("g", "f")]
    assert results_of(conversation(calls, results)) == ["f", "g"]


def test_of_several_calls_of_one_name_the_first_without_a_result_takes_it() -> None:
    calls = [call("f"), call("g"), call("f")]
    results = [{"name": "f", "content": "1"}, {"name": "f", "content": "2"}, {"name": "g", "content": "3"}]
    assert results_of(conversation(calls, results)) == ["1", "3", "2"]


def test_without_ids_and_names_the_place_decides_and_one_result_may_be_that_of_all() -> None:
    calls = [call("f", "a"), call("g", "b")]
    assert results_of(conversation(calls, [{"content": "1"}, {"content": "2"}])) == ["1", "2"]
    assert results_of(conversation(calls, [{"content": "both"}])) == ["both"]
    mixed = [{"content": "1"}, {"tool_call_id": "a", "content": "2"}]
    assert results_of(conversation(calls, mixed)) == ["2", "1"]


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([{"tool_call_id": "z", "content": "1"}], "a result of no call (by its id)"),
        ([{"name": "z", "content": "1"}], "a result of no call (by its name)"),
        ([{"tool_call_id": "a", "content": "1"}] * 2, "two results of one call (by its id)"),
        ([{"tool_call_id": "b", "content": "1"}], "1 of 2 calls have no result"),
        ([{"tool_call_id": "a", "content": "1"}, {"content": "2"}, {"content": "3"}], "more results than calls"),
    ],
)
def test_what_cannot_be_bound_is_rejected_with_the_reason(results: list[dict[str, Any]], said: str) -> None:
    reason, detail = reason_of(conversation([call("f", "a"), call("g", "b")], results))
    assert reason == "tool_order"
    assert said in detail


def test_ids_are_those_of_their_own_round() -> None:
    turns: list[dict[str, Any]] = [{"role": "user", "content": "Q"}]
    for said in ("1", "2"):
        turns.append({"role": "assistant", "content": None, "tool_calls": [call("f", "0"), call("g", "1")]})
        turns += [{"role": "tool", "tool_call_id": i, "content": f"{said}{i}"} for i in ("1", "0")]
    turns.append({"role": "assistant", "content": "A"})
    assert results_of(orjson.dumps({"messages": turns})) == ["10", "11", "20", "21"]


def test_results_after_the_last_act_are_left_out_whatever_they_name() -> None:
    row = orjson.loads(conversation([call("f", "a"), call("g", "b")], [{"tool_call_id": "a", "content": "1"}]))
    (example,) = read_examples(orjson.dumps({"messages": row["messages"][:-1]}))
    assert [role for role, _ in example.messages] == ["user", "tool_call"]


def test_ids_stay_with_the_calls_and_do_not_count_for_the_rows_id() -> None:
    rows = [conversation([call("f", i)], [{"content": "1"}]) for i in (None, "x", "y")]
    examples = list(itertools.chain(*map(read_examples, rows)))
    assert [orjson.loads(e.messages[1][1])[0].get("id") for e in examples] == [None, "x", "y"]
    assert len(set(map(example_id, examples))) == 1
