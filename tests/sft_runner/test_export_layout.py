"""The export has the layout of its base: names, formats and files of every tensor, settings, templates and what is carried along."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from jinja2 import Environment
from safetensors.torch import load_file, save_file

from tests.tiny_models import change, save, save_fp8
from versatune.models.loading import load_model
from versatune.models.weights import weight_files
from versatune.schemas.config import Config
from versatune.sft_runner.audit_files import file_problems
from versatune.sft_runner.export import write_model
from versatune.sft_runner.export_template import with_defaults

IDS = torch.arange(3, 15)[None]


def config_of(folder: Path, **model: Any) -> Config:
    return Config.model_validate({"name": "n", "model": {"path": str(folder)} | model})


def trained_export(base: Path, **model: Any) -> tuple[Any, Path]:
    """Load, change every weight a little (by numbers that 16 bits have), export; return the model and the export."""
    config = config_of(base, **model)
    loaded = load_model(base, config.model, dtype=torch.float32).model
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.copy_((parameter + 0.0625).to(torch.bfloat16))
    made = base.parent / f"{base.name}-export"
    made.mkdir()
    write_model(config, loaded, base, made, ends=[2])
    return loaded, made


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value for file in weight_files(folder) for name, value in load_file(file).items()}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS, use_cache=False).logits.float()


def stranger(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.mark.parametrize(
    "family", ["llama", "tied", "gpt2", "mixtral", "gpt_oss", "jamba", "gemma3", "qwen3_5", "llama4", "rwkv"]
)
def test_names_formats_and_values_are_those_of_base_and_training(tmp_path: Path, family: str) -> None:
    base = save(family, tmp_path / family, torch.bfloat16)
    model, made = trained_export(base)
    before, after = tensors_of(base), tensors_of(made)
    assert {name: (t.dtype, t.shape) for name, t in before.items()} == {n: (t.dtype, t.shape) for n, t in after.items()}
    torch.testing.assert_close(logits(stranger(made)), logits(model), rtol=0, atol=1e-4)


def test_a_tensor_in_float32_among_others_keeps_its_digits(tmp_path: Path) -> None:
    """DeepSeek's routing biases, 8.003 and 8.013, are both 8 in bfloat16."""
    base = save("llama", tmp_path / "mixed", torch.bfloat16)
    tensors = load_file(base / "model.safetensors")
    tensors["model.norm.weight"] = torch.linspace(8.003, 8.013, 64)
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    config = config_of(base)
    made = tmp_path / "made"
    made.mkdir()
    write_model(config, load_model(base, config.model, dtype=torch.float32).model, base, made, ends=[2])
    for name, value in tensors.items():
        assert torch.equal(tensors_of(made)[name], value) and tensors_of(made)[name].dtype == value.dtype


@pytest.mark.parametrize("said", [..., "float32"])
def test_the_files_decide_the_format_and_not_what_config_json_says(tmp_path: Path, said: Any) -> None:
    base = save("llama", tmp_path / "half", torch.float16)
    change(base / "config.json", dtype=said)
    _, made = trained_export(base)
    assert {tensor.dtype for tensor in tensors_of(made).values()} == {torch.float16}


def test_shards_stay_shards(tmp_path: Path) -> None:
    base = save("llama", tmp_path / "sharded")
    transformers.AutoModelForCausalLM.from_pretrained(base).save_pretrained(base, max_shard_size="100KB")
    (base / "model.safetensors").unlink(missing_ok=True)
    assert len(weight_files(base)) > 2
    model, made = trained_export(base)
    layout = [{file.name: sorted(load_file(file)) for file in weight_files(folder)} for folder in (base, made)]
    assert layout[0] == layout[1]
    assert json.loads((made / "model.safetensors.index.json").read_text())["weight_map"]
    torch.testing.assert_close(logits(stranger(made)), logits(model), rtol=0, atol=1e-4)


