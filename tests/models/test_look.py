"""What a model's files say, and what is refused before anything is made for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

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
    looked = []
    monkeypatch.setattr(loading, "load_shapes", lambda *_: looked.append(1))
    for _ in range(2):
        check_trainable(tiny_model, config(tiny_model))
    assert looked == [1]
    check_trainable(tiny_model, config(tiny_model, method="lora"))
    assert looked == [1]


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
