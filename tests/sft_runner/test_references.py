"""Reference losses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from versatune.schemas.progress import Silence
from versatune.schemas.run import MeasuredReferences
from versatune.sft_runner.dataset import read_pool
from versatune.sft_runner.evaluate import evaluate, held_out, summarize
from versatune.sft_runner.model import load_trainee
from versatune.sft_runner.references import reference_losses

REFERENCE = {"max_rows": 8, "epochs": 3, "evals_per_epoch": 4, "learning_rate": 2e-2, "lora": {"rank": 4}}


def test_a_reference_is_the_lowest_point_of_a_held_out_curve(
    workplace: Callable, tiny_model: Path, tmp_path: Path
) -> None:
    work = workplace(train={"reference": REFERENCE})
    pool = read_pool(work.mixture, work.mixture_path)
    trainee = load_trainee(work.config, tiny_model)
    before = {name: p.clone() for name, p in trainee.parameters().items()}
    slices = [held_out(rows, 6) for rows in pool.validation]
    base = summarize(slices, [evaluate(trainee, s, 2) for s in slices]).loss
    file = tmp_path / "references.json"
    found = reference_losses(
        work.config, trainee, pool, slices, base, needed=True, file=file, progress=Silence()
    )  # fmt: skip
    assert found.source == "self_adapter"
    for domain, loss, start in zip(work.mixture.domains, found.losses, base, strict=True):
        protocol = found.protocol[domain]
        steps = [step for step, _ in protocol["curve"]]
        # 8 rows and 4 evaluations in an epoch: batches of 2, an evaluation after each
        assert (protocol["rows"], protocol["batch_rows"], steps) == (8, 2, list(range(13)))
        assert protocol["curve"][0][1] == start
        assert loss == min(value for _, value in protocol["curve"]) < start
    assert MeasuredReferences.load(file).domains == found.protocol
    assert all(torch.equal(p, before[name]) for name, p in trainee.parameters().items())


@pytest.mark.parametrize(
    ("source", "losses", "expected"), [("zero", None, [0.0] * 3), ("given", [3.0, 2.0, 1.0], None)]
)
def test_numbers_that_need_no_measuring(
    workplace: Callable, tmp_path: Path, source: str, losses: list[float] | None, expected: list[float] | None
) -> None:
    given = losses and dict(zip(("law", "code", "general"), losses, strict=True))
    work = workplace(train={"reference": {"source": source, "losses": given}})
    pool = read_pool(work.mixture, work.mixture_path)
    file = tmp_path / "references.json"
    found = reference_losses(
        work.config, None, pool, [], [], needed=True, file=file, progress=Silence()  # type: ignore[arg-type]
    )  # fmt: skip
    assert (found.source, found.losses) == (source, expected or losses)
    assert not file.exists()
