"""A text and its class say nowhere what is asked: one rule for columns, lists and containers of pairs."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from versatune.schemas.config import FieldMap
from versatune.transforms.shapes.base import RowError
from versatune.transforms.shapes.conversation import read_examples
from versatune.transforms.shapes.labels import DOCUMENT_CHARS

LONG = "A page of the web. " * (DOCUMENT_CHARS // 19 + 1)


def read(row: Any, fields: FieldMap | None = None) -> list[list[tuple[str, str]]]:
    return [example.messages for example in read_examples(orjson.dumps(row), fields)]


@pytest.mark.parametrize(
    ("row", "name"),
    [
        *(({"text": "Where is my parcel?", name: "delivery"}, name) for name in
          ("label", "labels", "class", "category", "intent", "topic", "sentiment", "tag", "emotion", "type", "Category", "label_text", "news-topic", "intentName", "spam", "is_spam", "toxic", "y", "department")),
        ({"text": "Where is my parcel?", "label": 0}, "label"),
        ({"text": "Where is my parcel?", "label": False}, "label"),
        ({"content": "Where is my parcel?", "tags": ["delivery"], "id": 1}, "tags"),
        ({"text": LONG, "label": 3}, "label"),
        ({"text": LONG, "sentiment": "good"}, "sentiment"),
    ],
)  # fmt: skip
def test_a_text_beside_its_class_is_not_read(row: dict[str, Any], name: str) -> None:
    with pytest.raises(RowError) as caught:
        read(row)
    assert caught.value.reason == "unknown_shape"
    assert f"'{name}' looks like a class of" in caught.value.detail


@pytest.mark.parametrize(
    "row",
    [
        {"text": LONG, "category": "news", "url": "https://example.org"},
        {"text": LONG, "tags": ["a", "b"]},
        {
            "text": "A page.",
            "source": "x",
            "url": "u",
            "id": 1,
            "date": "2020",
            "lang": "en",
            "title": "T",
            "score": 0.5,
        },
        {"text": "A page.", "category": None, "tags": [], "label": ""},
    ],
)
def test_a_text_beside_notes_is_a_document(row: dict[str, Any]) -> None:
    assert read(row) == [[("text", row["text"].strip())]]


def test_a_class_beside_a_question_and_its_answer_is_a_note() -> None:
    assert read({"question": "Why?", "answer": "Because.", "category": "x", "label": "y"}) == [
        [("user", "Why?"), ("assistant", "Because.")]
    ]


@pytest.mark.parametrize(
    ("pair", "is_read"),
    [
        (["Why?", "Because."], True),
        (["What is the capital of France?", "Paris"], True),
        (["How many are there?", "4"], True),
        (["Say hello in French", "You say bonjour in French"], True),
        (["my parcel is late", "delivery"], False),
        (["Is my card there?", "card_arrival"], False),
        (["Where is my parcel?", "delivery"], False),
        (["I loved it.", "Positive"], False),
        (["I loved it.", "5"], False),
    ],
)
def test_a_pair_without_names_is_read_where_the_second_text_is_no_class(pair: list[str], is_read: bool) -> None:
    rows: list[Any] = [pair, {"0": pair[0], "1": pair[1]}, {"train": [pair]}, {"a": {"b": [pair]}}]
    for row in rows:
        if is_read:
            assert read(row) == [[("user", pair[0]), ("assistant", pair[1])]]
            continue
        with pytest.raises(RowError) as caught:
            read(row)
        assert caught.value.reason == "unknown_shape"
        assert "looks like a class of the first" in caught.value.detail
    assert read(pair, FieldMap(prompt="0", completion="1")) == [[("user", pair[0]), ("assistant", pair[1])]]


def test_a_few_short_answers_among_many_do_not_cost_a_list_of_pairs() -> None:
    pairs = [["How much does it cost", "Nothing, as long as you stay."], ["Do you deliver", "Yes"], ["Where", "Here."]]
    assert len(read({"faq": pairs})) == 3
