"""Domains of rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from schemas.arrow import NORMALIZED, example_schema
from schemas.errors import ConfigError
from schemas.taxonomy import DEFAULT_TAXONOMY
from transforms.classify import ClassifyDomains, classify_batch

Rows = Callable[..., pa.RecordBatch]
LAW, CODE = DEFAULT_TAXONOMY.index("law"), DEFAULT_TAXONOMY.index("code")


class KeywordClassifier:
    """Thinks a text is about code if it says so, else about law; remembers what it was asked."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def predict(self, texts: list[str]) -> np.ndarray:
        self.texts += texts
        probs = np.full((len(texts), len(DEFAULT_TAXONOMY)), 0.02, np.float32)
        for i, text in enumerate(texts):
            probs[i, CODE if "code" in text else LAW] = 0.9
        return probs


def test_a_row_takes_the_most_probable_domain_and_keeps_every_probability(rows: Rows) -> None:
    batch = rows([("user", "a contract"), ("assistant", "void")], [("user", "code"), ("assistant", "x = 1")])
    classified = classify_batch(batch, KeywordClassifier(), DEFAULT_TAXONOMY, {})
    assert classified.schema == example_schema(6, tokenized=False)
    assert classified["domain"].to_pylist() == ["law", "code"]
    assert np.array(classified["domain_probs"].to_pylist()).argmax(axis=1).tolist() == [LAW, CODE]
    assert classified.select(NORMALIZED.names).equals(batch)


def test_the_system_turn_is_not_classified(rows: Rows) -> None:
    classifier = KeywordClassifier()
    classify_batch(
        rows([("system", "you write code"), ("user", "A"), ("assistant", "B")]), classifier, DEFAULT_TAXONOMY, {}
    )
    assert classifier.texts == ["a b"]


def test_a_pinned_source_gets_its_domain_but_keeps_the_classifiers_probabilities(rows: Rows) -> None:
    batch = rows([("user", "code"), ("assistant", "x")])
    classified = classify_batch(batch, KeywordClassifier(), DEFAULT_TAXONOMY, {"s": "medical", "t": "finance"})
    assert classified["domain"].to_pylist() == ["medicine"]  # the alias of the taxonomy
    assert np.argmax(classified["domain_probs"][0].as_py()) == CODE


def test_a_slice_of_a_batch_is_classified_as_itself(rows: Rows) -> None:
    batch = rows([("user", "one"), ("assistant", "1")], [("user", "code"), ("assistant", "2")])
    assert classify_batch(batch.slice(1), KeywordClassifier(), DEFAULT_TAXONOMY, {})["domain"].to_pylist() == ["code"]


def test_an_unknown_pinned_domain_is_refused_by_name(rows: Rows) -> None:
    with pytest.raises(ConfigError, match="'physics'"):
        classify_batch(rows([("user", "a")]), KeywordClassifier(), DEFAULT_TAXONOMY, {"s": "physics"})


def test_the_transform_gives_what_the_function_gives(rows: Rows) -> None:
    from apache_beam.testing.test_pipeline import TestPipeline as BeamTestPipeline
    from apache_beam.testing.util import assert_that, equal_to

    from transforms.fasttext_classifier import shared_classifier

    batch = rows([("user", "def add(a, b): return a + b"), ("assistant", "a Python function")])
    expected = classify_batch(batch, shared_classifier(None, DEFAULT_TAXONOMY), DEFAULT_TAXONOMY, {})
    import apache_beam as beam

    with BeamTestPipeline(runner="FnApiRunner") as root:
        found = root | beam.Create([batch]) | ClassifyDomains(taxonomy=DEFAULT_TAXONOMY)
        assert_that(found | beam.Map(pa.RecordBatch.to_pylist), equal_to([expected.to_pylist()]))
