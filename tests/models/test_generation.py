"""Generation settings that could not be saved with the trained model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from versatune.models.generation import check_generation_settings, mended
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
def test_what_transformers_will_not_save_is_mended_or_refused_before(tmp_path: Path, settings: dict[str, Any]) -> None:
    saved = _saves(settings, tmp_path)
    after, notice = mended(settings)
    if saved:
        assert check_generation_settings(tmp_path) == "" and after == settings
    elif notice:
        assert check_generation_settings(tmp_path).endswith(notice) and _saves(after, tmp_path)
    else:
        with pytest.raises(DataError, match="cannot be saved with the trained model"):
            check_generation_settings(tmp_path)


def test_a_temperature_without_sampling_means_to_sample(tmp_path: Path) -> None:
    assert not _saves({"temperature": 0.6}, tmp_path)
    after, notice = mended({"temperature": 0.6})
    assert after == {"temperature": 0.6, "do_sample": True}
    assert notice.startswith("generation_config.json gives temperature without do_sample: true")


def test_a_model_without_settings_is_fine(tmp_path: Path) -> None:
    assert check_generation_settings(tmp_path) == ""
