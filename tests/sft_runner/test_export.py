"""The exported folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from versatune.schemas.chat_template import shipped_template
from versatune.schemas.files import sha256_bytes, sha256_file
from versatune.sft_runner.export import merged_model, write_model
from versatune.sft_runner.lora import add_adapter
from versatune.sft_runner.model import load_trainee


def export_model(config: Any, trainee: Any, base: Path, run: Path) -> dict[str, str]:
    model = trainee.model
    if hasattr(model, "merge_and_unload"):
        model.save_pretrained(run / "adapter", save_embedding_layers=False)
        model = merged_model(config, base, run / "adapter")
    made = run / "model"
    made.mkdir(parents=True)
    write_model(config, model, base, made, ends=[2])
    return {f.relative_to(made).as_posix(): sha256_file(f) for f in made.rglob("*") if f.is_file()}


@pytest.fixture
def bfloat16_model(tiny_model: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "bf16"
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


def test_weights_take_the_number_format_of_the_base_model(
    workplace: Callable, bfloat16_model: Path, tmp_path: Path
) -> None:
    config = workplace().config
    trainee = load_trainee(config, bfloat16_model)
    assert {p.dtype for p in trainee.parameters().values()} == {torch.float32}
    files = export_model(config, trainee, bfloat16_model, tmp_path)
    assert files == {f.name: sha256_file(f) for f in (tmp_path / "model").iterdir()}
    assert {t.dtype for t in load_file(tmp_path / "model" / "model.safetensors").values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "bfloat16"


def test_an_adapter_is_merged_and_kept_beside(workplace: Callable, tiny_model: Path, tmp_path: Path) -> None:
    config = workplace().config
    trainee = add_adapter(load_trainee(config, tiny_model), config.train.lora, seed=0)
    with torch.no_grad():
        for name, parameter in trainee.parameters().items():
            parameter.fill_(0.01 if "lora_B" in name else 0.02)
    export_model(config, trainee, tiny_model, tmp_path)
    base, merged = load_file(tiny_model / "model.safetensors"), load_file(tmp_path / "model" / "model.safetensors")
    assert base.keys() == merged.keys()
    name = "model.layers.0.self_attn.q_proj.weight"
    # rank 16, scale 32 / 16: every entry grows by 2 * 16 * 0.01 * 0.02
    torch.testing.assert_close(merged[name] - base[name], torch.full_like(base[name], 0.0064), rtol=1e-3, atol=1e-6)
    assert (tmp_path / "adapter" / "adapter_config.json").exists()


def test_a_template_of_versatune_goes_with_the_model_in_place_of_all_its_own(
    workplace: Callable, tiny_model: Path, tmp_path: Path
) -> None:
    config = workplace().config
    base = shutil.copytree(tiny_model, tmp_path / "base")
    (base / "additional_chat_templates").mkdir()
    (base / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools }}")
    (base / "chat_template.json").write_text('{"chat_template": "of a processor"}')
    trainee = load_trainee(config, base)
    files = export_model(config, trainee, base, tmp_path / "own")
    named = transformers.AutoTokenizer.from_pretrained(tmp_path / "own" / "model").chat_template
    assert (named.keys(), named["tool_use"]) == ({"default", "tool_use"}, "{{ tools }}")
    assert {"additional_chat_templates/tool_use.jinja", "chat_template.json"} <= set(files)
    config = config.model_copy(update={"model": config.model.model_copy(update={"chat_template": "versatune/chatml"})})
    files = export_model(config, trainee, base, tmp_path / "other")
    exported = transformers.AutoTokenizer.from_pretrained(tmp_path / "other" / "model").chat_template
    assert exported == shipped_template("versatune/chatml")
    assert files["chat_template.jinja"] == sha256_bytes(exported.encode())
    assert "chat_template.json" not in files


def test_a_template_of_the_configuration_goes_with_the_model(
    workplace: Callable, tiny_model: Path, tmp_path: Path
) -> None:
    config = workplace().config
    template = tmp_path / "own.jinja"
    template.write_text("{{ messages[0]['content'] }}!")
    config = config.model_copy(update={"model": config.model.model_copy(update={"chat_template": str(template)})})
    export_model(config, load_trainee(config, tiny_model), tiny_model, tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi!"
