"""Tiny random models of kinds that need care."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TEXT = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Save a random model: ``saved("Llama", **settings)``; transformers' names of class and configuration."""

    def save(kind: str, head: str = "ForCausalLM", dtype: Any = None, **settings: Any) -> Path:
        config = getattr(transformers, f"{kind}Config")(**settings)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = getattr(transformers, kind + head)(config)
        folder = tmp_path / kind
        model.to(dtype or torch.float32).save_pretrained(folder)
        return folder

    return save


@pytest.fixture
def llama(saved: Callable[..., Path]) -> Path:
    """A plain model."""
    return saved("Llama", **TEXT)


@pytest.fixture
def multimodal(saved: Callable[..., Path]) -> Path:
    """Llama 4 as it is published: a vision model, a projector, and a text model with experts."""
    text = TEXT | {"intermediate_size_mlp": 128, "num_local_experts": 4, "num_experts_per_tok": 1}
    text |= {"interleave_moe_layer_step": 1, "layer_types": ["full_attention", "full_attention"]}
    vision = VISION | {"vision_output_dim": 64, "projector_input_dim": 64, "projector_output_dim": 64}
    return saved("Llama4", "ForConditionalGeneration", text_config=text, vision_config=vision)


@pytest.fixture
def fp8(saved: Callable[..., Path]) -> Path:
    """A model whose matrices are stored in eight bits with one scale a block."""
    from safetensors.torch import load_file, save_file

    folder = saved("Llama", dtype=torch.bfloat16, **TEXT)
    tensors = {}
    for name, value in load_file(folder / "model.safetensors").items():
        if value.ndim == 2 and "proj" in name:
            scale = value.float().abs().max() / 448
            tensors[name] = (value.float() / scale).to(torch.float8_e4m3fn)
            tensors[f"{name}_scale_inv"] = scale.reshape(1, 1)
        else:
            tensors[name] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    method = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128], "fmt": "e4m3"}
    change(folder / "config.json", quantization_config=method)
    return folder


def change(file: Path, **values: Any) -> None:
    """Change keys of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
