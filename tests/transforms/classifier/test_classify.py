"""Domains of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as BeamTestPipeline
from apache_beam.testing.util import assert_that, equal_to

import versatune.transforms.transport.batch_coders  # noqa: F401  # registers how batches travel
from versatune.schemas.arrow import NORMALIZED, REJECT, classified_fields
from versatune.schemas.errors import ConfigError
from versatune.schemas.taxonomy import DEFAULT_TAXONOMY
from versatune.transforms.classifier.classify import (
    STAGE,
    UNDETERMINED_DOMAIN,
    ClassifyDomains,
    classify_batch,
    reject_undetermined,
    undetermined,
)
from versatune.transforms.classifier.fasttext_classifier import shared_classifier
from versatune.transforms.shapes.conversation import read_examples
from versatune.transforms.transport.batch import Batch, InputSplit

Rows = Callable[..., pa.RecordBatch]
LAW, CODE = DEFAULT_TAXONOMY.index("law"), DEFAULT_TAXONOMY.index("code")


class KeywordClassifier:
    """Thinks a text is about code if it says so, else about law, less so if it says maybe; remembers what it was asked."""

    undetermined_below = 0.5

    def __init__(self) -> None:
        self.texts: list[str] = []

    def predict(self, texts: list[str]) -> np.ndarray:
        self.texts += texts
        probs = np.full((len(texts), len(DEFAULT_TAXONOMY)), 0.02, np.float32)
        for i, text in enumerate(texts):
            probs[i, CODE if "code" in text else LAW] = 0.4 if "maybe" in text else 0.9
        return probs


def test_a_row_takes_the_most_probable_domain_and_keeps_every_probability(rows: Rows) -> None:
    batch = rows([("user", "a contract"), ("assistant", "void")], [("user", "code"), ("assistant", "x = 1")])
    classified = classify_batch(batch, KeywordClassifier(), DEFAULT_TAXONOMY)
    assert classified.schema == pa.schema([*NORMALIZED, *classified_fields(6)])
    assert classified["domain"].to_pylist() == ["law", "code"]
    assert np.array(classified["domain_probs"].to_pylist()).argmax(axis=1).tolist() == [LAW, CODE]
    assert classified.select(NORMALIZED.names).equals(batch)


def test_system_turns_and_thoughts_are_not_classified(rows: Rows) -> None:
    classifier = KeywordClassifier()
    classify_batch(
        rows([("system", "you write code"), ("user", "A"), ("reasoning", "Is it code?"), ("assistant", "B")]),
        classifier,
        DEFAULT_TAXONOMY,
    )
    assert classifier.texts == ["a b"]


def test_a_pinned_source_gets_its_domain_but_keeps_the_classifiers_probabilities(rows: Rows) -> None:
    batch = rows([("user", "code"), ("assistant", "x")])
    classified = classify_batch(batch, KeywordClassifier(), DEFAULT_TAXONOMY, "medical")
    assert classified["domain"].to_pylist() == ["medicine"]  # the alias of the taxonomy
    assert np.argmax(classified["domain_probs"][0].as_py()) == CODE


def test_a_row_is_undetermined_where_the_highest_probability_is_below_the_threshold(rows: Rows) -> None:
    batch = rows([("user", "maybe code"), ("assistant", "x")], [("user", "code"), ("assistant", "x")])
    classified = classify_batch(batch, KeywordClassifier(), DEFAULT_TAXONOMY)
    assert classified["undetermined"].to_pylist() == [True, False]
    assert classified["domain"].to_pylist() == ["code", "code"]
    assert undetermined(np.array([[0.5, 0.3], [0.49, 0.3]], np.float32), 0.5).tolist() == [False, True]


def test_no_row_of_a_pinned_source_is_undetermined(rows: Rows) -> None:
    classified = classify_batch(rows([("user", "maybe")]), KeywordClassifier(), DEFAULT_TAXONOMY, "code")
    assert classified["undetermined"].to_pylist() == [False]
    assert max(classified["domain_probs"][0].as_py()) < KeywordClassifier.undetermined_below


def test_undetermined_rows_become_rejects_that_can_be_read_again(rows: Rows) -> None:
    batch = rows([("user", "code"), ("assistant", "1")], [("user", "maybe a secret"), ("assistant", "2")])
    earlier = pa.RecordBatch.from_pylist(
        [{"row": 9, "item": 0, "stage": "read", "reason": "not_json", "detail": "", "payload": b"x"}], schema=REJECT
    )
    split = InputSplit(source="s", uri="f", location="/f", bytes=1)
    whole = Batch("s-000000", split, classify_batch(batch, KeywordClassifier(), DEFAULT_TAXONOMY), earlier, Counter())
    left = reject_undetermined(whole, 0.5)
    assert left.examples["row"].to_pylist() == [0]
    assert left.examples["undetermined"].to_pylist() == [False]
    old, new = left.rejects.to_pylist()
    assert old["reason"] == "not_json"
    assert (new["row"], new["stage"], new["reason"]) == (1, STAGE, UNDETERMINED_DOMAIN)
    assert new["detail"] == "the most probable domain is law with 0.4000; expected at least 0.5000"
    assert read_examples(new["payload"], None)[0].messages == [("user", "maybe a secret"), ("assistant", "2")]
    assert reject_undetermined(left, 0.5) is left


def test_a_slice_of_a_batch_is_classified_as_itself(rows: Rows) -> None:
    batch = rows([("user", "one"), ("assistant", "1")], [("user", "code"), ("assistant", "2")])
    assert classify_batch(batch.slice(1), KeywordClassifier(), DEFAULT_TAXONOMY)["domain"].to_pylist() == ["code"]


def test_an_unknown_pinned_domain_is_refused_by_name(rows: Rows) -> None:
    with pytest.raises(ConfigError, match="'physics'"):
        classify_batch(rows([("user", "a")]), KeywordClassifier(), DEFAULT_TAXONOMY, "physics")


def test_calls_results_and_documents_are_classified_by_what_they_say(rows: Rows) -> None:
    classifier = KeywordClassifier()
    chat = [("user", "Time?"), ("tool_call", '[{"name":"clock"}]'), ("tool", "noon"), ("assistant", "It is noon.")]
    classify_batch(rows(chat, [("text", "a book")]), classifier, DEFAULT_TAXONOMY)
    assert "noon" in classifier.texts[0]
    assert classifier.texts[1] == "a book"


def test_a_batch_without_rows_keeps_its_schema() -> None:
    empty = pa.RecordBatch.from_pylist([], schema=NORMALIZED)
    classified = classify_batch(empty, KeywordClassifier(), DEFAULT_TAXONOMY)
    assert classified.schema == pa.schema([*NORMALIZED, *classified_fields(6)])
    assert classified.num_rows == 0


def test_the_transform_gives_what_the_function_gives_and_leaves_rejects_alone(rows: Rows) -> None:
    examples = rows([("user", "def add(a, b): return a + b"), ("assistant", "a Python function")])
    rejects = pa.RecordBatch.from_pylist(
        [{"row": 1, "item": 0, "stage": "read", "reason": "not_json", "detail": "", "payload": b"x"}], schema=REJECT
    )
    batches = [
        Batch(
            f"{source}-000000",
            InputSplit(source=source, uri="f", location="/f", bytes=1),
            examples,
            rejects,
            Counter(a=1),
        )
        for source in ("s", "t")
    ]
    classifier = shared_classifier(None, DEFAULT_TAXONOMY)
    expected = [
        (batch.key, classify_batch(examples, classifier, DEFAULT_TAXONOMY, pinned).to_pylist(), rejects.to_pylist())
        for batch, pinned in zip(batches, (None, "law"), strict=True)
    ]
    with BeamTestPipeline(runner="FnApiRunner") as root:
        found = root | beam.Create(batches) | ClassifyDomains(taxonomy=DEFAULT_TAXONOMY, pinned={"t": "law"})
        assert found.element_type is Batch
        shown = found | beam.Map(lambda batch: (batch.key, batch.examples.to_pylist(), batch.rejects.to_pylist()))
        assert_that(shown, equal_to(expected))
