"""Models as anybody would load them, and what is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny_models import TEXT, VISION
from versatune.models.loading import load_model, load_shapes, pad_id
from versatune.schemas.config import ModelConfig
from versatune.schemas.errors import ConfigError, DataError


def both(folder: Path, **settings: object) -> list[Callable[[], object]]:
    """Loading with and without values."""
    model = ModelConfig(path=str(folder), **settings)
    return [lambda: load_shapes(folder, model), lambda: load_model(folder, model, dtype=torch.float32)]


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_weights_that_the_files_lack_are_refused_by_name_or_drawn_from_the_seed(llama: Path) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    rewrite(llama, lambda tensors: tensors.pop(name))
    for load in both(llama):
        with pytest.raises(
            DataError, match=rf"{name} is missing from the files, and would be drawn at random.*allow_missing"
        ):
            load()
    model = ModelConfig(path=str(llama), allow_missing=["*.1.mlp.up_proj.*"])
    one, two, other = (load_model(llama, model, dtype=torch.float32, seed=seed) for seed in (1, 1, 2))
    assert one.made_up == [name]
    drawn = [loaded.model.get_parameter(name) for loaded in (one, two, other)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_weights_that_the_model_lacks_are_refused_by_name(llama: Path) -> None:
    rewrite(llama, lambda tensors: tensors.update({"model.layers.7.mlp.gate.weight": torch.zeros(2, 2)}))
    for load in both(llama):
        with pytest.raises(
            DataError, match=r"model\.layers\.7\.mlp\.gate\.weight is in the files and not in the model"
        ):
            load()
    allowed = load_shapes(llama, ModelConfig(path=str(llama), allow_missing=["model.layers.7.*"]))
    assert allowed.carried == ["model.layers.7.mlp.gate.weight"]


def test_weights_of_another_shape_are_refused(llama: Path) -> None:
    rewrite(llama, lambda tensors: tensors.update({"model.norm.weight": torch.ones(32)}))
    for load in both(llama, allow_missing=["*"]):
        with pytest.raises(DataError, match=r"model\.norm\.weight"):
            load()


def test_the_other_parts_of_a_multimodal_model_are_carried(multimodal: Path) -> None:
    loaded = load_model(multimodal, ModelConfig(path="m"), dtype=torch.float32)
    assert type(loaded.model).__name__ == "Llama4ForCausalLM"
    assert loaded.carried and not any("language_model" in name for name in loaded.carried)
    assert loaded.carried == load_shapes(multimodal, ModelConfig(path="m")).carried


@pytest.mark.parametrize("kind", ["Qwen2VL", "Llava", "Mistral3"])
def test_a_multimodal_model_whose_text_part_does_not_load_is_refused(saved: Callable[..., Path], kind: str) -> None:
    texts = {"Qwen2VL": TEXT, "Llava": TEXT | {"model_type": "llama"}, "Mistral3": TEXT | {"model_type": "mistral"}}
    visions = {
        "Qwen2VL": {"depth": 1, "embed_dim": 32, "num_heads": 2, "hidden_size": 64, "patch_size": 14},
        "Llava": VISION | {"model_type": "clip_vision_model"},
        "Mistral3": VISION | {"model_type": "pixtral"},
    }
    folder = saved(kind, "ForConditionalGeneration", text_config=texts[kind], vision_config=visions[kind])
    for load in both(folder):
        with pytest.raises(ConfigError, match=r"is a multimodal model whose text part transformers does not load"):
            load()


def test_quantised_weights_are_loaded_as_plain_ones(fp8: Path) -> None:
    model = load_model(fp8, ModelConfig(path="m"), dtype=torch.float32).model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    stored = load_file(fp8 / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    expected = stored[name].float() * stored[f"{name}_scale_inv"]
    torch.testing.assert_close(model.get_parameter(name), expected, rtol=1e-2, atol=1e-3)


def test_evaluating_rwkv_changes_no_weight(saved: Callable[..., Path]) -> None:
    folder = saved(
        "Rwkv", vocab_size=512, hidden_size=64, attention_hidden_size=64, num_hidden_layers=8, context_length=64
    )
    model = load_model(folder, ModelConfig(path="m"), dtype=torch.float32).model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        model.eval()(input_ids=torch.arange(8)[None])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("file", "text"),
    [("config.json", '{"model_type": "llama", "hidden_size": -4}'), ("config.json", '{"model_type": "none"}')],
)
def test_whatever_transformers_raises_is_one_message(llama: Path, file: str, text: str) -> None:
    (llama / file).write_text(text)
    for load in both(llama):
        with pytest.raises((DataError, ConfigError), match=str(llama)):
            load()


def test_padding_needs_an_id_in_any_configuration(saved: Callable[..., Path]) -> None:
    transformers = pytest.importorskip("transformers")
    assert pad_id(transformers.Gemma3Config(text_config=TEXT | {"pad_token_id": 3}, vision_config=VISION)) == 3
    assert pad_id(transformers.LlamaConfig(pad_token_id=None)) == 0
    assert pad_id(transformers.RwkvConfig()) == 0
