"""A dozen families through the whole loop, judged by transformers alone: the sweep of benchmarks/families.py in small."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from benchmarks.families import RIGHT, WAYS, _tokenizer, _verdict  # noqa: E402
from benchmarks.support.tiny_families import make  # noqa: E402


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads help no model of this size, and the machine may have other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("family", "way"),
    [
        ("llama", "full bf16"),  # dense
        ("tied", "lora"),
        ("gpt2", "full"),  # Conv1D, fused qkv
        ("phi3", "lora"),  # fused qkv in one matrix
        ("gemma2", "full"),  # sliding windows, capped logits
        ("mixtral", "full bf16"),  # experts
        ("gpt_oss", "lora"),
        ("qwen2", "full"),  # a tokenizer of its own class
        ("mamba", "lora"),  # state space
        ("rwkv", "full"),
        ("zamba2", "lora"),  # shared blocks
        ("gemma3", "full bf16"),  # a multimodal model's text
        ("llama4", "lora"),
    ],
)
def test_what_was_exported_is_what_was_trained(tokenizer: Path, tmp_path: Path, family: str, way: str) -> None:
    make(family, tmp_path / "model", tokenizer, getattr(torch, WAYS[way]))
    verdict, why = _verdict(tmp_path, way.split(maxsplit=1)[0], WAYS[way])
    assert verdict == RIGHT, why
