"""One way to load a tokenizer: the one that anybody would get."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from versatune.models.tokenizer import load_tokenizer
from versatune.schemas.errors import DataError

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize("kind", ["PreTrainedTokenizerFast", "TokenizersBackend", "Qwen2Tokenizer", None])
def test_the_class_of_the_model_wins_over_a_generic_one(tiny_model: Path, tmp_path: Path, kind: str | None) -> None:
    """A generic class in the file, and Qwen2's own way to cut texts: build and train used to differ."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "qwen"))
    for file, key, value in (
        ("config.json", "model_type", "qwen2"),
        ("tokenizer_config.json", "tokenizer_class", kind),
    ):
        (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | {key: value}))
    ours = load_tokenizer(folder, trust_remote_code=False)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert type(ours) is type(theirs)
    assert ours.backend_tokenizer.to_str() == theirs.backend_tokenizer.to_str()


@pytest.mark.parametrize("broken", ["{", "[]", '{"model": 3}', ""])
def test_a_broken_tokenizer_is_one_message(tiny_model: Path, tmp_path: Path, broken: str) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "broken"))
    (folder / "tokenizer.json").write_text(broken)
    with pytest.raises(DataError, match="no tokenizer can be loaded"):
        load_tokenizer(folder, trust_remote_code=False)


def test_a_folder_with_the_name_of_a_tokenizer_is_in_nobodys_way(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "odd"))
    (folder / "tokenizer_backup").mkdir()
    assert load_tokenizer(folder, trust_remote_code=False).is_fast
