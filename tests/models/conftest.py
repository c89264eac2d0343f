"""Tiny random models of kinds that need care."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_models import TEXT
from tests.tiny_models import save as save_model

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


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
def multimodal(tmp_path: Path) -> Path:
    """Llama 4 as it is published: a vision model, a projector, and a text model with experts."""
    return save_model("llama4", tmp_path / "llama4")


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
