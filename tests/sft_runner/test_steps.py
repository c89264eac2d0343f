"""The optimizer step: normalisation, schedule, decay."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from versatune.schemas.errors import RunError
from versatune.sft_runner.dataset import TokenRow, read_pool
from versatune.sft_runner.model import load_trainee
from versatune.sft_runner.steps import learning_rate_at, make_optimizer, step_seed, train_step

VECTORS = {
    case["id"]: case
    for case in json.loads((Path(__file__).parents[1] / "golden" / "vectors" / "losses.json").read_text())["cases"]
}


class Scalar(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))


def test_the_loss_is_the_token_mean_of_the_whole_global_batch() -> None:
    case = VECTORS["grad-accumulation"]
    given, expected = case["inputs"], case["expected"]
    model = Scalar()
    trainee = SimpleNamespace(model=model, pad_id=0, parameters=lambda: dict(model.named_parameters()))
    sums = iter(given["microbatch_sum_nll"])
    trainee.losses = lambda batch: (lambda nll: (model.weight * nll, np.full(len(batch.labels), nll), None))(next(sums))
    rows = [TokenRow(np.arange(n + 1, dtype=np.int32), np.arange(n + 1) > 0) for n in given["microbatch_tokens"]]
    result = train_step(
        trainee,  # type: ignore[arg-type]
        torch.optim.SGD(model.parameters(), lr=0.0),
        rows,
        sum(given["microbatch_tokens"]),
        micro_batch_rows=1,
        learning_rate=1.0,
        max_grad_norm=100.0,
        seed=0,
        where="here",
    )
    # d loss / d weight is the loss itself, and a step of rate 1 takes it off the weight.
    assert result.grad_norm == pytest.approx(expected["global_token_mean"], abs=2e-6)
    assert 1.0 - model.weight.item() == pytest.approx(expected["global_token_mean"], abs=2e-6)
    assert result.row_nll.sum() / sum(given["microbatch_tokens"]) == pytest.approx(
        expected["global_token_mean"], abs=2e-6
    )


def test_accumulation_changes_nothing_but_rounding(workplace: Callable, tiny_model: Path) -> None:
    work = workplace()
    pool = read_pool(work.mixture, work.mixture_path)
    rows = [pool.train[d][i] for d in range(3) for i in range(3)]
    tokens = sum(int(pool.train[d].loss_tokens[i]) for d in range(3) for i in range(3))
    after = []
    for size in (9, 2):
        trainee = load_trainee(work.config, tiny_model)
        optimizer = make_optimizer(trainee, 1e-3, 0.0)
        for step in range(2):
            train_step(
                trainee, optimizer, rows, tokens, micro_batch_rows=size, learning_rate=1e-3, max_grad_norm=1.0,
                seed=step, where="here",
            )  # fmt: skip
        after.append(trainee.parameters())
    for name, parameter in after[0].items():
        torch.testing.assert_close(parameter, after[1][name], rtol=1e-3, atol=1e-5)


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(workplace: Callable, tiny_model: Path) -> None:
    work = workplace()
    pool = read_pool(work.mixture, work.mixture_path)
    trainee = load_trainee(work.config, tiny_model)
    with torch.no_grad():
        trainee.model.model.norm.weight.fill_(float("nan"))
    before = {name: p.clone() for name, p in trainee.parameters().items()}
    optimizer = make_optimizer(trainee, 1e-3, 0.0)
    with pytest.raises(RunError, match=r"step 7: the loss is nan.*Lower the learning rate"):
        train_step(
            trainee, optimizer, [pool.train[0][0]], 5, micro_batch_rows=1, learning_rate=1e-3, max_grad_norm=1.0, seed=0,
            where="step 7",
        )  # fmt: skip
    assert all(
        torch.equal(p, before[n]) for n, p in trainee.parameters().items() if not n.endswith("model.norm.weight")
    )


def test_the_rate_rises_linearly_and_falls_along_one_cosine() -> None:
    rates = [learning_rate_at(step, 110, 2.0, 0.1) for step in range(110)]
    assert rates[:11] == pytest.approx([2.0 * (i + 1) / 11 for i in range(11)])
    assert rates[11] == 2.0
    assert rates[11 + 33] == pytest.approx(1.0 + np.cos(np.pi / 3))
    assert all(a > b for a, b in itertools.pairwise(rates[11:]))
    assert 0.0 < rates[-1] < 0.001
    assert learning_rate_at(500, 110, 2.0, 0.1) == rates[-1]
    assert learning_rate_at(0, 1, 2.0, 0.0) == 2.0


def test_matrices_decay_and_vectors_do_not(workplace: Callable, tiny_model: Path) -> None:
    trainee = load_trainee(workplace().config, tiny_model)
    optimizer = make_optimizer(trainee, 1e-3, 0.1)
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert {decays[id(p)] for p in trainee.parameters().values() if p.ndim > 1} == {0.1}
    assert {decays[id(p)] for p in trainee.parameters().values() if p.ndim == 1} == {0.0}
    assert len(decays) == len(trainee.parameters())


def test_every_step_has_its_own_seed() -> None:
    seeds = {step_seed(seed, what, step) for seed in (0, 1) for what in ("train", "law") for step in range(50)}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)
