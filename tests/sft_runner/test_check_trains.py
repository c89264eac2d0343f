"""Models whose code cannot be trained are found before the first step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from tests.tiny_models import save
from versatune.schemas.config import Config, LoraConfig
from versatune.schemas.errors import ConfigError
from versatune.sft_runner.lora import add_adapter
from versatune.sft_runner.model import Trainee, check_trains, load_trainee


def trainee_of(folder: Path) -> Trainee:
    train = {"dtype": "float32", "device": "cpu"}
    return load_trainee(Config.model_validate({"name": "n", "model": {"path": str(folder)}, "train": train}), folder)


def test_two_rows_are_tried_and_leave_nothing_behind(tmp_path: Path) -> None:
    trainee = trainee_of(save("llama", tmp_path / "llama"))
    before = [p.detach().clone() for p in trainee.model.parameters()]
    check_trains(trainee, "no")
    assert all(p.grad is None for p in trainee.model.parameters())
    assert all(torch.equal(p, old) for p, old in zip(trainee.model.parameters(), before, strict=True))


def test_a_head_of_another_form_is_refused(tmp_path: Path) -> None:
    """ProphetNet's has a second stream of hidden states."""
    size = {
        "vocab_size": 512,
        "hidden_size": 64,
        "decoder_ffn_dim": 128,
        "num_decoder_layers": 2,
        "num_decoder_attention_heads": 4,
    }
    config = transformers.ProphetNetConfig(**size, is_decoder=True)
    transformers.ProphetNetForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"model p: no \(IndexError: "):
        check_trains(trainee_of(tmp_path), "model p: no", gradient=False)


def reformer(folder: Path) -> Path:
    size = {
        "vocab_size": 512,
        "hidden_size": 64,
        "num_attention_heads": 4,
        "attention_head_size": 16,
        "feed_forward_size": 64,
    }
    config = transformers.ReformerConfig(**size, is_decoder=True, attn_layers=["local", "local"], axial_pos_embds=False)
    transformers.ReformerModelWithLMHead(config).save_pretrained(folder)
    return folder


def test_a_model_that_computes_its_own_gradient_is_tried_as_a_step_runs_it(tmp_path: Path) -> None:
    """Reformer does in training alone."""
    trainee = trainee_of(reformer(tmp_path))
    state = torch.get_rng_state()
    check_trains(trainee, "no")
    assert not trainee.model.training
    assert torch.equal(torch.get_rng_state(), state)


def test_adapters_without_a_gradient_are_refused_and_taken_off(tmp_path: Path) -> None:
    """What Reformer computes itself needs a gradient of the embedding."""
    trainee = trainee_of(reformer(tmp_path))
    with pytest.raises(
        ConfigError, match=r"train\.lora\.target_modules: with these adapters the model cannot be trained"
    ):
        add_adapter(trainee, LoraConfig(), 0)
    assert not any("lora" in name for name, _ in trainee.model.named_parameters())
