"""Adapters: where they sit in each kind of model, what is left out, and that the merged export is what was trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tests.tiny_models import MODELS, save
from versatune.models.adapters import FAMILIES, all_linear, expert_parameters, find_targets
from versatune.schemas.config import Config
from versatune.schemas.errors import ConfigError
from versatune.sft_runner.dataset import TokenRow
from versatune.sft_runner.export import merged_model, write_model
from versatune.sft_runner.lora import add_adapter, remove_adapter
from versatune.sft_runner.model import Trainee, load_trainee
from versatune.sft_runner.steps import StepResult, make_optimizer, train_step

IDS = torch.arange(3, 15)[None]


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., tuple[Config, Path, Trainee]]:
    """A tiny model of a family, loaded for LoRA: ``prepared("mixtral", experts=True)``."""

    def make(family: str, **lora: Any) -> tuple[Config, Path, Trainee]:
        folder = save(family, tmp_path / family)
        train = {"method": "lora", "dtype": "float32", "device": "cpu", "lora": {"rank": 4} | lora}
        config = Config.model_validate({"name": "n", "model": {"path": str(folder)}, "train": train})
        return config, folder, load_trainee(config, folder)

    return make


def trained(trainee: Trainee, config: Config, say: Callable[[str], None] = print) -> tuple[Trainee, StepResult]:
    """Three steps, large enough to be seen."""
    adapted = add_adapter(trainee, config.train.lora, 0, say=say)
    optimizer = make_optimizer(adapted, 1e-2, 0.0)
    random = np.random.default_rng(0)
    rows = [TokenRow(random.integers(3, 500, 12).astype(np.int32), np.ones(12, dtype=bool)) for _ in range(4)]
    for step in range(3):
        result = train_step(
            adapted,
            optimizer,
            rows,
            44,
            micro_batch_rows=2,
            learning_rate=1e-2,
            max_grad_norm=1.0,
            seed=step,
            where="here",
        )
    return adapted, result


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS, use_cache=False).logits.float()


def exported(config: Config, folder: Path, adapted: Trainee, place: Path) -> torch.Tensor:
    """Logits of the merged export, loaded by transformers alone."""
    adapted.model.save_pretrained(str(place / "adapter"), save_embedding_layers=False)
    (place / "model").mkdir()
    write_model(config, merged_model(config, folder, place / "adapter"), folder, place / "model", ends=[2])
    return logits(transformers.AutoModelForCausalLM.from_pretrained(place / "model", dtype=torch.float32))


@pytest.mark.parametrize("family", sorted(MODELS))
def test_all_linear_trains_and_its_export_is_what_was_trained(prepared: Callable, family: str, tmp_path: Path) -> None:
    config, folder, trainee = prepared(family)
    before = {name: value.clone() for name, value in trainee.model.state_dict().items()}
    start = logits(trainee.model)
    adapted, _ = trained(trainee, config)
    learned = logits(adapted.model)
    assert (learned - start).abs().max() > 0.1
    torch.testing.assert_close(exported(config, folder, adapted, tmp_path), learned, rtol=0, atol=1e-4)
    remove_adapter(adapted)
    assert all(torch.equal(value, before[name]) for name, value in trainee.model.state_dict().items())


@pytest.mark.parametrize(
    "family", ["mixtral", "qwen2_moe", "granitemoe", "jamba", "jetmoe", "phimoe", "gpt_oss", "llama4"]
)
def test_experts_are_skipped_with_a_notice_or_adapted(prepared: Callable, family: str, tmp_path: Path) -> None:
    _, _, trainee = prepared(family)
    notices = find_targets(trainee.model, Config(name="n").train.lora, "train.lora").notices
    assert any("leaves out the experts" in notice and "lora.experts: true" in notice for notice in notices)
    linear = len(add_adapter(trainee, Config(name="n").train.lora, 0).parameters())
    config, folder, trainee = prepared(family, experts=True)
    experts = expert_parameters(trainee.model)
    adapted, _ = trained(trainee, config)
    assert len(adapted.parameters()) == linear + 2 * len(experts)
    torch.testing.assert_close(exported(config, folder, adapted, tmp_path), logits(adapted.model), rtol=0, atol=1e-4)


def test_experts_that_are_not_there_or_with_dropout_are_refused(prepared: Callable) -> None:
    config, _, trainee = prepared("llama", experts=True)
    with pytest.raises(ConfigError, match=r"lora\.experts is true, and the model has no experts"):
        add_adapter(trainee, config.train.lora, 0)
    config, _, trainee = prepared("mixtral", experts=True, dropout=0.1)
    with pytest.raises(ConfigError, match=r"lora\.dropout is 0\.1, and peft adapts experts only without dropout"):
        add_adapter(trainee, config.train.lora, 0)


@pytest.mark.parametrize(
    ("family", "modules"),
    [
        ("tied", ["lm_head"]),
        ("tied", ["embed_tokens"]),
        ("tied", ["embed_tokens", "lm_head", "q_proj"]),
        ("gpt2", ["wte"]),
        ("gemma3", ["lm_head"]),
    ],
)
def test_an_adapter_on_a_shared_embedding_is_exported_to_its_own_side(
    prepared: Callable, family: str, modules: list[str], tmp_path: Path
) -> None:
    config, folder, trainee = prepared(family, target_modules=modules)
    adapted, _ = trained(trainee, config)
    torch.testing.assert_close(exported(config, folder, adapted, tmp_path), logits(adapted.model), rtol=0, atol=1e-4)


def test_modules_that_share_weights_are_left_out_or_refused(prepared: Callable) -> None:
    config, _, trainee = prepared("zamba2")
    notices = find_targets(trainee.model, config.train.lora, "train.lora").notices
    assert any("share their weights with others" in notice for notice in notices)
    for named in (["gate_up_proj"], r".*shared_transformer.*gate_up_proj"):
        config, _, trainee = prepared("zamba2", target_modules=named)
        with pytest.raises(
            ConfigError,
            match=r"train\.lora\.target_modules names .*whose weight other modules share.*A list that works for this model: \[",
        ):
            add_adapter(trainee, config.train.lora, 0)


@pytest.mark.parametrize("family", ["mamba", "mamba2"])
def test_a_list_that_works_is_named_where_peft_refuses(prepared: Callable, family: str) -> None:
    config, _, trainee = prepared(family, target_modules=["out_proj"])
    with pytest.raises(ConfigError, match=r"A list that works for this model: \[.*in_proj") as refused:
        add_adapter(trainee, config.train.lora, 0)
    works = str(refused.value).rpartition("[")[2].rstrip("]").split(", ")
    config, _, trainee = prepared(family, target_modules=works)
    add_adapter(trainee, config.train.lora, 0)


def test_the_table_names_modules_that_are_there(prepared: Callable) -> None:
    for family in ("mamba", "mamba2", "phimoe", "llama4"):
        _, _, trainee = prepared(family)
        left_out = FAMILIES[trainee.model.config.get_text_config().model_type]
        names = {name.rpartition(".")[2] for name, _ in trainee.model.named_modules()}
        assert names & left_out.keys()
        assert not {name.rpartition(".")[2] for name in all_linear(trainee.model)} & left_out.keys()


def test_towers_that_texts_never_reach_get_no_adapter(prepared: Callable) -> None:
    _, _, trainee = prepared("gemma3")
    assert all_linear(trainee.model) and not any("vision" in name for name in all_linear(trainee.model))


def test_the_loss_of_a_router_is_as_the_model_asks_for_it(prepared: Callable) -> None:
    config, _, trainee = prepared("mixtral")
    assert trainee.model.config.output_router_logits and trainee.model.config.router_aux_loss_coef == 0.1
    _, result = trained(trainee, config)
    # Four experts of which two are chosen: 2 where all are used alike, times the coefficient.
    assert result.router_loss == pytest.approx(0.2, abs=0.02)
    config, _, trainee = prepared("jetmoe")
    trainee.model.config.output_router_logits, trainee.model.config.aux_loss_coef = True, 0.5
    assert trained(trainee, config)[1].router_loss == pytest.approx(1.0, abs=0.3)
    config, _, trainee = prepared("mixtral")
    trainee.model.config.output_router_logits = False
    assert trained(trainee, config)[1].router_loss is None


class Own(transformers.PreTrainedModel):
    """A model of somebody's own code, which cannot generate."""

    config_class = transformers.LlamaConfig

    def __init__(self, config: transformers.LlamaConfig) -> None:
        super().__init__(config)
        self.embed = torch.nn.Embedding(config.vocab_size, config.hidden_size)
        self.inner = torch.nn.Linear(config.hidden_size, config.hidden_size)
        self.head = torch.nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.embed

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.head

    def forward(self, input_ids: torch.Tensor, **_: object) -> Any:
        return transformers.modeling_outputs.CausalLMOutput(logits=self.head(self.inner(self.embed(input_ids))))


def test_code_of_its_own_that_cannot_generate_gets_adapters_too() -> None:
    model = Own(transformers.LlamaConfig(vocab_size=512, hidden_size=64, num_attention_heads=4))
    assert not hasattr(model, "prepare_inputs_for_generation")
    trainee = Trainee(model=model, device=torch.device("cpu"), autocast=False, pad_id=0)
    adapted = add_adapter(trainee, Config(name="n").train.lora, 0)
    assert {name.partition(".lora_")[0] for name in adapted.parameters()} == {"base_model.model.inner"}
