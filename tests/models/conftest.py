"""Tiny random models of kinds that need care."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_models import TEXT, save_fp8
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
def fp8(tmp_path: Path) -> Path:
    """A model whose matrices are stored in eight bits with one scale a block."""
    return save_fp8(tmp_path / "fp8")
