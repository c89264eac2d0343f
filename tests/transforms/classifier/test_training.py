from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from versatune.schemas.classifier import ClassifierTraining, FastTextSettings
from versatune.schemas.errors import ConfigError, DataError, RunError
from versatune.schemas.taxonomy import Taxonomy
from versatune.schemas.validation import validate
from versatune.transforms.classifier.card import card_markdown
from versatune.transforms.classifier.fasttext_classifier import DomainClassifier, bundled_model, train_model
from versatune.transforms.classifier.training import card_json, train_classifier
from versatune.transforms.classifier.training_lines import read_material, training_lines

TWO = Taxonomy(domains=("law", "code"))
TINY = {"lr": 0.5, "dim": 4, "epoch": 25, "min_chars": 0, "max_chars": 0, "buckets": 1000}
LAW = ("court", "judge", "statute", "appeal", "plaintiff", "verdict", "clause", "bail")
CODE = ("function", "array", "loop", "compile", "pointer", "branch", "query", "stack")


def sentences(words: tuple[str, ...], source: str, count: int) -> list[str]:
    """Make texts no two of which are alike: each ends in a word of its own."""
    chosen = ((words[i % 8], words[(i * 3 + 1) % 8], words[(i * 5 + 2) % 8], chr(0x4E00 + i)) for i in range(count))
    return [f"{a} {b} {c} {source} {own}" for a, b, c, own in chosen]


