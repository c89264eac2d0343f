"""Generation settings that could not be saved with the trained model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from versatune.models.generation import check_generation_settings
from versatune.schemas.errors import DataError

transformers = pytest.importorskip("transformers")


def _saves(settings: dict[str, Any], folder: Path) -> bool:
    (folder / "generation_config.json").write_text(json.dumps(settings))
    try:
        transformers.GenerationConfig.from_pretrained(folder).save_pretrained(folder / "saved")
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    "settings",
    [
        {"eos_token_id": [1, 2], "pad_token_id": 0},
        {"do_sample": True, "temperature": 0.6, "top_p": 0.9},
        {"do_sample": False},
        {"max_new_tokens": 20},
        {"temperature": 0.6},
        {"do_sample": False, "temperature": 0.6, "top_k": 5},
        {"top_p": 0.9},
        {"num_beams": 1, "early_stopping": True},
        {"num_beams": 1, "length_penalty": 2.0},
        {"max_new_tokens": -1},
        {"num_return_sequences": 4},
        {},
    ],
)
def test_what_transformers_will_not_save_is_refused_before(tmp_path: Path, settings: dict[str, Any]) -> None:
    if _saves(settings, tmp_path):
        check_generation_settings(tmp_path)
    else:
        with pytest.raises(DataError, match="cannot be saved with the trained model"):
            check_generation_settings(tmp_path)


def test_the_usual_mistake_is_among_them(tmp_path: Path) -> None:
    assert not _saves({"temperature": 0.6}, tmp_path)


def test_a_model_without_settings_is_fine(tmp_path: Path) -> None:
    check_generation_settings(tmp_path)
