"""Held-out rows and the losses on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from versatune.mixing.potential import paired_loss_change
from versatune.sft_runner.dataset import read_pool
from versatune.sft_runner.evaluate import change_z, evaluate, held_out, summarize
from versatune.sft_runner.model import load_trainee


def test_held_out_rows_are_a_prefix_of_one_order(workplace: Callable) -> None:
    rows = read_pool(*workplace()[1:]).validation[0]
    few, many = held_out(rows, 3), held_out(rows, 100)
    assert len(many.chosen) == 6
    assert few.chosen.tolist() == many.chosen[:3].tolist()
    assert sorted(many.chosen.tolist()) == list(range(6))


def test_losses_are_sums_over_sums(workplace: Callable, tiny_model: Path) -> None:
    work = workplace()
    pool = read_pool(work.mixture, work.mixture_path)
    trainee = load_trainee(work.config, tiny_model)
    slices = [held_out(rows, 4) for rows in pool.validation]
    done: list[int] = []
    nll = [evaluate(trainee, s, 3, done.append) for s in slices]
    assert done == [3, 1] * 3
    losses = summarize(slices, nll)
    assert losses.tokens == [int(s.tokens.sum()) for s in slices]
    assert losses.loss == pytest.approx([n.sum() / s.tokens.sum() for s, n in zip(slices, nll, strict=True)])
    assert losses.per_byte == pytest.approx(
        [n.sum() / s.rows.target_bytes[s.chosen].sum() for s, n in zip(slices, nll, strict=True)]
    )
    assert losses.standard_error[0] == pytest.approx(paired_loss_change(nll[0] / slices[0].tokens, slices[0].tokens).se)
    assert np.array_equal(evaluate(trainee, slices[0], 3), nll[0])


def test_change_is_paired_by_row(workplace: Callable) -> None:
    slices = [held_out(rows, 6) for rows in read_pool(*workplace()[1:]).validation]
    before = [np.full(6, 10.0), np.arange(6.0) + 1.0, np.ones(6)]
    now = [np.full(6, 10.0), before[1] + slices[1].tokens * np.linspace(0.5, 0.6, 6), np.ones(6)]
    z = change_z(slices, now, before)
    assert z[0] == z[2] == 0.0
    assert z[1] == paired_loss_change(np.linspace(0.5, 0.6, 6), slices[1].tokens).z


def test_a_domain_without_held_out_rows_has_no_loss_and_one_row_no_error(workplace: Callable) -> None:
    rows = read_pool(*workplace()[1:]).validation[0]
    slices = [held_out(rows, 0), held_out(rows, 1)]
    losses = summarize(slices, [np.zeros(0), np.array([2.0])])
    assert losses.loss[0] is None and losses.per_byte[0] is None and losses.standard_error == [None, None]
    assert losses.loss[1] == 2.0 / slices[1].tokens[0]
    assert change_z(slices, [np.zeros(0), np.ones(1)], [np.zeros(0), np.ones(1)]) == [None, None]