def write_rows(path: Path, sources: dict[str, tuple[str, list[str]]]) -> Path:
    rows = [
        {"text": text, "domain": domain, "source": source}
        for source, (domain, texts) in sources.items()
        for text in texts
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two sources a domain, each one more that nobody may train on, and held-out rows."""
    write_rows(
        tmp_path / "train.jsonl",
        {
            "a": ("law", sentences(LAW, "aaa", 40)),
            "b": ("law", sentences(LAW, "bbb", 30)),
            "c": ("code", sentences(CODE, "ccc", 40)),
            "d": ("code", sentences(CODE, "ddd", 30)),
            "forbidden": ("law", sentences(LAW, "fff", 10)),
        },
    )
    write_rows(
        tmp_path / "valid.jsonl", {"a": ("law", sentences(LAW, "vvv", 9)), "c": ("code", sentences(CODE, "www", 9))}
    )
    return tmp_path


def configured(**changes: Any) -> ClassifierTraining:
    value: dict[str, Any] = {
        "taxonomy": {"domains": ["law", "code"]},
        "train": [{"name": "published", "files": ["train.jsonl"]}],
        "held_out": ["valid.jsonl"],
        "exclude_sources": ["forbidden"],
        "rows_per_domain": 300,
        "fasttext": TINY,
        "output": "out",
        **changes,
    }
    return validate(ClassifierTraining, value, "test", ConfigError)


def test_training_twice_gives_the_same_bytes_with_any_number_of_workers_also_on_a_dirty_heap(folder: Path) -> None:
    cards, models = [], []
    for workers in (1, 2):
        dirt = [np.full(size, np.nan, dtype=np.float32) for size in (1_000, 10_000, 30_000, 100_000)]
        del dirt
        cards.append(train_classifier(configured(), folder, workers=workers))
        models.append((folder / "out" / "domains.ftz").read_bytes())
    assert cards[0] == cards[1]
    assert models[0] == models[1]


def test_every_source_is_measured_by_a_model_that_has_not_seen_it(folder: Path) -> None:
    card = train_classifier(configured(), folder, workers=1)
    assert json.loads((folder / "out" / "domains.json").read_text()) == card
    assert card["unseen"]["trained_without"] == ["a", "b", "c", "d"]
    assert card["unseen"]["never_trained_on"] == ["forbidden"]
    assert {source: entry["rows"] for source, entry in card["unseen"]["per_source"].items()} == {
        "a": 40, "b": 30, "c": 40, "d": 30, "forbidden": 10,
    }  # fmt: skip
    assert card["unseen"]["accuracy"] == 1.0
    assert card["held_out"]["held_out"]["rows"] == 18
    assert card["sources"]["forbidden"]["used"] is False
    assert all(0.25 <= temperature <= 8.0 for temperature in card["temperatures"].values())


def test_a_source_that_says_the_opposite_is_found_out_only_by_leaving_it_out(folder: Path) -> None:
    """Its words are the other domain's: a model that had seen it would have it right."""
    write_rows(
        folder / "more.jsonl",
        {"turncoat": ("law", [f"function array loop compile zzz{i % 3}" for i in range(60)])},
    )
    config = configured(train=[{"name": "published", "files": ["train.jsonl", "more.jsonl"]}])
    card = train_classifier(config, folder, workers=2)
    assert card["unseen"]["per_source"]["turncoat"]["accuracy"] == 0.0
    loaded = DomainClassifier.load(folder / "out" / "domains.ftz", TWO)
    assert loaded.predict(["function array loop compile zzz"])[0].argmax() == 0
    assert card["undetermined_below"] > 0.5
    assert loaded.label_errors == card["unseen"]["label_errors"]
    assert card["unseen"]["label_errors"]["rows"] == [140, 70]
    assert card["unseen"]["label_errors"]["sources"] == [4, 2]
    rates, covariances = card["unseen"]["label_errors"]["hard"].values()
    assert rates[1][0] == 0.25  # one of four sources
    assert covariances[0][1][1] == pytest.approx(0.75 / (4 * 3))
    assert covariances[1][0][0] < 0.001
    soft = card["unseen"]["label_errors"]["soft"]
    assert soft["rates"][1][0] == pytest.approx(1 - soft["rates"][0][0], abs=1e-7)


def test_a_row_of_a_matrix_is_one_line_of_the_card_and_nothing_else_changes() -> None:
    card = {
        "rates": [[0.25, -1e-10], [0, 1]],
        "empty": [],
        "texts": ["1, 2", "[\n1,\n2]"],
        "of": [None],
        "名": {"a": [1]},
    }
    text = card_json(card)
    assert json.loads(text) == card
    assert " [0.25, -1e-10],\n" in text
    assert "名" in text


def test_the_trained_model_loads_with_its_temperature_and_threshold(folder: Path) -> None:
    card = train_classifier(configured(), folder, workers=1)
    loaded = DomainClassifier.load(folder / "out" / "domains.ftz", TWO, sha256=card["sha256"])
    assert loaded.predict(["court judge appeal"])[0].argmax() == 0
    assert loaded.temperatures._asdict() == card["temperatures"]
    assert loaded.undetermined_below == card["undetermined_below"]


def test_the_text_of_a_held_out_row_is_not_trained_on_whatever_its_source(folder: Path) -> None:
    (folder / "valid.jsonl").write_text((folder / "train.jsonl").read_text().split("\n")[0].replace('"a"', '"other"'))
    (pool,) = read_material(configured(), folder).pools
    assert len(pool.rows) == 149


def test_the_text_of_a_left_out_row_is_not_trained_on_under_another_name(folder: Path) -> None:
    copied = {"copy": ("law", sentences(LAW, "aaa", 40)), "more": ("law", sentences(LAW, "mmm", 5))}
    write_rows(folder / "more.jsonl", copied)
    config = configured(train=[{"name": "published", "files": ["train.jsonl", "more.jsonl"]}])
    material = read_material(config, folder)
    assert any("aaa" in line for line in training_lines(material.pools, config, ["b"]))
    assert not any("aaa" in line for line in training_lines(material.pools, config, ["a"]))


def test_a_misspelt_source_to_exclude_is_refused_with_the_nearest_name(folder: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"exclude_sources: no row has the source 'forbiden'; did you mean 'forbidden'"
    ):
        train_classifier(configured(exclude_sources=["forbiden"]), folder, workers=1)


def test_settings_with_which_training_diverges_lose_the_search_and_do_not_end_it(folder: Path) -> None:
    search = {"trials": 2, "lr": [1e30], "dim": [4], "epoch": [5], "word_ngrams": [1], "buckets": [1000]}
    card = train_classifier(configured(search=search), folder, workers=1)
    assert [trial["macro_f1"] for trial in card["search"]][1:] == [0.0]
    assert card["fasttext"]["lr"] == TINY["lr"]


def test_a_search_keeps_the_settings_that_are_best_on_left_out_sources(folder: Path) -> None:
    """A learning rate of nearly nothing cannot win, and is in the table."""
    config = configured(
        search={"trials": 4, "lr": [1e-6, 0.5], "dim": [4], "epoch": [5], "word_ngrams": [1, 2], "buckets": [1000]},
        fasttext={**TINY, "lr": 1e-6},
    )
    card = train_classifier(config, folder, workers=2)
    assert {trial["lr"] for trial in card["search"]} == {1e-6, 0.5}
    assert card["fasttext"]["lr"] == 0.5
    best = max(card["search"], key=lambda trial: trial["macro_f1"])
    assert best["lr"] == 0.5
    assert best["macro_f1"] > min(trial["macro_f1"] for trial in card["search"])


def test_texts_and_terms_are_read_from_files_named_by_domain(folder: Path) -> None:
    (folder / "own").mkdir()
    for domain, words in (("law", LAW), ("code", CODE)):
        (folder / "own" / f"en-{domain}.txt").write_text("# a heading\n" + "\n".join(words) + "\nfirst\\nsecond\n")
    (folder / "templates.txt").write_text("what is {0}\\nor {1}?\n{2}, {3} and {4}\n")
    groups = [
        {"name": "published", "files": ["train.jsonl"], "hold_out": 0.3},
        {"name": "mine", "files": ["own/*.txt"], "form": "texts"},
        {"name": "words", "files": ["own/*.txt"], "form": "terms", "templates": "templates.txt", "share": 0.5},
    ]
    config = configured(train=groups)
    published, mine, words = read_material(config, folder).pools
    assert len(mine.rows) == 18
    assert {row["source"] for row in mine.rows} == {"mine"}
    assert "first\nsecond" in {row["text"] for row in mine.rows}
    assert words.templates[0] == "what is {0}\nor {1}?"
    assert 20 < len(published.held_out) < 80
    assert len(published.held_out) + len(published.rows) == 150
    card = train_classifier(config, folder, workers=1)
    assert card["held_out"]["published"]["rows"] == len(published.held_out)
    assert card["sources"]["words"]["rows"] == 18


def test_a_domain_of_one_source_is_measured_on_held_out_rows_only(folder: Path) -> None:
    write_rows(folder / "train.jsonl", {"a": ("law", sentences(LAW, "x", 20)), "c": ("code", sentences(CODE, "x", 20))})
    card = train_classifier(configured(exclude_sources=[]), folder, workers=1)
    assert card["unseen"]["of_sources"] is False
    assert card["unseen"]["rows"] == 18
    assert DomainClassifier.load(folder / "out" / "domains.ftz", TWO).label_errors is None


def test_nothing_to_measure_on_is_refused(folder: Path) -> None:
    write_rows(folder / "train.jsonl", {"a": ("law", sentences(LAW, "x", 20)), "c": ("code", sentences(CODE, "x", 20))})
    with pytest.raises(DataError, match="rows of two sources, or name held_out files"):
        train_classifier(configured(exclude_sources=[], held_out=[]), folder, workers=1)
    assert not (folder / "out" / "domains.json").exists()
    assert not (folder / "out" / "domains.ftz").exists()


def test_a_domain_without_rows_is_refused_by_name(folder: Path) -> None:
    write_rows(folder / "train.jsonl", {"a": ("law", sentences(LAW, "x", 20))})
    with pytest.raises(DataError, match="domain 'code' has no training row"):
        train_classifier(configured(exclude_sources=[]), folder, workers=1)


def test_a_model_that_is_too_large_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"max_bytes is 100;.*fewer buckets"):
        train_classifier(configured(max_bytes=100), folder, workers=1)


