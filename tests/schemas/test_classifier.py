from __future__ import annotations

from typing import Any

import pytest

from versatune.schemas.classifier import ClassifierTraining
from versatune.schemas.errors import ConfigError
from versatune.schemas.validation import validate


def configured(**changes: Any) -> ClassifierTraining:
    value = {"train": [{"name": "p", "files": ["x"]}], **changes}
    return validate(ClassifierTraining, value, "test", ConfigError)


@pytest.mark.parametrize("name", ["lr", "dim", "epoch", "word_ngrams", "buckets"])
def test_a_search_has_values_to_draw_from_and_all_are_positive(name: str) -> None:
    """With an empty list the search would try nothing and not say so."""
    assert configured(search={"trials": 1, name: [1]}).search.trials == 1
    with pytest.raises(ConfigError, match=rf"search\.{name} is"):
        configured(search={"trials": 1, name: []})
    with pytest.raises(ConfigError, match=rf"search\.{name}\.0 is"):
        configured(search={"trials": 1, name: [-1]})


@pytest.mark.parametrize("form", [{"form": "texts"}, {"form": "terms", "templates": "t.txt"}])
def test_only_rows_can_be_held_out(form: dict[str, str]) -> None:
    assert configured(train=[{"name": "p", "files": ["x"], "hold_out": 0.1}]).train[0].hold_out == 0.1
    with pytest.raises(ConfigError, match="'hold_out' goes with form: rows"):
        configured(train=[{"name": "t", "files": ["x"], "hold_out": 0.1, **form}])
