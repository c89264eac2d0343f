"""What a model's files say, and what is refused before anything is made for it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from versatune.models import loading
from versatune.models.look import check_trainable, look
from versatune.schemas.config import Config
from versatune.schemas.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def config(folder: Path, **train: Any) -> Config:
    return Config.model_validate({"name": "n", "model": {"path": str(folder)}, "train": train})


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_the_facts_are_those_of_the_files(tiny_model: Path) -> None:
    facts = look(tiny_model, "org/tiny")
    assert facts is not None
    assert (facts.name, facts.model_type, facts.architecture) == ("tiny", "llama", "LlamaForCausalLM")
    assert (facts.embedding_rows, facts.context, facts.bos, facts.eos, facts.pad) == (512, 512, 1, [2], 2)
    assert set(facts.formats) == {"F32"} and facts.parameters and facts.parameters > 50_000
    assert (facts.tied, facts.quantization, facts.multimodal, facts.experts, facts.own_code) == (
        True,
        None,
        False,
        None,
        False,
    )


def test_the_parts_of_a_multimodal_model_are_seen(multimodal: Path) -> None:
    facts = look(multimodal, "m")
    assert facts is not None
    assert facts.multimodal and facts.experts == 4 and facts.context == 256


def test_a_folder_of_a_tokenizer_alone_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    assert look(tmp_path, "t") is None
    check_trainable(tmp_path, config(tmp_path))


def test_what_was_found_good_is_not_looked_at_again(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked, load = [], loading.load_shapes
    monkeypatch.setattr(loading, "load_shapes", lambda *given: (looked.append(1), load(*given))[1])
    for _ in range(2):
        check_trainable(tiny_model, config(tiny_model))
    assert looked == [1]
    check_trainable(tiny_model, config(tiny_model, method="lora"))  # adapters are another question
    assert looked == [1, 1]


def test_weights_that_are_drawn_at_random_are_said_each_time(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "missing"))
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in sorted(tensors) if "up_proj" in name)
    save_file({n: t for n, t in tensors.items() if n != name}, folder / "model.safetensors", metadata={"format": "pt"})
    lacking = Config.model_validate({"name": "n", "model": {"path": str(folder), "allow_missing": ["*up_proj*"]}})
    for _ in range(2):
        (notice,) = check_trainable(folder, lacking)
        assert f"{name} is in none of its files" in notice and "drawn from the seed" in notice


def test_a_memory_that_cannot_be_written_stops_nothing(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    check_trainable(tiny_model, config(tiny_model))


def test_odd_values_are_no_facts(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "odd"))
    change(
        folder / "config.json",
        moe_num_experts=[64, 64],
        num_experts=0.5,
        bos_token_id=[1],
        model_type=3,
        architectures="L",
    )
    (folder / "generation_config.json").unlink()
    facts = look(folder, "odd")
    assert facts is not None
    assert (facts.experts, facts.bos, facts.model_type, facts.architecture) == (None, None, None, None)


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (
            {"method": "lora", "lora": {"target_modules": ["c_attn"]}},
            r"train\.lora\.target_modules names no module of this model.*q_proj",
        ),
        ({"reference": {"lora": {"target_modules": "x.*"}}}, r"train\.reference\.lora\.target_modules names no module"),
        ({"method": "lora", "lora": {"experts": True}}, r"train\.lora\.experts is true, and the model has no experts"),
    ],
)
def test_adapters_that_cannot_be_are_refused_before_the_build(
    tiny_model: Path, train: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        check_trainable(tiny_model, config(tiny_model, **train))


def test_masks_that_earlier_versions_stored_refuse_nothing(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "old"))
    tensors = load_file(folder / "model.safetensors")
    tensors |= {
        f"model.layers.0.{name}": torch.zeros(1)
        for name in ("attn.bias", "attn.attention.masked_bias", "rotary_emb.inv_freq")
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    check_trainable(folder, config(folder))


def test_quantised_weights_are_for_adapters_alone(fp8: Path) -> None:
    (fp8 / "tokenizer.json").write_text("{}")
    check_trainable(fp8, config(fp8, method="lora"))
    with pytest.raises(
        ConfigError, match=r"its weights are quantised \(fp8\), and train.method is full.*train.method: lora"
    ):
        check_trainable(fp8, config(fp8))
    for method in ({"quant_method": "gptq", "bits": 4}, {"load_in_4bit": True}):
        change(fp8 / "config.json", quantization_config=method)
        with pytest.raises(
            ConfigError, match=r"quantised \((gptq|bitsandbytes)\), and no export of what is trained on them"
        ):
            check_trainable(fp8, config(fp8, method="lora"))


def test_pickled_weights_are_refused(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "config.json").write_bytes((tiny_model / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(DataError, match="its weights are pickles"):
        check_trainable(tmp_path, config(tmp_path))
