"""Models that see the answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from versatune.models.causality import check_causal, check_kind_causal
from versatune.models.loading import load_model
from versatune.schemas.config import ModelConfig
from versatune.schemas.errors import ConfigError, DataError

SMALL = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
XLNET = {"vocab_size": 512, "d_model": 64, "n_layer": 2, "n_head": 4, "d_inner": 128}


@pytest.mark.parametrize(
    ("kind", "head", "settings"),
    [("Roberta", "ForCausalLM", SMALL), ("XLNet", "LMHeadModel", XLNET)],
)
def test_a_model_that_sees_later_tokens_is_refused(
    saved: Callable[..., Path], kind: str, head: str, settings: dict[str, object]
) -> None:
    folder = saved(kind, head, **settings)
    model = ModelConfig(path="encoder")
    with pytest.raises(ConfigError, match=r"model\.path encoder: .* sees the tokens that it should predict"):
        check_causal(load_model(folder, model, dtype=torch.float32).model, "encoder")
    with pytest.raises(ConfigError, match="sees the tokens that it should predict"):
        check_kind_causal(folder, model)


def test_an_encoder_that_is_told_to_decode_is_causal(saved: Callable[..., Path]) -> None:
    folder = saved("Roberta", **SMALL, is_decoder=True)
    model = ModelConfig(path="decoder")
    check_kind_causal(folder, model)
    check_causal(load_model(folder, model, dtype=torch.float32).model, "decoder")


def test_logits_that_are_no_numbers_are_refused(llama: Path) -> None:
    loaded = load_model(llama, ModelConfig(path="m"), dtype=torch.float32).model
    torch.nn.init.constant_(loaded.get_input_embeddings().weight, float("nan"))
    with pytest.raises(DataError, match=r"model\.path m: its logits .* are not finite numbers"):
        check_causal(loaded, "m")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_causal_models_pass_in_every_format(llama: Path, multimodal: Path, dtype: torch.dtype) -> None:
    for folder in (llama, multimodal):
        loaded = load_model(folder, ModelConfig(path="m"), dtype=dtype).model
        check_causal(loaded, "m")
        check_kind_causal(folder, ModelConfig(path="m"))
