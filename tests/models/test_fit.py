"""What is compared of a model before any work."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from versatune.models.fit import check_model_fit, embedding_rows
from versatune.schemas.errors import DataError

CONFIG: dict[str, Any] = {"model_type": "llama", "vocab_size": 4, "max_position_embeddings": 64}


def _added(number: int, content: str, *, special: bool = True) -> dict[str, Any]:
    return {"id": number, "content": content, "special": special}


def _model(
    folder: Path,
    *,
    config: dict[str, Any] | None = None,
    rows: int | None = 4,
    name: str = "model.embed_tokens.weight",
    vocabulary: Any = None,
    added: list[dict[str, Any]] | None = None,
    settings: dict[str, Any] | None = None,
    generation: dict[str, Any] | None = None,
) -> Path:
    (folder / "config.json").write_text(json.dumps(CONFIG | (config or {})))
    if rows is not None:
        tensors = {
            "lm_head.weight": {"dtype": "F32", "shape": [9, 1], "data_offsets": [0, 36]},
            name: {"dtype": "F32", "shape": [rows, 1], "data_offsets": [36, 36 + 4 * rows]},
        }
        header = json.dumps(tensors).encode()
        data = struct.pack("<Q", len(header)) + header + bytes(36 + 4 * rows)
        (folder / "model.safetensors").write_bytes(data)
    vocabulary = {"a": 0, "b": 1, "c": 2, "</s>": 3} if vocabulary is None else vocabulary
    tokenizer = {"model": {"vocab": vocabulary}, "added_tokens": added or []}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings or {}))
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"config": {"pad_token_id": None}},
        {"config": {"pad_token_id": 0}},
        {"config": {"pad_token_id": 3}},
        {"rows": 6, "added": [_added(5, "<new>", special=False)]},  # rows to spare
        {"added": [_added(4, "<image>")]},  # a special token that nothing names
        {"vocabulary": [["a", 0.0], ["b", -1.0]]},
        {"rows": None},
        {"config": {"max_position_embeddings": None}},
        {"config": {"model_type": "bloom", "seq_length": 8, "max_position_embeddings": None}},
        {"config": {"model_type": "mpt", "n_positions": 8, "attn_config": {"alibi": True}}},
        {"config": {"max_position_embeddings": 16, "rope_scaling": {"type": "yarn", "factor": 4.0}}},
        {"config": {"text_config": {"vocab_size": 4, "max_position_embeddings": 64}, "max_position_embeddings": None}},
    ],
)
def test_what_goes_together_is_accepted(tmp_path: Path, model: dict[str, Any]) -> None:
    check_model_fit(_model(tmp_path, **model), max_tokens=64)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"config": {"max_position_embeddings": 63}}, "a context of 63 tokens, and rows may have 64"),
        (
            {"config": {"text_config": {"max_position_embeddings": 8}, "max_position_embeddings": None}},
            "context of 8 tokens",
        ),
        ({"config": {"max_position_embeddings": 15, "rope_scaling": {"type": "yarn", "factor": 4}}}, "context of 60"),
        ({"config": {"pad_token_id": -1}}, "pad_token_id is -1, which is no row of its embedding; expected an id from 0 to 3"),
        ({"config": {"pad_token_id": 4}}, "pad_token_id is 4"),
        ({"config": {"text_config": {"pad_token_id": 4}}}, "pad_token_id is 4"),
        ({"generation": {"pad_token_id": 32000}}, "pad_token_id is 32000"),
        ({"rows": None, "config": {"pad_token_id": 4}}, "pad_token_id is 4"),
        ({"added": [_added(4, "<pad>")], "settings": {"pad_token": "<pad>"}}, r"embedding of 4 rows: '<pad>' \(4\)"),
        ({"added": [_added(4, "<pad>")], "settings": {"pad_token": {"content": "<pad>"}}}, r"'<pad>' \(4\)"),
        ({"added": [_added(4, "<|im_end|>")], "settings": {"chat_template": "a<|im_end|>"}}, r"'<\|im_end\|>' \(4\)"),
        ({"added": [_added(7, "<new>", special=False)]}, r"'<new>' \(7\)"),
        ({"rows": 2}, r"'c' \(2\), '</s>' \(3\)"),
        ({"rows": 1, "vocabulary": [[letter, 0.0] for letter in "abcdef"]}, r"'b' \(1\), 'c' \(2\), 'd' \(3\) and 2 more"),
        ({"rows": None, "config": {"vocab_size": 3}}, r"embedding of 3 rows: '</s>' \(3\)"),
        ({"rows": 2, "name": "transformer.wte.weight"}, "embedding of 2 rows"),
    ],
)  # fmt: skip
def test_what_does_not_is_refused_by_name(tmp_path: Path, model: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        check_model_fit(_model(tmp_path, **model), max_tokens=64)


def test_all_of_it_is_said_at_once(tmp_path: Path) -> None:
    folder = _model(tmp_path, config={"pad_token_id": -1, "max_position_embeddings": 8}, rows=3)
    with pytest.raises(DataError) as refused:
        check_model_fit(folder, max_tokens=64)
    assert len(str(refused.value).splitlines()) == 3


def test_the_rows_are_those_of_the_weights_and_not_the_configurations(tmp_path: Path) -> None:
    assert embedding_rows(_model(tmp_path, rows=5)) == 5


def test_a_serialised_tokenizer_is_taken_in_place_of_the_folders(tmp_path: Path) -> None:
    folder = _model(tmp_path)
    tokenizer = {"model": {"vocab": {"a": 9}}, "added_tokens": []}
    with pytest.raises(DataError, match=r"'a' \(9\)"):
        check_model_fit(folder, max_tokens=64, tokenizer_json=json.dumps(tokenizer))
