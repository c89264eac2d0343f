from __future__ import annotations

import pytest

from versatune.mixing.stopping import decide, samples_that_suffice
from versatune.schemas.errors import ConfigError
from versatune.schemas.probe import Rounds

PLAN = Rounds(samples_per_round=100, min_rounds=3, max_rounds=5, half_width=0.1, max_change=0.02)
NARROW, WIDE = [0.01, 0.01], [0.01, 0.05]


def stops(errors: list[float], previous: list[float] | None, number: int, plan: Rounds = PLAN) -> bool:
    return decide([0.4, 0.6], errors, previous=previous, number=number, plan=plan, alpha=0.05).stop


def test_narrow_and_stable_after_enough_rounds_is_enough() -> None:
    assert stops(NARROW, [0.41, 0.59], 3)


@pytest.mark.parametrize(
    ("errors", "previous", "number"),
    [(WIDE, [0.41, 0.59], 3), (NARROW, [0.43, 0.57], 3), (NARROW, [0.41, 0.59], 2), (NARROW, None, 3)],
)
def test_any_condition_that_does_not_hold_keeps_the_probe_going(
    errors: list[float], previous: list[float] | None, number: int
) -> None:
    assert not stops(errors, previous, number)


def test_without_a_precision_to_reach_it_never_stops_early() -> None:
    assert not stops([0.0, 0.0], [0.4, 0.6], 5, PLAN.model_copy(update={"half_width": None}))


def test_a_round_that_was_not_planned_is_refused() -> None:
    with pytest.raises(ConfigError, match="round 6 was not planned; expected 1 to 5"):
        stops(NARROW, None, 6)


def test_more_planned_looks_take_more_samples() -> None:
    assert samples_that_suffice(0.01, k=6, max_rounds=1, alpha=0.05) == 17402
    assert samples_that_suffice(0.01, k=6, max_rounds=20, alpha=0.05) == 31140