def test_an_environment_variable_that_is_not_set_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="environment variable that is not set"):
        train_classifier(configured(held_out=["${VERSATUNE_NO_SUCH}/x.jsonl"]), folder, workers=1)


def test_a_file_that_is_not_there_is_refused_by_name(folder: Path) -> None:
    with pytest.raises(DataError, match=r"train group 'p': no file matches 'none\*\.jsonl'"):
        train_classifier(configured(train=[{"name": "p", "files": ["none*.jsonl"]}]), folder, workers=1)


def test_terms_need_templates() -> None:
    with pytest.raises(ConfigError, match="'templates' goes with form: terms"):
        configured(train=[{"name": "t", "files": ["x"], "form": "terms"}])


def test_a_diverging_training_says_so(tmp_path: Path) -> None:
    lines = tmp_path / "train.txt"
    lines.write_text("\n".join(f"__label__{d} {d} word" for d in TWO.domains for _ in range(500)))
    settings = FastTextSettings.model_validate({**TINY, "lr": 1e30})
    with pytest.raises(RunError, match="lower learning rate"):
        train_model(lines, tmp_path / "m.ftz", seed=1, settings=settings)


def test_no_training_row_of_the_bundled_model_is_of_a_source_whose_licence_rules_it_out() -> None:
    card = json.loads(bundled_model().with_suffix(".json").read_text())
    decisions = json.loads((Path(__file__).parents[3] / "classifier" / "sources.json").read_text())
    for source, entry in card["sources"].items():
        assert entry["used"] == decisions[source]["use"], source
        if entry["used"]:
            assert "NC" not in entry["licence"]
            assert "unstated" not in entry["licence"]
    assert set(card["unseen"]["never_trained_on"]) == {s for s, e in card["sources"].items() if not e["used"]}


