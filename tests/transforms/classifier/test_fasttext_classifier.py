from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from versatune.schemas.errors import DataError, IntegrityError
from versatune.schemas.taxonomy import DEFAULT_TAXONOMY, Taxonomy
from versatune.transforms.classifier.fasttext_classifier import (
    DomainClassifier,
    bundled_model,
    shared_classifier,
    soften,
    text_view,
    text_view_of_bytes,
)

OBVIOUS = {
    "law": "The tenant sued for breach of contract and the court of appeal upheld the judgment of the magistrate.",
    "medicine": "The patient has a fever and a persistent cough. Which antibiotic treats bacterial pneumonia?",
    "finance": "Our net revenue rose 12 percent this quarter, while operating expenses and interest on the loan fell.",
    "science": "How does the gravity of the moon cause tides, and why does a planet stay in orbit around the sun?",
    "code": "Write a Python function that reverses a linked list.\n\ndef reverse(head):\n    return head",
    "general": "Write a short poem for my best friend's birthday party and suggest a nice gift.",
}


@pytest.fixture(scope="module")
def classifier() -> DomainClassifier:
    return DomainClassifier.load(None, DEFAULT_TAXONOMY)


@pytest.mark.parametrize("domain", OBVIOUS)
def test_an_obvious_text_gets_its_domain(classifier: DomainClassifier, domain: str) -> None:
    probs = classifier.predict([text_view([OBVIOUS[domain]])])
    assert classifier.labels[int(probs[0].argmax())] == domain


def test_rows_sum_to_one_in_float32_and_keep_the_order_of_the_texts(
    classifier: DomainClassifier,
) -> None:
    texts = [text_view([text]) for text in OBVIOUS.values()] + ["", "the"]
    probs = classifier.predict(texts)
    assert probs.dtype == np.float32
    assert probs.shape == (8, 6)
    assert np.abs(probs.sum(axis=1) - 1).max() < 1e-6
    assert (probs > 0).all()
    for row, text in zip(probs, texts, strict=True):
        np.testing.assert_array_equal(row, classifier.predict([text])[0])


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "?!...", "\u3000"])
def test_a_text_without_a_word_gets_the_uniform_distribution(classifier: DomainClassifier, text: str) -> None:
    np.testing.assert_allclose(classifier.predict([text_view([text])])[0], 1 / 6, rtol=1e-6)


def test_no_texts_give_no_rows(classifier: DomainClassifier) -> None:
    assert classifier.predict([]).shape == (0, 6)


@pytest.mark.parametrize(
    "text",
    [
        "a\nb",
        "bad \ud800 surrogate",
        "nul \0 byte",
        "</s> hello",
        "\ud83d",
        "x" * 9_000,
    ],
)
def test_awkward_text_does_not_raise_with_or_without_the_view(classifier: DomainClassifier, text: str) -> None:
    for form in (text, text_view([text])):
        assert abs(float(classifier.predict([form, "fine"])[0].sum()) - 1) < 1e-6


def test_the_view_joins_cuts_lowers_and_blanks() -> None:
    assert text_view(["Hello, World!", "It's\nÉté"]) == "hello  world  it s été"
    assert len(text_view(["a" * 700, "b" * 700])) == 1000
    assert text_view(["x\ud800y"]) == "x y"
    assert text_view(["2024 has 366 days"]).split() == ["has", "days"]


def test_chinese_characters_stand_apart_and_accents_do_not() -> None:
    assert text_view(["什么是Bond？"]).split() == ["什", "么", "是bond", "？"]
    assert text_view(["カタ 한국 é ж"]).split() == ["カ", "タ", "한", "국", "é", "ж"]


