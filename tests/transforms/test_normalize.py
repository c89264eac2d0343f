"""Normalising: every row ends as an example or as a reject, and equal content gets an equal id."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import apache_beam as beam
import orjson
import pyarrow as pa
import pytest
from apache_beam.coders.typecoders import registry
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.arrow import NORMALIZED, RAW_ROW, REJECT
from schemas.config import FieldMap, SourceConfig, load_config
from transforms.arrow_coder import RecordBatchCoder
from transforms.normalize import NormalizeRows, check_turns, clean_text, example_id, normalize_batch, row_messages
from transforms.read import plan_inputs, read_rows
from transforms.shapes.base import NORMALIZE_REASONS, READ_REASONS, RowError
from transforms.tokenize import TOKENIZE_REASONS

ROOT = Path(__file__).resolve().parents[2]
SOURCE = SourceConfig(name="s", files=["x"], license="MIT")
GOOD = b'{"question": "Why?", "answer": "Because."}'


def raw(payloads: list[bytes], source: str = "s") -> pa.RecordBatch:
    count = len(payloads)
    columns = [[source] * count, ["d/x.jsonl"] * count, list(range(5, 5 + count)), payloads]
    return pa.record_batch([pa.array(c, t.type) for c, t in zip(columns, RAW_ROW, strict=True)], schema=RAW_ROW)


# --- one row ---


def test_a_batch_is_divided_into_examples_and_rejects() -> None:
    payloads = [GOOD, b'{"question": ', b'[{"prompt": " a\\r\\nb ", "completion": "c"}]']
    examples, rejects = normalize_batch(raw(payloads), SOURCE)
    assert examples.schema == NORMALIZED
    assert rejects.schema == REJECT
    first = [("user", "Why?"), ("assistant", "Because.")]
    second = [("user", "a\nb"), ("assistant", "c")]
    assert examples.to_pylist() == [
        {
            "id": example_id(messages),
            "messages": [{"role": role, "content": content} for role, content in messages],
            "source": "s",
            "license": "MIT",
            "origin": {"uri": "d/x.jsonl", "row": row},
            "num_chars": chars,
        }
        for messages, row, chars in ((first, 5, 12), (second, 7, 4))
    ]
    assert rejects.to_pylist() == [
        {
            "source": "s",
            "origin": {"uri": "d/x.jsonl", "row": 6},
            "stage": "read",
            "reason": "not_json",
            "detail": rejects.column("detail")[0].as_py(),
            "payload": b'{"question": ',
        }
    ]


def test_batches_without_examples_rejects_or_rows_keep_their_schemas() -> None:
    for payloads in ([], [GOOD], [b"x"]):
        examples, rejects = normalize_batch(raw(payloads), SOURCE)
        assert (examples.schema, rejects.schema) == (NORMALIZED, REJECT)
        assert examples.num_rows + rejects.num_rows == len(payloads)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b'{"a": NaN}', "not_json"),
        (b'{"a": Infinity}', "not_json"),
        (b'{"a": "\\ud800"}', "not_json"),
        (b"", "not_json"),
        (b"[" * 5000, "not_json"),
        (b'{"a": "caf\xe9"}', "not_utf8"),
        (b"7", "not_an_object"),
        (b"[]", "not_an_object"),
        (b'[{"a": 1}, {"a": 2}]', "not_an_object"),
        (b'{"__cells__": ["x"], "__header__": ["a", "b"]}', "wrong_cell_count"),
    ],
)
def test_rows_that_are_no_objects_are_rejected_as_read_errors(payload: bytes, reason: str) -> None:
    rejects = normalize_batch(raw([payload]), SOURCE).rejects
    assert [(r["stage"], r["reason"]) for r in rejects.to_pylist()] == [("read", reason)]


def test_of_a_key_written_twice_the_last_value_counts() -> None:
    assert row_messages(b'{"prompt": "a", "prompt": "b", "completion": "c"}')[0] == ("user", "b")


def test_the_source_gives_the_field_map() -> None:
    source = SourceConfig(name="s", files=["x"], fields=FieldMap(prompt="nl", completion="code"))
    examples = normalize_batch(raw([b'{"nl": "Add.", "code": "a + b"}', GOOD]), source).examples
    assert examples.column("messages").to_pylist() == [
        [{"role": "user", "content": "Add."}, {"role": "assistant", "content": "a + b"}]
    ]


# --- turns ---

S, U, A = ("system", "s"), ("user", "u"), ("assistant", "a")


@pytest.mark.parametrize(
    ("messages", "kept"),
    [
        ([U, A], [U, A]),
        ([S, U, A, U, A], [S, U, A, U, A]),
        ([U, A, U], [U, A]),
        ([U, A, ("user", " ")], [U, A]),
        ([("system", " \n"), U, A], [U, A]),
    ],
)
def test_turns_that_can_be_trained_on_are_kept(messages: list[Any], kept: list[Any]) -> None:
    assert check_turns(messages) == kept


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "no_answer"),
        ([S, U], "no_answer"),
        ([A], "starts_with_assistant"),
        ([S, A, U, A], "starts_with_assistant"),
        ([U, S, A], "system_not_first"),
        ([S, S, U, A], "system_not_first"),
        ([U, U, A], "roles_do_not_alternate"),
        ([U, A, A], "roles_do_not_alternate"),
        ([("user", " \n"), A], "empty_prompt"),
        ([U, ("assistant", "\u3000")], "empty_answer"),
        ([U, ("assistant", ""), U, A], "empty_answer"),
    ],
)
def test_turns_that_cannot_be_trained_on_are_refused(messages: list[Any], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        check_turns(messages)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("content", "clean"),
    [
        ("  a b\t\n", "a b"),
        ("a\r\nb\r\n", "a\nb"),
        ("cafe\u0301", "caf\u00e9"),
        ("\n    for x in y:\n        f(x)\n", "    for x in y:\n        f(x)"),
        ("\tfor x in y:\n\t\tf(x)", "\tfor x in y:\n\t\tf(x)"),
        (" One line of prose.\nAnother.", "One line of prose.\nAnother."),
        ("    return 1\n", "return 1"),
        (" \u2028 ", ""),
    ],
)
def test_text_is_cleaned(content: str, clean: str) -> None:
    assert clean_text(content) == clean
    assert clean_text(clean) == clean


# --- ids ---


def test_the_id_is_a_digest_of_roles_and_contents_only() -> None:
    messages = [("user", "Why?"), ("assistant", 'Wärme \u2028 "x"')]
    canonical = json.dumps(messages, ensure_ascii=False, separators=(",", ":")).encode()
    assert example_id(messages) == hashlib.blake2b(canonical, digest_size=16).hexdigest()
    assert example_id(messages) != example_id([("system", "Why?"), messages[1]])
    assert example_id([("user", "ab"), ("assistant", "c")]) != example_id([("user", "a"), ("assistant", "bc")])


def test_the_same_conversation_has_the_same_id_in_every_shape() -> None:
    shapes = [
        {"question": "Why?", "answer": "Because."},
        {"instruction": "Why?\r\n", "input": "", "output": " Because."},
        {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]},
    ]
    ids = normalize_batch(raw([orjson.dumps(row) for row in shapes]), SOURCE).examples.column("id").to_pylist()
    assert len(ids) == 3
    assert len(set(ids)) == 1


# --- no row disappears ---

KEYS = st.sampled_from(
    [
        "messages",
        "conversations",
        "role",
        "from",
        "content",
        "value",
        "instruction",
        "input",
        "output",
        "history",
        "system",
        "prompt",
        "completion",
        "question",
        "answer",
        "Answer",
        "context",
        "choices",
        "options",
        "label",
        "text",
        "stem",
        "answerKey",
        "A",
        "B",
        "choice_0",
        "query",
        "chosen",
        "rejected",
        "gold",
        "type",
        "__cells__",
        "__header__",
        "tool_calls",
    ]
)
WORDS = st.sampled_from(
    ["", " ", "a", "A", "user", "assistant", "human", "gpt", "system", "tool", "text", "0", "x\r\n"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=5),
    max_leaves=20,
)
MAPS = st.none() | st.builds(FieldMap, prompt=KEYS, completion=KEYS, context=KEYS) | st.builds(FieldMap, messages=KEYS)


@settings(max_examples=300, deadline=None)
@given(rows=st.lists(st.dictionaries(KEYS, VALUES, max_size=6) | VALUES, max_size=6), fields=MAPS)
def test_any_json_value_ends_as_an_example_or_a_reject(rows: list[Any], fields: FieldMap | None) -> None:
    payloads = [json.dumps(row, ensure_ascii=True).encode() for row in rows]
    check_divided(payloads, fields)


@given(payloads=st.lists(st.binary(max_size=30), max_size=5))
def test_any_bytes_end_as_an_example_or_a_reject(payloads: list[bytes]) -> None:
    check_divided(payloads, None)


def check_divided(payloads: list[bytes], fields: FieldMap | None) -> None:
    source = SourceConfig(name="s", files=["x"], fields=fields)
    examples, rejects = normalize_batch(raw(payloads), source)
    examples.validate(full=True)
    rejects.validate(full=True)
    rows = [r["origin"]["row"] for r in examples.to_pylist() + rejects.to_pylist()]
    assert sorted(rows) == list(range(5, 5 + len(payloads)))
    assert [payloads[r["origin"]["row"] - 5] for r in rejects.to_pylist()] == rejects.column("payload").to_pylist()
    for example in examples.to_pylist():
        roles = [turn["role"] for turn in example["messages"] if turn["role"] != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2) != []
        assert all(turn["content"].strip() for turn in example["messages"])


# --- in a pipeline ---


def test_normalize_rows_in_a_pipeline_gives_examples_and_rejects_and_no_empty_batch() -> None:
    other = SourceConfig(name="t", files=["y"], license="CC0-1.0")
    batches = [raw([GOOD, b"x"]), raw([GOOD], "t"), raw([b"y"]), raw([])]
    sources = [SOURCE, other, SOURCE, SOURCE]
    divided = [normalize_batch(batch, source) for batch, source in zip(batches, sources, strict=True)]
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        outputs = pipeline | beam.Create(batches) | beam.Reshuffle() | NormalizeRows(sources=[SOURCE, other])
        for name in ("examples", "rejects"):
            expected = [getattr(d, name).to_pylist() for d in divided if getattr(d, name).num_rows]
            rows = getattr(outputs, name) | f"Rows of {name}" >> beam.Map(lambda batch: batch.to_pylist())
            assert_that(rows, equal_to(expected), label=name)
            assert getattr(outputs, name).element_type is pa.RecordBatch


def test_record_batches_travel_as_arrow_ipc() -> None:
    batch = normalize_batch(raw([GOOD, GOOD, GOOD]), SOURCE).examples.slice(1, 1)
    coder = registry.get_coder(pa.RecordBatch)
    assert isinstance(coder, RecordBatchCoder)
    assert coder.decode(coder.encode(batch)).equals(batch)
    assert not coder.is_deterministic()


# --- real rows ---


def divide(config_file: Path) -> dict[str, Counter[str]]:
    """Read and normalise every file; return the books by source."""
    config = load_config(config_file)
    sources = {source.name: source for source in config.sources}
    books: dict[str, Counter[str]] = {name: Counter() for name in sources}
    for split in plan_inputs(config):
        rows = 0
        for batch in read_rows(split):
            rows += batch.num_rows
            examples, rejects = normalize_batch(batch, sources[split.source])
            assert examples.num_rows + rejects.num_rows == batch.num_rows
            books[split.source].update(examples=examples.num_rows)
            books[split.source].update(f"{r['stage']}.{r['reason']}" for r in rejects.to_pylist())
        books[split.source].update(read=rows)
    for name, book in books.items():
        assert book["read"] == book.total() - book["read"], name
    return books


def test_the_example_data_is_read_and_its_broken_rows_rejected() -> None:
    books = divide(ROOT / "examples" / "quickstart.yaml")
    together = sum(books.values(), Counter())
    assert (together["read"], together["examples"]) == (353, 342)


REAL = {
    "gpteacher": {"read": 8854, "examples": 8854},
    "codealpaca": {"read": 3517, "examples": 3515, "normalize.empty_answer": 2},
    "chatdoctor": {"read": 6248, "examples": 5452, "normalize.unknown_shape": 796},
    "financial-qa-10k": {"read": 7000, "examples": 6997, "normalize.empty_answer": 1, "normalize.empty_prompt": 2},
    "lawkey-indian-law-qa": {"read": 14543, "examples": 14543},
    "legalbench-subset": {"read": 1290, "examples": 1210, "normalize.unknown_shape": 80},
    "arc": {"read": 4239, "examples": 4239},
    "alpaca-cleaned-first-1000": {"read": 1000, "examples": 1000},
    "llama-factory-demo": {
        "read": 2989,
        "examples": 2737,
        "normalize.preference_pair": 99,
        "normalize.tool_calls": 153,
    },
    "fastchat-dummy": {"read": 500, "examples": 500},
    "human-eval": {"read": 164, "examples": 164},
    "spider": {"read": 8034, "examples": 8034},
}


def test_published_corpora_are_read_without_a_field_map(shared_data: Path, tmp_path: Path) -> None:
    sources = [{"name": name, "files": [str(shared_data / name)]} for name in REAL]
    (tmp_path / "c.yaml").write_text(json.dumps({"name": "t", "sources": sources}), encoding="utf-8")
    books = divide(tmp_path / "c.yaml")
    for name, book in books.items():
        print(f"{name:28}", dict(book))
    assert {name: {key: count for key, count in book.items() if count} for name, book in books.items()} == REAL


# --- documents ---


def test_every_reject_reason_is_explained_in_the_documentation() -> None:
    page = (ROOT / "docs" / "data-formats.md").read_text(encoding="utf-8")
    reasons = {f"read.{reason}": text for reason, text in READ_REASONS.items()}
    reasons |= {f"normalize.{reason}": text for reason, text in NORMALIZE_REASONS.items()}
    reasons |= {f"tokenize.{reason}": text for reason, text in TOKENIZE_REASONS.items()}
    lines = [f"| `{reason}` | {text} |" for reason, text in reasons.items()]
    assert [line for line in lines if line not in page] == []
