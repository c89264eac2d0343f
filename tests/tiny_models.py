"""Tiny random models of families that need care, by name: two layers, 64 wide, a vocabulary of 512."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

TEXT: dict[str, Any] = {
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
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
_IDS = {"bos_token_id": 1, "eos_token_id": 2}
_LLAMA4 = TEXT | {"intermediate_size_mlp": 128, "num_local_experts": 4, "num_experts_per_tok": 1}
_LLAMA4 |= {"interleave_moe_layer_step": 1, "layer_types": ["full_attention", "full_attention"]}
_HYBRID = {"mamba_d_state": 8, "mamba_expand": 2, "n_mamba_heads": 8, "mamba_headdim": 16, "mamba_ngroups": 1}
_LINEAR = {
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
}

MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", TEXT),
    "tied": ("LlamaConfig", "LlamaForCausalLM", TEXT | {"tie_word_embeddings": True}),
    "gemma3": (
        "Gemma3Config",
        "Gemma3ForConditionalGeneration",
        {"text_config": TEXT, "vision_config": VISION, "mm_tokens_per_image": 4, "image_token_index": 10},
    ),
    "llama4": (
        "Llama4Config",
        "Llama4ForConditionalGeneration",
        {
            "text_config": _LLAMA4,
            "vision_config": VISION | {"vision_output_dim": 64, "projector_input_dim": 64, "projector_output_dim": 64},
        },
    ),
    "qwen3_5": (
        "Qwen3_5Config",
        "Qwen3_5ForConditionalGeneration",
        {
            "text_config": TEXT | _LINEAR | {"layer_types": ["linear_attention", "full_attention"]},
            "vision_config": {
                "hidden_size": 32,
                "intermediate_size": 64,
                "depth": 1,
                "num_heads": 2,
                "out_hidden_size": 64,
                "patch_size": 14,
                "num_position_embeddings": 16,
            },
        },
    ),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", {"vocab_size": 512, "n_embd": 64, "n_layer": 2, "n_head": 4, **_IDS}),
    "mixtral": (
        "MixtralConfig",
        "MixtralForCausalLM",
        TEXT | _EXPERTS | {"output_router_logits": True, "router_aux_loss_coef": 0.1},
    ),
    "qwen2_moe": (
        "Qwen2MoeConfig",
        "Qwen2MoeForCausalLM",
        TEXT
        | {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 64,
        },
    ),
    "granitemoe": ("GraniteMoeConfig", "GraniteMoeForCausalLM", TEXT | _EXPERTS),
    "jamba": (
        "JambaConfig",
        "JambaForCausalLM",
        TEXT
        | {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "mamba_d_state": 8,
            "mamba_dt_rank": 8,
        },
    ),
    "jetmoe": ("JetMoeConfig", "JetMoeForCausalLM", TEXT | _EXPERTS | {"kv_channels": 16, "num_key_value_heads": 4}),
    "phimoe": ("PhimoeConfig", "PhimoeForCausalLM", TEXT | _EXPERTS),
    "gpt_oss": ("GptOssConfig", "GptOssForCausalLM", TEXT | _EXPERTS | {"intermediate_size": 64}),
    "mamba": (
        "MambaConfig",
        "MambaForCausalLM",
        {"vocab_size": 512, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 8},
    ),
    "mamba2": (
        "Mamba2Config",
        "Mamba2ForCausalLM",
        {
            "vocab_size": 512,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "state_size": 8,
            "num_heads": 8,
            "head_dim": 16,
            "n_groups": 1,
            **_IDS,
        },
    ),
    "zamba2": (
        "Zamba2Config",
        "Zamba2ForCausalLM",
        {
            "vocab_size": 512,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 4,
            "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "num_mem_blocks": 1,
            **_HYBRID,
        },
    ),
    "rwkv": (
        "RwkvConfig",
        "RwkvForCausalLM",
        {
            "vocab_size": 512,
            "hidden_size": 64,
            "attention_hidden_size": 64,
            "num_hidden_layers": 8,
            "context_length": 64,
            **_IDS,
        },
    ),
}


def save(family: str, folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """Write a random model, the same one each time; no tokenizer."""
    config, kind, settings = MODELS[family]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, kind)(getattr(transformers, config)(**settings))
    model.to(dtype).save_pretrained(folder)
    return folder


def save_fp8(folder: Path) -> Path:
    """Write a Llama whose matrices are stored in eight bits, with one scale a block."""
    save("llama", folder, torch.bfloat16)
    stored = {}
    for name, value in load_file(folder / "model.safetensors").items():
        if "proj" in name:
            scale = value.float().abs().max() / 448
            stored[name] = (value.float() / scale).to(torch.float8_e4m3fn)
            stored[f"{name}_scale_inv"] = scale.reshape(1, 1)
        else:
            stored[name] = value
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    method = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128], "fmt": "e4m3"}
    change(folder / "config.json", quantization_config=method)
    return folder


def change(file: Path, **values: Any) -> None:
    """Change keys of a JSON file; ... takes one out."""
    settings = json.loads(file.read_text()) | values
    file.write_text(json.dumps({key: value for key, value in settings.items() if value is not ...}))
