from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import DataError, RunError
from schemas.taxonomy import DEFAULT_TAXONOMY, Taxonomy
from transforms.classifier_card import card_markdown
from transforms.classifier_training import (
    LabelledRow,
    fit_temperature,
    main,
    measure,
    read_rows,
    source_licences,
    term_example_rows,
    train_classifier,
    training_lines,
)
from transforms.fasttext_classifier import (
    DomainClassifier,
    bundled_model,
    soften,
    train_model,
)

TWO = Taxonomy(domains=("law", "code"))
TINY = {
    "lr": 0.5,
    "dim": 4,
    "epoch": 5,
    "wordNgrams": 1,
    "minn": 0,
    "maxn": 0,
    "bucket": 1000,
    "minCount": 1,
}


def row(text: str, domain: str, source: str = "mine") -> LabelledRow:
    return LabelledRow(text=text, domain=domain, source=source)


def write(path: Path, rows: list[LabelledRow]) -> Path:
    path.write_text("\n".join(json.dumps(r) for r in rows))
    return path


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    law = [row(f"the court hears appeal number {i}", "law") for i in range(40)]
    code = [row(f"def function_{i} return value", "code") for i in range(40)]
    other = [
        row("the judge and the statute", "law", "unseen"),
        row("return the array", "code", "unseen"),
    ]
    return write(tmp_path / "train.jsonl", law + code + other), write(
        tmp_path / "valid.jsonl", law[:5] + code[:5] + other
    )


def tiny(files: tuple[Path, Path], output: Path) -> dict[str, object]:
    return train_classifier(
        [files[0]],
        [files[1]],
        output,
        taxonomy=TWO,
        exclude_sources={"unseen"},
        training=TINY,
        rows_per_domain=300,
        term_rows={"en": 100},
    )


def test_training_twice_gives_the_same_bytes_also_on_a_dirty_heap(files: tuple[Path, Path], tmp_path: Path) -> None:
    cards = []
    for name in ("a", "b"):
        dirt = [np.full(size, np.nan, dtype=np.float32) for size in (1_000, 10_000, 30_000, 100_000)]
        del dirt
        cards.append(tiny(files, tmp_path / name))
    assert cards[0] == cards[1]
    assert (tmp_path / "a" / "domains.ftz").read_bytes() == (tmp_path / "b" / "domains.ftz").read_bytes()


def test_the_trained_model_loads_with_its_card_and_unseen_sources_are_kept_apart(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    card = tiny(files, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "domains.json").read_text()) == card
    loaded = DomainClassifier.load(tmp_path / "out" / "domains.ftz", TWO, sha256=str(card["sha256"]))
    assert loaded.predict(["the court hears appeal"])[0].argmax() == 0
    assert set(card["sources"]) == {"mine", "own-terms-en"}  # type: ignore[call-overload]
    assert card["excluded_sources"]["unseen"]["rows"] == 2  # type: ignore[index]
    assert card["unseen_sources"]["rows"] == 2  # type: ignore[index]
    assert card["validation"]["rows"] == 12  # type: ignore[index]
    assert "| unseen |" in card_markdown(card)


def test_no_training_row_is_of_a_source_whose_licence_rules_it_out() -> None:
    card = json.loads(bundled_model().with_suffix(".json").read_text())
    licences = source_licences()
    assert all(licences[source]["use"] for source in card["sources"])
    assert not any(licences[source]["use"] for source in card["excluded_sources"])
    assert not [s for s, entry in card["sources"].items() if "NC" in entry["licence"] or "unstated" in entry["licence"]]


def test_the_committed_page_is_what_the_card_gives() -> None:
    card = json.loads(bundled_model().with_suffix(".json").read_text())
    page = Path(__file__).parents[2] / "docs" / "classifier-card.md"
    assert page.read_text(encoding="utf-8") == card_markdown(card)


def test_domains_are_balanced_and_no_word_can_pose_as_a_label() -> None:
    rows = [row("one", "law")] + [row(f"__label__law {i}", "code") for i in range(30)]
    lines = training_lines(rows, TWO, 10, seed=1)
    assert sum(line.startswith("__label__law ") for line in lines) == 10
    assert sum(line.startswith("__label__code ") for line in lines) == 10
    assert all(line.count("__label__") == 1 for line in lines)


def test_a_domain_without_rows_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="domain 'code' has no training row"):
        training_lines([row("one", "law")], TWO, 10, seed=1)


def test_term_rows_cover_every_domain_alike() -> None:
    rows = term_example_rows({"en": 7, "zh": 3}, DEFAULT_TAXONOMY, seed=1)
    assert [sum(r["domain"] == d for r in rows) for d in DEFAULT_TAXONOMY.domains] == [10] * 6


def test_the_temperature_that_made_the_probabilities_sharp_is_found() -> None:
    rng = np.random.default_rng(0)
    honest = rng.dirichlet([1.0, 1.0, 1.0], size=20_000)
    truth = np.array([rng.choice(3, p=p) for p in honest])
    assert fit_temperature(soften(np.clip(honest, 1e-7, 1), 0.5), truth) == pytest.approx(2.0, rel=0.05)


def test_the_confusion_matrix_has_predictions_in_rows() -> None:
    rows = [row("", "law"), row("", "law"), row("", "code")]
    found = measure(rows, np.array([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8]]), TWO)
    assert found["confusion"] == [[1, 0], [1, 1]]
    assert found["soft_confusion"] == [[0.6, 0.2], [0.4, 0.8]]
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["macro_f1"] == pytest.approx(2 / 3)


def test_a_row_without_a_domain_is_refused_by_line_and_never_quoted(
    tmp_path: Path,
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "secret", "source": "s"}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl:1") as caught:
        read_rows([file], TWO)
    assert "secret" not in str(caught.value)


def test_an_unknown_domain_is_refused_by_line_with_the_nearest_name(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", [row("a", "law"), row("b", "cod")])
    with pytest.raises(DataError, match=r"rows\.jsonl:2: unknown domain 'cod'; did you mean 'code'"):
        read_rows([file], TWO)


def test_a_broken_gzip_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl.gz"
    file.write_bytes(b"\x1f\x8b\x08broken")
    with pytest.raises(DataError, match=r"rows\.jsonl\.gz: cannot be read"):
        read_rows([file], TWO)


def test_a_diverging_training_says_so(tmp_path: Path) -> None:
    lines = tmp_path / "train.txt"
    lines.write_text("\n".join(f"__label__{d} {d} word" for d in TWO.domains for _ in range(500)))
    with pytest.raises(RunError, match="lower learning rate"):
        train_model(lines, tmp_path / "m.ftz", seed=1, training={**TINY, "lr": 1e30}, dsub=2)


def test_the_command_names_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="labelled rows: none"):
        main(["--data", str(tmp_path), "--output", str(tmp_path / "out")])