def test_the_bundled_model_was_trained_by_the_committed_configuration_and_texts() -> None:
    import yaml

    from versatune.schemas.files import sha256_file

    root = Path(__file__).parents[3] / "classifier"
    card = json.loads(bundled_model().with_suffix(".json").read_text())
    config = validate(ClassifierTraining, yaml.safe_load((root / "bundled.yaml").read_text()), "bundled", ConfigError)
    assert card["settings"] == config.model_dump(
        mode="json", exclude={"output", "page", "taxonomy", "search", "fasttext"}
    )
    own = [file for folder in ("written", "terms") for file in (root / folder).glob("*.txt")]
    assert {file.name: sha256_file(file) for file in own}
    for folder in ("written", "terms"):
        for file in (root / folder).glob("*.txt"):
            assert card["files"][f"{folder}/{file.name}"] == sha256_file(file), file
    assert os.path.getsize(bundled_model()) == card["bytes"] <= 3_000_000


def test_the_bundled_card_says_how_the_model_errs_for_probes_to_correct_by() -> None:
    card = json.loads(bundled_model().with_suffix(".json").read_text())
    errors, k = card["unseen"]["label_errors"], len(card["labels"])
    assert errors["rows"] == [card["unseen"]["per_domain"][name]["rows"] for name in card["labels"]]
    assert min(errors["sources"]) >= 5
    for kind in ("hard", "soft"):
        rates, covariances = np.array(errors[kind]["rates"]), np.array(errors[kind]["covariances"])
        np.testing.assert_allclose(rates.sum(axis=0), 1.0, atol=1e-7)
        assert np.linalg.svd(rates, compute_uv=False).min() > 0.2
        assert covariances.shape == (k, k, k)
        assert min(np.linalg.eigvalsh(covariance).min() for covariance in covariances) > -1e-9
        assert np.sqrt(covariances.diagonal(axis1=1, axis2=2)).max() < 0.1
    assert card_json(card) == bundled_model().with_suffix(".json").read_text(encoding="utf-8")


def test_the_committed_page_is_what_the_card_gives() -> None:
    card = json.loads(bundled_model().with_suffix(".json").read_text())
    page = Path(__file__).parents[3] / "docs" / "classifier-card.md"
    plots = [f"images/classifier-{name}.svg" for name in ("reliability", "risk-coverage", "confusion", "sources")]
    assert page.read_text(encoding="utf-8") == card_markdown(card, plots)
    assert all((page.parent / plot).is_file() for plot in plots)
