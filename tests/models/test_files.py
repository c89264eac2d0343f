"""Which model folders are refused, and what a model's digest depends on."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from versatune.models.files import check_model_folder, context_length, model_digest
from versatune.schemas.errors import DataError


def _safetensors(data: bytes) -> bytes:
    header = json.dumps({"w": {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}}).encode()
    return struct.pack("<Q", len(header)) + header + data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"max_position_embeddings": 64}')
    (model / "tokenizer.json").write_text("{}")
    (model / "model.safetensors").write_bytes(_safetensors(b"abcd"))
    return model


def test_a_whole_folder_is_accepted(folder: Path) -> None:
    check_model_folder(folder)


@pytest.mark.parametrize(
    ("missing", "message"),
    [("config.json", "no config.json"), ("model.safetensors", "no weights"), ("tokenizer.json", "no tokenizer")],
)
def test_a_missing_file_is_named(folder: Path, missing: str, message: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(DataError, match=message):
        check_model_folder(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        check_model_folder(tmp_path / "absent")


def test_pickled_weights_are_refused_by_name(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(DataError, match=r"pickles \(pytorch_model.bin\)"):
        check_model_folder(folder)


@pytest.mark.parametrize(
    "content", [_safetensors(b"abcd")[:-1], b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"]
)
def test_cut_off_weights_and_pointers_are_refused(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(DataError, match=r"model\.safetensors"):
        check_model_folder(folder)


def test_a_shard_that_the_index_names_must_be_there(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"w": "model-00002-of-00002.safetensors"}}')
    with pytest.raises(DataError, match="model-00002-of-00002"):
        check_model_folder(folder)


def test_the_digest_follows_weights_configuration_and_tokenizer_only(folder: Path) -> None:
    first = model_digest(folder)
    (folder / "README.md").write_text("changed")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert model_digest(folder) == first
    digests = {first}
    for name, content in [
        ("model.safetensors", _safetensors(b"abce")),
        ("config.json", b"{}"),
        ("tokenizer.json", b"[]"),
        ("generation_config.json", b"{}"),
    ]:
        (folder / name).write_bytes(content)
        digests.add(model_digest(folder))
    assert len(digests) == 5


def test_the_digest_does_not_depend_on_where_the_folder_is(folder: Path, tmp_path: Path) -> None:
    first = model_digest(folder)
    assert model_digest(folder.rename(tmp_path / "moved")) == first


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ('{"max_position_embeddings": 64}', 64),
        ('{"n_positions": 8}', 8),
        ('{"text_config": {"seq_length": 4}}', 4),
        ("{}", None),
    ],
)
def test_the_context_length_is_found_under_its_several_names(folder: Path, config: str, length: int | None) -> None:
    (folder / "config.json").write_text(config)
    assert context_length(folder) == length


def test_positions_that_padding_takes_are_no_context(tmp_path: Path) -> None:
    """RoBERTa counts positions from pad id + 1: of 66 it has 64 for texts."""
    (tmp_path / "config.json").write_text('{"model_type": "roberta", "max_position_embeddings": 66, "pad_token_id": 1}')
    assert context_length(tmp_path) == 64


def test_generation_settings_are_part_of_a_model_but_not_of_what_is_trained(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = [model_digest(tmp_path, generation=generation) for generation in (True, False)]
    (tmp_path / "generation_config.json").write_text("{}")
    after = [model_digest(tmp_path, generation=generation) for generation in (True, False)]
    assert before[0] != after[0] and before[1] == after[1]
