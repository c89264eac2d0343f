"""The configuration file: what is accepted, and what each mistake says."""

from pathlib import Path

import pytest

from schemas.config import Config, load_config
from schemas.errors import ConfigError


def _load(tmp_path: Path, text: str, overrides: list[str] | None = None) -> Config:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    return load_config(file, overrides or [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nsuorces: []", "unknown key 'suorces'; did you mean 'sources'?"),
        ("name: a\nbuild: {worker: 2}", "unknown key 'build.worker'; did you mean 'workers'?"),
        ("name: a\nsources: [{nme: x, files: [f]}]", "unknown key 'sources.0.nme'; did you mean 'name'?"),
        ("name: a\nsources: [{files: [f]}]", "key 'sources.0.name' is missing"),
        (
            "name: a\nsources: [{name: x, files: [f], fields: {propmt: a}}]",
            "unknown key 'sources.0.fields.propmt'; did you mean 'prompt'?",
        ),
        ("name: a\nmix: {policy: explicit, weights: {lwa: 1}}", "unknown domain 'lwa'; did you mean 'law'?"),
        ("name: a\nmix: {weights: {law: 1}}", "'weights' goes with policy: explicit"),
        ("name: a\nsources: [{name: x, files: [f], domain: sport}]", "unknown domain 'sport'; known:"),
        ("name: a\nprobe: {samples: many}", "probe.samples is 'many'"),
        ("name: a\nprobe: {samples: 0}", "probe.samples is 0"),
        ("name: a b", "name is 'a b'"),
        ("name: a\nbuild: {version: 2026-11-21}", "build.version is 2026-11-21, a date without quotes"),
        ("name: a\nmix: {policy: explicit, weights: {law: 0.5, code: 0.4}}", "mix: weights sum to 0.9; expected 1"),
        ("- a\n- b", "holds list; expected keys and values"),
        ("a: [", "not YAML"),
        ("name: a\nsources: [{name: x, files: [f]}, {name: x, files: [g]}]", "two sources are named 'x'"),
        ("name: a\ntrain: {reference: {source: given}}", "'losses' goes with source: given"),
        ("name: a\nmix: {mixer: {sigma: .inf}}", "mix.mixer.sigma is inf; input should be a finite number"),
        ("name: a\ntrain: {learning_rate: .inf}", "train.learning_rate is inf; input should be a finite number"),
        ("name: a\nmix: {mixer: {name: versatune_expansion}}", "'target' goes with name: versatune_expansion"),
        ("name: a\nsources: [{name: x, files: [f], fields: {prompt: q}}]", "either 'messages', or 'prompt' and"),
    ],
)
def test_a_mistake_is_named_with_what_to_do(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        _load(tmp_path, text)
    assert said in str(error.value)
    assert "config.yaml" in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such configuration file"):
        load_config(tmp_path / "nowhere.yaml")


def test_an_override_reaches_a_nested_key_and_keeps_its_type(tmp_path: Path) -> None:
    config = _load(
        tmp_path, "name: a\nbuild: {workers: 1}", ["build.workers=2", "mix.mixer.sigma=0.25", "probe.alpha=0.1"]
    )
    assert (config.build.workers, config.mix.mixer.sigma, config.probe.alpha) == (2, 0.25, 0.1)


@pytest.mark.parametrize(("override", "said"), [("workers", "expected key=value"), ("name.x=1", "'name' holds str")])
def test_an_override_that_cannot_be_used_is_named(tmp_path: Path, override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        _load(tmp_path, "name: a", [override])


def test_relative_paths_start_at_the_configuration_and_uris_stay(tmp_path: Path) -> None:
    config = _load(tmp_path, "name: a\noutput: out")
    assert config.home == f"{tmp_path.resolve()}/out/a"
    assert config.resolve("gs://bucket/x") == "gs://bucket/x"


def test_the_fingerprint_of_a_build_ignores_how_it_is_run(tmp_path: Path) -> None:
    one = _load(tmp_path, "name: a\noutput: x\nbuild: {workers: 1, batch_rows: 10}").build_fingerprint()
    two = _load(tmp_path, "name: a\noutput: y\nbuild: {workers: 2, batch_rows: 20}").build_fingerprint()
    other = _load(tmp_path, "name: a\nbuild: {validation_fraction: 0.2}").build_fingerprint()
    assert one == two != other
