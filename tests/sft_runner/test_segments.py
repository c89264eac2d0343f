"""Which rows a segment trains on."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from versatune.mixing.order import interleave
from versatune.mixing.selection import pass_order
from versatune.schemas.errors import DataError
from versatune.sft_runner.dataset import Rows, read_pool
from versatune.sft_runner.segments import Segment, compose_segment

WEIGHTS = [0.5, 0.3, 0.2]


def composed(work, segment: int = 0, weights=WEIGHTS, before=(0, 0, 0)) -> tuple[list[Rows], Segment]:  # type: ignore[no-untyped-def]
    pool = read_pool(work.mixture, work.mixture_path).train
    return pool, compose_segment(work.mixture, pool, segment, weights, before)


def drawn(segment: Segment, domain: int) -> list[int]:
    return segment.rows[segment.domains == domain].tolist()


def test_counts_follow_the_weights_and_rows_follow_their_keys(workplace: Callable) -> None:
    pool, segment = composed(workplace())
    assert segment.domains.tolist() == interleave([6, 4, 2]).tolist()
    for domain, count in enumerate((6, 4, 2)):
        order = pass_order(3, pool[domain].domain, 0, pool[domain].ids)
        assert drawn(segment, domain) == order[:count].tolist()
    assert segment.shortfall == 0


def test_a_row_is_used_at_most_max_passes_times_and_the_rest_goes_to_the_others(workplace: Callable) -> None:
    _pool, segment = composed(workplace(mixture={"budget": 50}), weights=[0.1, 0.1, 0.8])
    counts = np.bincount(segment.domains, minlength=3)
    assert counts.tolist() == [17, 17, 16]
    assert set(np.bincount(drawn(segment, 2), minlength=8)) == {2}
    assert segment.shortfall == 0


def test_fresh_gives_every_segment_a_new_order(workplace: Callable) -> None:
    work = workplace()
    pool, first = composed(work)
    _, second = composed(work, segment=1)
    assert drawn(second, 0) == pass_order(3, "law", 1000, pool[0].ids)[:6].tolist()
    assert drawn(first, 0) != drawn(second, 0)


def test_continue_uses_a_domain_up_before_any_row_comes_again(workplace: Callable) -> None:
    work = workplace(mixture={"redraw": "continue"})
    before, seen = [0, 0, 0], []
    for number in range(3):
        _, segment = composed(work, segment=number, before=before)
        seen += drawn(segment, 1)
        before = [b + int((segment.domains == d).sum()) for d, b in enumerate(before)]
    assert sorted(seen) == list(range(12))


def test_fixed_repeats_the_rows(workplace: Callable) -> None:
    work = workplace(mixture={"redraw": "fixed"})
    assert composed(work)[1].rows.tolist() == composed(work, segment=2, before=[6, 4, 2])[1].rows.tolist()


def test_shuffle_has_the_rows_of_interleave_in_another_order(workplace: Callable) -> None:
    _, interleaved = composed(workplace(mixture={"budget": 60}))
    work = workplace(mixture={"budget": 60, "order": "shuffle"})
    _, shuffled = composed(work)
    assert sorted(zip(*shuffled[:2], strict=True)) == sorted(zip(*interleaved[:2], strict=True))
    assert shuffled.domains.tolist() != interleaved.domains.tolist()
    assert composed(work)[1].rows.tolist() == shuffled.rows.tolist()


@pytest.mark.parametrize("unit", ["tokens", "loss_tokens"])
@pytest.mark.parametrize("redraw", ["fresh", "continue"])
def test_token_budgets_come_within_half_a_row(workplace: Callable, unit: str, redraw: str) -> None:
    work = workplace(mixture={"budget": 300, "unit": unit, "redraw": redraw})
    pool, segment = composed(work, before=[7, 5, 3])
    for domain, weight in enumerate(WEIGHTS):
        sizes = getattr(pool[domain], unit)
        taken = sizes[drawn(segment, domain)].sum()
        assert abs(taken - 300 * weight) <= sizes.max() / 2


def test_a_weight_of_zero_draws_nothing(workplace: Callable) -> None:
    _, segment = composed(workplace(), weights=[0.5, 0.0, 0.5])
    assert 1 not in segment.domains


def test_a_shortfall_is_reported_or_refused(workplace: Callable) -> None:
    assert composed(workplace(mixture={"budget": 100}))[1].shortfall == 20
    with pytest.raises(DataError, match=r"80 of the 100 rows.*mix.max_passes"):
        composed(workplace(mixture={"budget": 100, "on_shortfall": "error"}))


def test_a_budget_that_buys_no_row_is_refused(workplace: Callable) -> None:
    with pytest.raises(DataError, match="3 tokens buy no row"):
        composed(workplace(mixture={"budget": 3, "unit": "tokens"}))


def test_the_order_of_rows_in_files_does_not_matter(workplace: Callable) -> None:
    work = workplace()
    pool, segment = composed(work)
    turned = [reverse(rows) for rows in pool]
    other = compose_segment(work.mixture, turned, 0, WEIGHTS, (0, 0, 0))
    ids = [pool[d].ids[r] for d, r in zip(segment.domains, segment.rows, strict=True)]
    assert ids == [turned[d].ids[r] for d, r in zip(other.domains, other.rows, strict=True)]


def reverse(rows: Rows) -> Rows:
    spans = [slice(a, b) for a, b in pairwise(rows.offsets.tolist())][::-1]
    return Rows(
        domain=rows.domain,
        ids=rows.ids[::-1],
        offsets=np.concatenate(([0], np.cumsum(rows.tokens[::-1]))),
        input_ids=np.concatenate([rows.input_ids[s] for s in spans]),
        loss_mask=np.concatenate([rows.loss_mask[s] for s in spans]),
        loss_tokens=rows.loss_tokens[::-1],
        target_bytes=rows.target_bytes[::-1],
    )
