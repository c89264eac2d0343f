"""Agreement of two labellings, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from versatune.mixing.agreement import accuracy, contingency, kappa


def test_a_table_counts_rows_by_both_labels() -> None:
    assert contingency([0, 0, 1, 1, 1], [0, 1, 1, 1, 0], 3).tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]


def test_kappa_is_what_is_left_of_accuracy_after_chance() -> None:
    # Cohen's example by hand: 20 + 15 of 50 agree (0.7); the margins 25/25 and 30/20 give 0.5 * 0.6 + 0.5 * 0.4 = 0.5 by chance.
    table = np.array([[20, 5], [10, 15]])
    assert accuracy(table) == pytest.approx(0.7)
    assert kappa(table) == pytest.approx(0.4)


def test_full_agreement_is_one_and_opposite_labels_are_minus_one() -> None:
    assert kappa(np.diag([3, 4, 5])) == pytest.approx(1.0)
    assert kappa(np.array([[0, 5], [5, 0]])) == pytest.approx(-1.0)


def test_kappa_is_not_defined_without_rows_or_with_one_label() -> None:
    assert (accuracy(np.zeros((2, 2), np.int64)), kappa(np.zeros((2, 2), np.int64))) == (None, None)
    assert kappa(np.array([[7, 0], [0, 0]])) is None
