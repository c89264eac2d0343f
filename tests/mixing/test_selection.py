from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from versatune.mixing.selection import draw_rows, first_draw, pass_order, row_key, shuffle_order, take_token_budget
from versatune.schemas.errors import ConfigError, DataError

IDS = [f"row-{i:04d}" for i in range(50)]


@given(permutation=st.permutations(range(20)), count=st.integers(0, 70), seed=st.integers(0, 2**31))
def test_selection_does_not_depend_on_the_order_rows_come_in(permutation: list[int], count: int, seed: int) -> None:
    shuffled = [IDS[i] for i in permutation]
    plain, other = draw_rows(seed, "law", IDS[:20], count), draw_rows(seed, "law", shuffled, count)
    assert [IDS[i] for i in plain.rows] == [shuffled[i] for i in other.rows]
    assert plain.passes.tolist() == other.passes.tolist()


@given(n=st.integers(1, 30), count=st.integers(0, 100))
def test_every_row_is_drawn_the_floor_or_the_ceiling_of_its_share(n: int, count: int) -> None:
    copies = np.bincount(draw_rows(3, "code", IDS[:n], count).rows, minlength=n)
    assert set(copies.tolist()) <= {count // n, -(-count // n)}


def test_seed_domain_and_pass_each_change_the_order() -> None:
    base = pass_order(1, "law", 0, IDS).tolist()
    assert sorted(base) == list(range(50))
    for other in (pass_order(2, "law", 0, IDS), pass_order(1, "code", 0, IDS), pass_order(1, "law", 1, IDS)):
        assert other.tolist() != base


def test_order_is_by_key_and_the_key_is_the_documented_hash() -> None:
    order = pass_order(1, "law", 2, IDS)
    keys = [row_key(1, "law", 2, IDS[i]) for i in order]
    assert keys == sorted(keys)
    assert keys[0] == int.from_bytes(
        hashlib.blake2b(f"1|law|2|{IDS[order[0]]}".encode(), digest_size=8).digest(), "big"
    )


def test_a_smaller_draw_is_the_start_of_a_larger_one() -> None:
    assert draw_rows(1, "law", IDS, 120).rows[:30].tolist() == draw_rows(1, "law", IDS, 30).rows.tolist()


@pytest.mark.parametrize("counts", [[7, 30, 64, 0, 51], [50, 50, 50], [1] * 60])
def test_continued_draws_join_to_one_long_draw(counts: list[int]) -> None:
    rows: list[int] = []
    for segment, count in enumerate(counts):
        first_pass, offset = first_draw("continue", segment, len(rows), len(IDS))
        rows += draw_rows(1, "law", IDS, count, first_pass, offset).rows.tolist()
    assert rows == draw_rows(1, "law", IDS, sum(counts)).rows.tolist()


def test_fresh_segments_differ_and_fixed_segments_repeat() -> None:
    def segment(redraw: str, number: int) -> list[int]:
        draws = draw_rows(1, "law", IDS, 20, *first_draw(redraw, number, 20 * number, len(IDS)))
        return [int(row) for row in draws.rows]

    assert first_draw("fresh", 3, 999, 50) == (3000, 0)
    assert segment("fresh", 0) != segment("fresh", 1)
    assert segment("fixed", 0) == segment("fixed", 1) == segment("fresh", 0)
    with pytest.raises(ConfigError, match="did you mean 'fresh'"):
        first_draw("frsh", 0, 0, 1)


def test_shuffle_tells_copies_apart_and_changes_with_the_segment() -> None:
    ids, copies = [*IDS, *IDS], [0] * 50 + [1] * 50
    order = shuffle_order(1, 0, ids, copies)
    assert sorted(order.tolist()) == list(range(100))
    assert order.tolist() != shuffle_order(1, 1, ids, copies).tolist()
    keys = [row_key(1, "order", 0, f"{ids[i]}#{copies[i]}") for i in order]
    assert keys == sorted(keys)


def test_impossible_draws_are_refused() -> None:
    with pytest.raises(DataError, match="listed twice"):
        pass_order(1, "law", 0, ["a", "b", "a"])
    with pytest.raises(DataError, match="cannot draw 3 rows from the 0 of domain 'law'"):
        draw_rows(1, "law", [], 3)
    assert draw_rows(1, "law", [], 0).rows.tolist() == []
    assert pass_order(1, "law", 0, []).tolist() == []


@given(tokens=st.lists(st.integers(1, 500), max_size=30), target=st.integers(0, 6_000))
def test_token_budget_is_the_nearest_prefix(tokens: list[int], target: int) -> None:
    rows, total = take_token_budget(tokens, target)
    assert total == sum(tokens[:rows])
    distances = [abs(sum(tokens[:r]) - target) for r in range(len(tokens) + 1)]
    assert abs(total - target) == min(distances)
