"""The configuration file: what is accepted, and what each mistake says."""

from pathlib import Path

import pytest

from versatune.schemas.config import Config, TrainConfig, load_config
from versatune.schemas.errors import ConfigError


def _load(tmp_path: Path, text: str, overrides: list[str] | None = None) -> Config:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    return load_config(file, overrides or [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nsuorces: []", "unknown key 'suorces'; did you mean 'sources'?"),
        ("name: a\nprobe: {estimator: sfot}", "probe.estimator is 'sfot'; input should be 'auto', 'soft'"),
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
        ("name: a\nsources: [{name: x, files: [f], fields: {messages: m, prompt: q}}]", "do not go with 'messages'"),
        ("name: a\nsources: [{name: x, files: [f], fields: {text: t, system: s}}]", "names nothing else"),
        ("name: a\nsources: [{name: x}]", "source 'x' needs either 'files' or 'hub'"),
        ("name: a\nsources: [{name: x, files: [f], hub: {id: o/n}}]", "source 'x' needs either 'files' or 'hub'"),
        ("name: a\nsources: [{name: x, files: []}]", "sources.0.files is []"),
        ("name: a\nsources: [{name: x, hub: {idd: o/n}}]", "unknown key 'sources.0.hub.idd'; did you mean 'id'?"),
        ("name: a\nsources: [{name: x, hub: {}}]", "key 'sources.0.hub.id' is missing"),
        ("name: a\nbuild: {clean: {max_char: 9}}", "unknown key 'build.clean.max_char'; did you mean 'max_chars'?"),
        ("name: a\nbuild: {clean: {control_tags: yes}}", "build.clean.control_tags is True"),
        ("name: a\nbuild: {clean: {max_repetition: 1.5}}", "build.clean.max_repetition is 1.5"),
        ("name: a\nbuild: {pii: {emial: mask}}", "unknown key 'build.pii.emial'; did you mean 'email'?"),
        ("name: a\nbuild: {pii: {email: hide}}", "build.pii.email is 'hide'"),
        (
            "name: a\nbuild: {near_duplicates: {similarty: 0.8}}",
            "unknown key 'build.near_duplicates.similarty'; did you mean 'similarity'?",
        ),
        ("name: a\nbuild: {near_duplicates: {similarity: 1.0}}", "build.near_duplicates.similarity is 1.0"),
        ("name: a\nbuild: {near_duplicates: {permutations: 8}}", "build.near_duplicates.permutations is 8"),
        (
            "name: a\nbuild: {decontaminate: {benchmarks: [{name: b, file: x}]}}",
            "unknown key 'build.decontaminate.benchmarks.0.file'; did you mean 'files'?",
        ),
        ("name: a\nbuild: {licenses: {alow: [MIT]}}", "unknown key 'build.licenses.alow'; did you mean 'allow'?"),
        (
            "name: a\nbuild: {shard_bytes: 2000000000}",
            "build.shard_bytes is 2000000000; input should be less than or equal to 1073741824",
        ),
        ("name: a\nbuild: {max_row_bytes: 2000000000}", "build.max_row_bytes is 2000000000"),
        ("name: a\nbuild: {on_refused_file: ignore}", "build.on_refused_file is 'ignore'"),
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


def test_a_slash_at_the_end_of_output_means_nothing(tmp_path: Path) -> None:
    assert _load(tmp_path, "name: a\noutput: gs://bucket/out/").home == "gs://bucket/out/a"
    assert _load(tmp_path, "name: a\noutput: out/").home == str(tmp_path / "out" / "a")


def test_the_fingerprint_of_a_build_ignores_how_it_is_run(tmp_path: Path) -> None:
    run = "workers: {0}, batch_rows: {0}, part_bytes: {0}, version: '{0}', on_refused_file: {1}"
    one, two = (
        _load(tmp_path, f"name: a\noutput: {name}\nbuild: {{{run.format(number, refused)}}}").build_fingerprint()
        for name, number, refused in (("x", 1, "skip"), ("y", 2, "fail"))
    )
    assert one == two
    for build in ("validation_fraction: 0.2", "clean: {max_chars: 9}", "licenses: {deny: [X]}", "max_row_bytes: 9"):
        assert _load(tmp_path, f"name: a\nbuild: {{{build}}}").build_fingerprint() != one


def test_what_becomes_of_undetermined_rows_is_in_the_fingerprint_and_the_classifiers_path_is_not(
    tmp_path: Path,
) -> None:
    one, moved, other = (
        _load(tmp_path, f"name: a\nclassifier: {{{section}}}").build_fingerprint()
        for section in ("undetermined: keep", "path: my.ftz", "undetermined: reject")
    )
    assert one == moved
    assert one != other


def test_the_fingerprint_of_a_build_knows_no_paths_and_no_order_of_sources(tmp_path: Path) -> None:
    text = """
name: a
sources:
- {{name: {0}, files: [{2}/x], license: MIT}}
- {{name: {1}, hub: {{id: {2}/data}}, license: MIT}}
build: {{decontaminate: {{benchmarks: [{{name: b, files: [{2}/b]}}]}}}}
"""
    one = _load(tmp_path, text.format("s", "t", "here")).build_fingerprint()
    two = _load(tmp_path, text.format("t", "s", "there")).build_fingerprint()
    assert one == two
    assert "here" not in str(one)
    assert _load(tmp_path, text.format("s", "u", "here")).build_fingerprint() != one
    assert _load(tmp_path, text.format("s", "t", "here").replace("name: b", "name: c")).build_fingerprint() != one


@pytest.mark.parametrize(
    ("train", "rate"),
    [
        ({}, 2e-5),
        ({"method": "full"}, 2e-5),
        ({"method": "lora"}, 2e-4),
        ({"method": "lora", "learning_rate": 1e-3}, 1e-3),
        ({"method": "full", "learning_rate": 1e-3}, 1e-3),
    ],
)
def test_an_adapter_has_its_own_learning_rate_and_a_run_records_it(train: dict[str, object], rate: float) -> None:
    section = TrainConfig.model_validate(train)
    assert section.learning_rate == section.model_dump(mode="json")["learning_rate"] == rate