@given(st.one_of(st.text(max_size=50), st.text(st.characters(max_codepoint=127)), st.just("aB1, " * 300)))
def test_the_view_of_bytes_is_that_of_the_text(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()  # columns hold no lone surrogates
    assert text_view_of_bytes(text.encode()) == text_view([text])


def test_predictions_are_fasttexts_own_softened_by_the_cards_temperature(
    classifier: DomainClassifier,
) -> None:
    import fasttext

    view = text_view([OBVIOUS["law"]])
    (names,), (probs,) = fasttext.load_model(str(bundled_model())).predict([view], k=6)
    by_name = dict(zip(names, probs, strict=True))
    raw = np.array([[by_name[f"__label__{d}"] for d in DEFAULT_TAXONOMY.domains]], dtype=np.float64)
    expected = soften(np.clip(raw - 1e-5, 1e-7, 1), classifier.temperatures.latin)
    np.testing.assert_allclose(classifier.predict([view]), expected, atol=1e-6)
    assert classifier.temperatures.latin != 1.0


def test_texts_in_other_scripts_have_their_own_temperature(tmp_path: Path) -> None:
    shutil.copy(bundled_model(), tmp_path / "m.ftz")
    card = json.loads(bundled_model().with_suffix(".json").read_text())
    texts = [text_view([text]) for text in ("the court heard the appeal", "法院驳回了上诉", "cour d'appel à Genève")]

    def predicted(latin: float, other: float) -> np.ndarray:
        changed = card | {"temperatures": {"latin": latin, "other": other}}
        (tmp_path / "m.json").write_text(json.dumps(changed))
        return DomainClassifier.load(tmp_path / "m.ftz", DEFAULT_TAXONOMY).predict(texts)

    one, four, both = predicted(1.0, 1.0), predicted(4.0, 4.0), predicted(1.0, 4.0)
    np.testing.assert_allclose(both, [one[0], four[1], one[2]], atol=1e-6)
    assert not np.allclose(one[1], four[1])


def test_a_card_with_other_temperatures_is_refused(tmp_path: Path) -> None:
    shutil.copy(bundled_model(), tmp_path / "m.ftz")
    card = json.loads(bundled_model().with_suffix(".json").read_text()) | {"temperatures": {"latin": "hot"}}
    (tmp_path / "m.json").write_text(json.dumps(card))
    with pytest.raises(DataError, match="temperatures"):
        DomainClassifier.load(tmp_path / "m.ftz", DEFAULT_TAXONOMY)


def test_softening_keeps_the_order_and_a_high_temperature_flattens() -> None:
    probs = np.array([[0.7, 0.2, 0.1]])
    np.testing.assert_allclose(soften(probs, 1.0), probs)
    flat = soften(probs, 2.0)
    np.testing.assert_allclose(flat, np.sqrt(probs) / np.sqrt(probs).sum())
    assert flat.argmax() == 0


def test_taxonomy_order_decides_the_columns() -> None:
    turned = Taxonomy(domains=tuple(reversed(DEFAULT_TAXONOMY.domains)))
    views = [text_view([text]) for text in OBVIOUS.values()]
    forward = DomainClassifier.load(None, DEFAULT_TAXONOMY).predict(views)
    np.testing.assert_allclose(DomainClassifier.load(None, turned).predict(views)[:, ::-1], forward, atol=1e-7)


def test_labels_that_are_not_the_domains_are_refused_by_name() -> None:
    with pytest.raises(
        DataError,
        match=r"no domain: \['code', 'general', 'science'\].*without a label: \['sport'\]",
    ):
        DomainClassifier.load(None, Taxonomy(domains=("law", "medicine", "finance", "sport")))


def test_a_digest_that_is_not_the_files_is_refused() -> None:
    with pytest.raises(IntegrityError, match="the configuration expects 0000"):
        DomainClassifier.load(None, DEFAULT_TAXONOMY, sha256="0" * 64)


def test_a_changed_model_is_refused_before_fasttext_opens_it(tmp_path: Path) -> None:
    shutil.copy(bundled_model().with_suffix(".json"), tmp_path / "m.json")
    (tmp_path / "m.ftz").write_bytes(bundled_model().read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=r"the card m\.json expects"):
        DomainClassifier.load(tmp_path / "m.ftz", DEFAULT_TAXONOMY)


def test_a_missing_and_a_foreign_file_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.bin: no such file"):
        DomainClassifier.load(tmp_path / "gone.bin", DEFAULT_TAXONOMY)
    (tmp_path / "foreign.bin").write_bytes(b"this is no model" * 10)
    with pytest.raises(DataError, match=r"foreign\.bin: not a fastText model"):
        DomainClassifier.load(tmp_path / "foreign.bin", DEFAULT_TAXONOMY)


def test_a_card_of_another_format_is_refused(tmp_path: Path) -> None:
    shutil.copy(bundled_model(), tmp_path / "m.ftz")
    (tmp_path / "m.json").write_text('{"format": 99}')
    with pytest.raises(DataError, match="format is 99, this version reads 2"):
        DomainClassifier.load(tmp_path / "m.ftz", DEFAULT_TAXONOMY)


def test_the_shared_classifier_is_loaded_once() -> None:
    assert shared_classifier(None, DEFAULT_TAXONOMY) is shared_classifier(None, Taxonomy())


def test_a_classifier_that_changed_is_loaded_again(tmp_path: Path) -> None:
    file, card = tmp_path / "c.ftz", tmp_path / "c.json"
    file.write_bytes(bundled_model().read_bytes())
    first = shared_classifier(file, DEFAULT_TAXONOMY)
    assert shared_classifier(file, DEFAULT_TAXONOMY) is first
    fields = {"temperatures": {"latin": 2.5, "other": 1.0}, "undetermined_below": 0.7}
    card.write_text(json.dumps({"format": 2, "sha256": first.sha256, **fields}))
    changed = shared_classifier(file, DEFAULT_TAXONOMY)
    assert (changed.temperatures.latin, changed.undetermined_below) == (2.5, 0.7)
    file.write_bytes(b"x")
    with pytest.raises(IntegrityError):
        shared_classifier(file, DEFAULT_TAXONOMY)


@pytest.mark.parametrize("sha256", [None, "", 0])
def test_a_card_without_a_digest_does_not_pass_for_a_check(tmp_path: Path, sha256: Any) -> None:
    (tmp_path / "c.ftz").write_bytes(bundled_model().read_bytes())
    card = {"format": 2, "sha256": sha256, "temperatures": {"latin": 1.0, "other": 1.0}, "undetermined_below": 0.5}
    (tmp_path / "c.json").write_text(json.dumps(card))
    with pytest.raises(DataError, match=r"c\.json: sha256 is .*; train the classifier again"):
        DomainClassifier.load(tmp_path / "c.ftz", DEFAULT_TAXONOMY)


@pytest.mark.parametrize("unseen", [{}, {"unseen": {"of_sources": True, "confusion_rates": [[1.0]]}}])
def test_a_card_of_before_cards_told_of_label_errors_loads_and_tells_none(
    tmp_path: Path, unseen: dict[str, Any]
) -> None:
    (tmp_path / "c.ftz").write_bytes(bundled_model().read_bytes())
    card = json.loads(bundled_model().with_suffix(".json").read_text())
    (tmp_path / "c.json").write_text(json.dumps({key: card[key] for key in card if key != "unseen"} | unseen))
    assert DomainClassifier.load(tmp_path / "c.ftz", DEFAULT_TAXONOMY).label_errors is None


def test_label_errors_follow_the_order_of_the_taxonomy(classifier: DomainClassifier) -> None:
    domains = ("general", "code", "law", "medicine", "finance", "science")
    mine = DomainClassifier.load(None, Taxonomy(domains=domains)).label_errors
    theirs = classifier.label_errors
    assert mine is not None
    assert theirs is not None
    order = [classifier.labels.index(name) for name in domains]
    for name in ("rows", "sources"):
        assert mine[name] == [theirs[name][at] for at in order]
    for name in ("hard", "soft"):
        rates, covariances = np.array(theirs[name]["rates"]), np.array(theirs[name]["covariances"])
        np.testing.assert_array_equal(mine[name]["rates"], rates[np.ix_(order, order)])
        np.testing.assert_array_equal(mine[name]["covariances"], covariances[np.ix_(order, order, order)])


def test_a_model_without_a_card_tells_no_label_errors(tmp_path: Path) -> None:
    (tmp_path / "c.ftz").write_bytes(bundled_model().read_bytes())
    assert DomainClassifier.load(tmp_path / "c.ftz", DEFAULT_TAXONOMY).label_errors is None


def test_the_bundled_model_is_small_and_its_card_names_it(
    classifier: DomainClassifier,
) -> None:
    assert classifier.card is not None
    assert bundled_model().stat().st_size == classifier.card["bytes"] <= 3_000_000
    assert classifier.sha256 == classifier.card["sha256"]
    assert np.sum(classifier.card["unseen"]["confusion"]) == classifier.card["unseen"]["rows"]
    assert classifier.label_errors == classifier.card["unseen"]["label_errors"]
    assert all(sum(column) >= 300 for column in zip(*classifier.card["unseen"]["confusion"], strict=True))


def test_accuracy_on_the_validation_file_is_what_the_card_says(classifier: DomainClassifier, shared_data: Path) -> None:
    assert classifier.card is not None
    with gzip.open(shared_data / "labelled" / "valid.jsonl.gz", "rt", encoding="utf-8", newline="\n") as stream:
        rows = [json.loads(line) for line in stream]
    guess = classifier.predict([text_view([row["text"]]) for row in rows]).argmax(axis=1)
    truth = np.array([DEFAULT_TAXONOMY.index(row["domain"]) for row in rows])
    assert abs(float((guess == truth).mean()) - classifier.card["held_out"]["held_out"]["accuracy"]) < 1e-6
