"""The protocol, by hand: codes, orders, softmax, mean, bias."""

from __future__ import annotations

import math

import numpy as np
import pytest

from versatune.schemas.errors import ConfigError
from versatune.schemas.taxonomy import DEFAULT_TAXONOMY, Taxonomy
from versatune.transforms.labelling.judge import Choices, choices, position_bias, probabilities, same_choice


def _plain(k: int) -> Choices:
    return Choices(domains=tuple(f"d{at}" for at in range(k)), meanings=("",) * k)


@pytest.mark.parametrize(
    ("k", "rotations"),
    [(2, (0, 1)), (3, (0, 1, 2)), (4, (0, 1, 2)), (5, (0, 1, 3)), (6, (0, 2, 4)), (26, (0, 8, 17))],
)
def test_the_orders_are_three_rotations_spread_over_the_list(k: int, rotations: tuple[int, ...]) -> None:
    assert _plain(k).rotations == rotations


@pytest.mark.parametrize("k", range(2, 27))
def test_no_domain_has_the_same_code_in_two_orders(k: int) -> None:
    one = _plain(k)
    for domain in range(k):
        assert len({(domain - rotation) % k for rotation in one.rotations}) == len(one.rotations)


def test_a_question_lists_every_domain_in_the_rotated_order() -> None:
    before, after = choices(
        Taxonomy(domains=("sport", "fine_arts", "law")), {"law": "  courts\n and rights "}
    ).question(1)
    assert "A: fine arts\nB: law (courts and rights)\nC: sport\n" in before
    assert before.endswith("Text:\n\n")
    assert after.startswith("\n\n")


def test_the_default_domains_are_described_and_others_are_not() -> None:
    assert all(choices(DEFAULT_TAXONOMY, {}).meanings)
    assert choices(Taxonomy(domains=("law", "sport")), {}).meanings == ("", "")


def test_more_domains_than_letters_and_an_unknown_description_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"27 domains; .* at most 26"):
        choices(Taxonomy(domains=tuple(f"d{at}" for at in range(27))), {})
    with pytest.raises(ConfigError, match="unknown domain 'laww'; did you mean 'law'"):
        choices(DEFAULT_TAXONOMY, {"laww": "x"})


def test_each_order_s_softmax_is_put_back_in_taxonomy_order() -> None:
    # Three domains x, y, z. Order 0 shows x y z, order 1 y z x, order 2 z x y. Weights 1:2:5, always on the letters A B C.
    logits = np.log(np.array([[[1.0, 2.0, 5.0]] * 3]))
    each = probabilities(logits, (0, 1, 2))
    assert each[0] == pytest.approx(np.array([[1, 2, 5], [5, 1, 2], [2, 5, 1]]) / 8)
    assert each.mean(axis=1)[0] == pytest.approx([1 / 3] * 3)  # a pure preference for a letter cancels
    assert position_bias(each) == pytest.approx(0.5)
    assert same_choice(each) == 0.0


def test_a_judge_that_knows_the_domain_gives_it_in_every_order() -> None:
    # y is 8 times as probable as each other one, whatever its letter: B, then A, then C.
    logits = np.log(np.array([[[1.0, 8.0, 1.0], [8.0, 1.0, 1.0], [1.0, 1.0, 8.0]]]))
    each = probabilities(logits, (0, 1, 2))
    assert each.mean(axis=1)[0] == pytest.approx([0.1, 0.8, 0.1])
    assert position_bias(each) == pytest.approx(0.0, abs=1e-12)
    assert same_choice(each) == 1.0


def test_a_constant_falls_out_and_nothing_overflows() -> None:
    logits = np.array([[[0.0, math.log(3.0)], [math.log(3.0), 0.0]]])
    for shift in (-2000.0, 2000.0):
        assert probabilities(logits + shift, (0, 1))[0] == pytest.approx(np.array([[0.25, 0.75], [0.25, 0.75]]))


def test_nothing_is_measured_of_no_texts() -> None:
    none = np.zeros((0, 3, 3))
    assert probabilities(none, (0, 1, 2)).shape == (0, 3, 3)
    assert (position_bias(none), same_choice(none)) == (None, None)