def test_two_names_of_one_weight_stay_one_weight(tmp_path: Path) -> None:
    base = save("tied", tmp_path / "both")
    tensors = load_file(base / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    _, made = trained_export(base)
    after = tensors_of(made)
    assert torch.equal(after["lm_head.weight"], after["model.embed_tokens.weight"])
    loaded = stranger(made)
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


@pytest.mark.parametrize("family", ["llama4", "qwen3_5"])
def test_what_is_not_text_is_carried_byte_by_byte(tmp_path: Path, family: str) -> None:
    base = save(family, tmp_path / family)
    (base / "preprocessor_config.json").write_text('{"size": 28}')
    (base / "processor_config.json").write_text("{}")
    _, made = trained_export(base)
    before, after = tensors_of(base), tensors_of(made)
    towers = [name for name in before if "vision" in name or "visual" in name]
    assert towers and all(torch.equal(before[name], after[name]) for name in towers)
    assert (made / "preprocessor_config.json").read_text() == '{"size": 28}' and (
        made / "processor_config.json"
    ).is_file()
    assert json.loads((made / "config.json").read_text()) == json.loads((base / "config.json").read_text())


def test_weights_that_nobody_trained_are_carried(tmp_path: Path) -> None:
    """Layers that predict further ahead, which transformers leaves out."""
    base = save("llama", tmp_path / "ahead")
    tensors = load_file(base / "model.safetensors")
    tensors["mtp.layers.0.weight"] = torch.rand(4, 4)
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    _, made = trained_export(base, allow_missing=["mtp.*"])
    assert torch.equal(tensors_of(made)["mtp.layers.0.weight"], tensors["mtp.layers.0.weight"])


def test_a_second_copy_in_another_layout_is_not_carried(tmp_path: Path) -> None:
    """Mistral's folders hold consolidated.safetensors too, which nobody trained, and transformers does not load."""
    base = save("llama", tmp_path / "twice")
    save_file({"layers.0.attention.wq.weight": torch.zeros(2, 2)}, base / "consolidated.safetensors")
    _, made = trained_export(base)
    assert not (made / "consolidated.safetensors").exists()
    assert file_problems(base, made) == []


def test_folders_with_the_names_of_files_and_code_are_left(tmp_path: Path) -> None:
    base = save("llama", tmp_path / "odd")
    (base / "tokenizer_backup").mkdir()
    (base / "modeling_own.py").write_text("")
    _, made = trained_export(base)
    assert not (made / "tokenizer_backup").exists() and not (made / "modeling_own.py").exists()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (None, {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}),
        ({"eos_token_id": 5}, {"eos_token_id": [5, 2]}),
        ({"eos_token_id": [2, 5], "top_k": 3}, {"eos_token_id": [2, 5], "top_k": 3, "do_sample": True}),
        ({"temperature": 0.5}, {"temperature": 0.5, "do_sample": True, "eos_token_id": 2}),
    ],
)
def test_generation_ends_at_what_was_taught(
    tmp_path: Path, settings: dict[str, Any] | None, expected: dict[str, Any]
) -> None:
    base = save("llama", tmp_path / "base")
    (base / "generation_config.json").unlink()
    if settings is not None:
        (base / "generation_config.json").write_text(json.dumps(settings))
    _, made = trained_export(base)
    assert json.loads((made / "generation_config.json").read_text()) == expected
    transformers.GenerationConfig.from_pretrained(made).save_pretrained(tmp_path / "again")


def test_what_a_template_is_given_goes_with_it(tiny_model: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    own = "{% macro m() %}[{{ thinking }}{{ name }}{{ n }}]{% endmacro %}\n{{ m() }}{{ messages[0]['content'] }}"
    (base / "chat_template.jinja").write_text(own)
    (base / "additional_chat_templates").mkdir()
    (base / "additional_chat_templates" / "tool_use.jinja").write_text("tools {{ thinking }}")
    variables = {"thinking": False, "name": 'a "b" é', "n": 3}
    _, made = trained_export(base, template_variables=variables)
    tokenizer, before = (transformers.AutoTokenizer.from_pretrained(folder) for folder in (made, base))
    talk = [{"role": "user", "content": "hi"}]
    rendered = tokenizer.apply_chat_template(talk, tokenize=False)
    assert rendered == before.apply_chat_template(talk, tokenize=False, **variables)
    assert 'a "b" é' in rendered
    assert "True" in tokenizer.apply_chat_template(talk, tokenize=False, thinking=True)
    assert tokenizer.apply_chat_template(talk, tokenize=False, chat_template="tool_use") == "tools False"


def test_defaults_change_nothing_else_of_a_template() -> None:
    environment = Environment(trim_blocks=True, lstrip_blocks=True)  # as transformers has it
    for template in ("\n\nA", "  {% if x %}B{% endif %}\n C\n", "A"):
        rendered = environment.from_string(with_defaults(template, {"x": True})).render()
        assert rendered == environment.from_string(template).render(x=True)


def test_a_quantised_base_is_exported_as_a_plain_model(tmp_path: Path) -> None:
    model, made = trained_export(save_fp8(tmp_path / "fp8"))
    assert "quantization_config" not in json.loads((made / "config.json").read_text())
    assert {tensor.dtype for tensor in tensors_of(made).values()} == {torch.bfloat16}
    torch.testing.assert_close(logits(stranger(made)), logits(model), rtol=0, atol=1e-4)


def test_experts_in_four_bits_are_exported_as_plain_ones(tmp_path: Path) -> None:
    """gpt-oss as it is published: blocks and scales of mxfp4."""
    base = save("gpt_oss", tmp_path / "mxfp4", torch.bfloat16)
    random = torch.Generator().manual_seed(0)
    stored = {}
    for name, value in load_file(base / "model.safetensors").items():
        if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            experts, inner, outer = value.shape
            blocks = (experts, outer, inner // 32, 16)
            stored[f"{name}_blocks"] = torch.randint(0, 256, blocks, generator=random, dtype=torch.uint8)
            stored[f"{name}_scales"] = torch.full(blocks[:-1], 120, dtype=torch.uint8)
        else:
            stored[name] = value
    save_file(stored, base / "model.safetensors", metadata={"format": "pt"})
    kept = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    change(base / "config.json", quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": kept})
    model, made = trained_export(base)
    assert "quantization_config" not in json.loads((made / "config.json").read_text())
    assert not any("blocks" in name or "scales" in name for name in tensors_of(made))
    torch.testing.assert_close(logits(stranger(made)), logits(model), rtol=0, atol=1e-4)
