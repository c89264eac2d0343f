"""Where a model's files are looked for."""

from pathlib import Path

import pytest

from versatune.models.source import model_folder
from versatune.schemas.config import Config, load_config
from versatune.schemas.errors import ConfigError, DataError


def _config(tmp_path: Path, model: str) -> Config:
    file = tmp_path / "c.yaml"
    file.write_text(f"name: a\n{model}")
    return load_config(file)


def test_a_folder_beside_the_configuration_is_taken(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    assert model_folder(_config(tmp_path, "model: {path: m}"), needed_for="x") == tmp_path.resolve() / "m"


def test_a_model_in_the_hub_s_cache_is_found_by_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "hub" / "models--org--name"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert model_folder(_config(tmp_path, "model: {path: org/name}"), needed_for="x") == snapshot


@pytest.mark.parametrize("path", ["nowhere", "../models/nowhere", "./org/name"])
def test_a_missing_folder_is_named_without_asking_the_hub(tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*; expected one, or a hub id \(org/name\)"):
        model_folder(_config(tmp_path, f"model: {{path: {path}}}"), needed_for="x")


def test_a_model_the_hub_does_not_give_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"org/name: there is no folder .* and the hub does not give that model"):
        model_folder(_config(tmp_path, "model: {path: org/name}"), needed_for="x")


def test_no_model_at_all_says_what_to_add(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"probing needs a base model; add 'model: \{path"):
        model_folder(_config(tmp_path, ""), needed_for="probing")
