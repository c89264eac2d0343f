"""A tiny random model of every causal language model that transformers knows: two layers, 64 wide, a vocabulary of 512.

Settings that a configuration knows by the usual names are made small; tests/tiny_models.py has those that need more care.
"""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tests.tiny_models import MODELS, TEXT, save

_LARGEST = 8_000_000
_SMALL: dict[str, Any] = {
    **TEXT,
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 256,
    "d_model": 64,
    "n_heads": 4,
    "n_layers": 2,
    "ffn_dim": 128,
    "word_embed_proj_dim": 64,
    "decoder_layers": 2,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 128,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "num_local_experts": 4,
    "num_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 64,
    "n_shared_experts": 1,
    "moe_num_experts": 4,
    "moe_k": 2,
    "n_group": 1,
    "topk_group": 1,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 16,
    "state_size": 8,
    "mamba_d_state": 8,
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_num_heads": 8,
    "mamba_head_dim": 16,
    "mamba_dt_rank": 8,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "rotary_dim": 8,
    "embedding_size": 64,
    "sliding_window": 8,
    "num_encoder_layers": 2,
    "num_decoder_layers": 2,
    "attention_window": 8,
    "hidden_size_per_layer_input": 16,
    "index_topk": 8,
    "index_n_heads": 2,
    "index_head_dim": 16,
}
_LATENT = {"head_dim": 8, "num_key_value_heads": 4}  # of attention with a latent space
_OWN: dict[str, dict[str, Any]] = {
    "axk1": _LATENT,
    "axk2": _LATENT,
    "deepseek_v2": _LATENT,
    "deepseek_v3": _LATENT,
    "deepseek_v32": _LATENT,
    "glm4_moe_lite": _LATENT,
    "glm_moe_dsa": _LATENT,
    "minicpm3": _LATENT,
    "youtu": _LATENT,
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_heads": 4},
    "mamba2": {"num_heads": 8, "n_groups": 1},
    "gpt_neo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]},
    "reformer": {"is_decoder": True, "attn_layers": ["local", "local"], "axial_pos_embds": False},
    "zaya": {"num_experts_per_tok": 1},
}
_TEXT_LISTS = {"layer_types": ["sliding_attention", "full_attention"]}
_OWN |= {
    "gemma4_text": {"vocab_size_per_layer_input": 512},
    "gemma3n_text": {"vocab_size_per_layer_input": 512, "num_kv_shared_layers": 0, **_TEXT_LISTS},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "longcat_flash": {
        **_LATENT,
        "ffn_hidden_size": 128,
        "expert_ffn_hidden_size": 32,
        "num_layers": 2,
        "moe_topk": 2,
        "zero_expert_num": 2,
    },
}
_LISTS = ("layer_types", "mlp_layer_types", "layers_block_type")


def families() -> list[str]:
    """Return the model types, those of the careful table among them."""
    return sorted({*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *MODELS})


def make(family: str, folder: Path, tokenizer: Path, dtype: torch.dtype = torch.float32) -> str:
    """Write a model with a tokenizer into a folder; the same one each time.

    Returns:
        The name of its class.

    Raises:
        Exception: whatever stands in the way of a small model of this kind.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if family in MODELS:
        save(family, folder, dtype)
        name = MODELS[family][1]
    else:
        model = _model(family)
        model.to(dtype).save_pretrained(folder)
        name = type(model).__name__
    for file in tokenizer.glob("*"):
        if "token" in file.name or "template" in file.name:
            shutil.copyfile(file, folder / file.name)
    return name


def _model(family: str) -> Any:
    names = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[family]
    kind = getattr(transformers, names if isinstance(names, str) else names[0])
    config = _config(family)
    with torch.device("meta"):
        size = sum(p.numel() for p in kind(copy.deepcopy(config)).parameters())
    if size > _LARGEST:
        raise MemoryError(f"{size:,} parameters: its configuration has no usual names")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(config)


def _config(family: str) -> Any:
    kind = CONFIG_MAPPING[family]
    usual = kind()
    known = {*usual.to_dict(), *(getattr(kind, "attribute_map", None) or {})}
    settings = {
        name: value
        for name, value in {**_SMALL, **_OWN.get(family, {})}.items()
        if name in known or name in _OWN.get(family, {})
    }
    if "text_config" in known:
        text = set(type(usual.get_text_config())().to_dict())
        settings["text_config"] = {name: value for name, value in _SMALL.items() if name in text}
    config = kind(**settings)
    text = config.get_text_config()
    for name in _LISTS:
        if isinstance(value := getattr(text, name, None), list) and len(value) > text.num_hidden_layers:
            setattr(text, name, value[: text.num_hidden_layers])
    return config
