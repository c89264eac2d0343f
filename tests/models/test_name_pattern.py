"""A pattern over names of modules that never ends is refused before peft gets it."""

from __future__ import annotations

import pytest

from versatune.models import name_pattern
from versatune.models.name_pattern import fitting
from versatune.schemas.errors import ConfigError

NAMES = [f"model.layers.{layer}.self_attn.{part}_proj" for layer in range(30) for part in "qkv"]


def test_a_pattern_fits_whole_names() -> None:
    assert fitting(r".*\.q_proj", NAMES, "lora") == NAMES[::3]
    assert fitting(r"q_proj", NAMES, "lora") == []


def test_a_pattern_that_never_ends_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_pattern, "_SECONDS", 1.0)
    with pytest.raises(
        ConfigError, match=r"train\.lora\.target_modules: '\(\[a-z_\.0-9\]\+\)\+x' was not done with 90 names"
    ):
        fitting(r"([a-z_.0-9]+)+x", NAMES, "train.lora.target_modules")


def test_what_is_no_pattern_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"lora: '\(' is no regular expression"):
        fitting("(", NAMES, "lora")
