"""The loss of each row."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from versatune.mixing.losses import mean_loss
from versatune.schemas.chat_template import templates_sha256
from versatune.schemas.errors import ConfigError, DataError
from versatune.sft_runner.batches import IGNORE_INDEX, Batch, collate, micro_batches
from versatune.sft_runner.dataset import TokenRow, read_pool
from versatune.sft_runner.lora import add_adapter, remove_adapter
from versatune.sft_runner.model import Trainee, check_tokenizer, load_trainee

VECTORS = {
    case["id"]: case
    for case in json.loads((Path(__file__).parents[1] / "golden" / "vectors" / "losses.json").read_text())["cases"]
}
TOLERANCE = 2e-6


class Told(torch.nn.Module):
    """A language model whose token losses are given: it puts exp(-nll) on each next token of a row."""

    def __init__(self, nll: list[list[float]], vocabulary: int) -> None:
        super().__init__()
        self.nll, self.vocabulary = nll, vocabulary
        self.head = torch.nn.Identity()

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.head

    def forward(self, input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
        rows, length = input_ids.shape
        logits = torch.zeros(rows, length, self.vocabulary, dtype=torch.float64)
        for i, losses in enumerate(self.nll):
            for position, nll in enumerate(losses[1:]):
                p = float(np.exp(-nll))
                logits[i, position] = np.log((1 - p) / (self.vocabulary - 1)) if p < 1 else -1e9
                logits[i, position, input_ids[i, position + 1]] = np.log(p)
        return SimpleNamespace(logits=self.head(logits))


def trainee_of(model: torch.nn.Module) -> Trainee:
    return Trainee(model=model, device=torch.device("cpu"), autocast=False, pad_id=0)


def test_position_i_predicts_label_i_plus_1_and_the_first_label_never_counts() -> None:
    case = VECTORS["sft-mask"]
    ids = np.array(case["inputs"]["input_ids"], dtype=np.int32)
    told = Told([case["inputs"]["token_nll_by_label_position"]], vocabulary=12)
    masked = collate([TokenRow(ids, np.arange(len(ids)) >= case["inputs"]["prompt_length"])], 0)
    total, by_row = trainee_of(told).row_nll(masked)
    assert total.item() == pytest.approx(case["expected"]["sum_nll"], abs=TOLERANCE)
    assert by_row.sum() / case["expected"]["loss_tokens"] == pytest.approx(case["expected"]["mean_nll"], abs=TOLERANCE)
    everything, _ = trainee_of(told).row_nll(collate([TokenRow(ids, np.ones(len(ids), dtype=bool))], 0))
    assert everything.item() == pytest.approx(sum(case["inputs"]["token_nll_by_label_position"][1:]), abs=TOLERANCE)


def test_a_domain_loss_weighs_tokens_not_rows() -> None:
    case = VECTORS["domain-loss-aggregation"]
    rows = case["inputs"]["rows"]
    nll = [[0.0, *r["nll"]] for r in rows]
    batch = collate([TokenRow(np.arange(len(n), dtype=np.int32), np.arange(len(n)) > 0) for n in nll], 0)
    _, by_row = trainee_of(Told(nll, vocabulary=8)).row_nll(batch)
    for domain, expected in case["expected"]["token_mean"].items():
        mine = [i for i, r in enumerate(rows) if r["domain"] == domain]
        tokens = sum(len(rows[i]["nll"]) for i in mine)
        assert mean_loss([by_row[mine].sum()], [tokens])[0] == pytest.approx(expected, abs=TOLERANCE)


def test_nats_per_byte() -> None:
    case = VECTORS["nats-per-byte"]
    given = case["inputs"]
    assert mean_loss([given["sum_nll_nats"]], [given["utf8_bytes"]])[0] == pytest.approx(
        case["expected"]["nats_per_byte"], abs=TOLERANCE
    )


def test_row_losses_equal_the_plain_path_over_all_logits(workplace: Callable, tiny_model: Path) -> None:
    work = workplace()
    trainee = load_trainee(work.config, tiny_model)
    pool = read_pool(work.mixture, work.mixture_path)
    rows = [pool.train[0][i] for i in range(5)]
    batch = collate(rows, trainee.pad_id)
    total, by_row = trainee.row_nll(batch)
    total.backward()
    ours = {name: p.grad.clone() for name, p in trainee.parameters().items()}
    trainee.model.zero_grad()
    logits = trainee.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    plain = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch.labels[:, 1:].flatten(), ignore_index=IGNORE_INDEX, reduction="none"
    ).view(len(rows), -1)
    plain.sum().backward()
    np.testing.assert_allclose(by_row, plain.sum(1).detach().numpy(), rtol=1e-5)
    for name, parameter in trainee.parameters().items():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-4, atol=1e-4)


def test_padding_changes_no_row(workplace: Callable, tiny_model: Path) -> None:
    work = workplace()
    trainee = load_trainee(work.config, tiny_model)
    pool = read_pool(work.mixture, work.mixture_path)
    rows = [pool.train[0][i] for i in range(6)]
    together, alone = np.zeros(6), np.zeros(6)
    for out, size in ((together, 6), (alone, 1)):
        for chosen, batch in micro_batches(rows, size, trainee.pad_id):
            out[chosen] = trainee.row_nll(batch)[1]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_an_adapter_starts_as_the_identity_and_leaves_no_trace(workplace: Callable, tiny_model: Path) -> None:
    work = workplace()
    base = load_trainee(work.config, tiny_model)
    before = {name: p.clone() for name, p in base.parameters().items()}
    batch: Batch = collate([read_pool(work.mixture, work.mixture_path).train[1][0]], base.pad_id)
    loss = base.row_nll(batch)[0].item()
    adapted = add_adapter(base, work.config.train.reference.lora, seed=1)
    assert adapted.row_nll(batch)[0].item() == loss
    assert adapted.parameters() and all("lora_" in name for name in adapted.parameters())
    with torch.no_grad():
        for parameter in adapted.parameters().values():
            parameter.add_(0.5)
    assert adapted.row_nll(batch)[0].item() != loss
    remove_adapter(adapted)
    assert base.row_nll(batch)[0].item() == loss
    assert base.parameters().keys() == before.keys()
    assert all(torch.equal(p, before[name]) for name, p in base.parameters().items())


def test_another_tokenizer_or_template_is_refused(workplace: Callable, tiny_model: Path) -> None:
    work = workplace()
    record = work.mixture.tokenizer
    check_tokenizer(work.config, tiny_model, record)
    with pytest.raises(DataError, match="its tokenizer"):
        check_tokenizer(work.config, tiny_model, record.model_copy(update={"sha256": "0" * 64}))
    with pytest.raises(DataError, match="its chat template"):
        check_tokenizer(work.config, tiny_model, record.model_copy(update={"chat_template_sha256": "0" * 64}))


def test_a_dataset_made_with_named_templates_fits_the_model_that_has_them(
    workplace: Callable, tiny_model: Path, tmp_path: Path
) -> None:
    work = workplace()
    folder = shutil.copytree(tiny_model, tmp_path / "named")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools }}")
    both = {"default": (folder / "chat_template.jinja").read_text(), "tool_use": "{{ tools }}"}
    record = work.mixture.tokenizer.model_copy(update={"chat_template_sha256": templates_sha256(both)})
    check_tokenizer(work.config, folder, record)
    with pytest.raises(DataError, match="its chat template"):
        check_tokenizer(work.config, tiny_model, record)


def test_unknown_adapter_modules_are_refused(workplace: Callable, tiny_model: Path) -> None:
    work = workplace()
    trainee = load_trainee(work.config, tiny_model)
    with pytest.raises(ConfigError, match=r"lora.target_modules"):
        add_adapter(trainee, work.config.train.lora.model_copy(update={"target_modules": ["nothing"]}), seed=0)
