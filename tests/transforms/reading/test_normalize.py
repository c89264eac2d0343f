"""Normalising: every row ends as examples or as a reject, whatever it holds."""

from __future__ import annotations

import json
import types
from collections import Counter
from pathlib import Path
from typing import Any

import apache_beam as beam
import orjson
import pyarrow as pa
import pytest
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given, settings
from hypothesis import strategies as st

import versatune.transforms.transport.batch_coders  # noqa: F401  # registers how batches travel
from versatune.schemas.arrow import NORMALIZED, REJECT
from versatune.schemas.config import BuildConfig, FieldMap, SourceConfig, load_config
from versatune.schemas.errors import DataError
from versatune.transforms.chat.verdict import TOKENIZE_REASONS
from versatune.transforms.classifier.classify import CLASSIFY_REASONS
from versatune.transforms.reading.normalize import NormalizeRows, normalize_batch
from versatune.transforms.reading.read import plan_inputs, read_rows
from versatune.transforms.reading.repairs import Repairs, payload_digest
from versatune.transforms.shapes.base import CLEAN_REASONS, NORMALIZE_REASONS, READ_REASONS, Example, RowError
from versatune.transforms.shapes.conversation import example_id, read_examples
from versatune.transforms.transport.batch import Batch, InputSplit, RawBatch, RowFault, example_payloads, one_array

ROOT = Path(__file__).resolve().parents[3]
SOURCE = SourceConfig(name="s", files=["x"], license="MIT")
GOOD = b'{"question": "Why?", "answer": "Because."}'
SQUAD = orjson.dumps(
    {
        "paragraphs": [
            {
                "context": "Hot.",
                "qas": [
                    {"id": "0", "question": "Who?", "answers": [{"text": "Me", "answer_start": 0}]},
                    {"id": "1", "question": " ", "answers": [{"text": "Me", "answer_start": 0}]},
                    {"id": "2", "question": "What?", "answers": [{"text": "That", "answer_start": 0}]},
                ],
            }
        ]
    }
)
"""An article of which the second question is blank."""


def raw(payloads: list[bytes | RowFault], source: str = "s") -> RawBatch:
    return RawBatch(InputSplit(source=source, uri="d/x.jsonl", location="/d/x.jsonl", bytes=9), 3, 5, payloads)


def examples_of(batch: Batch) -> list[tuple[int, int, list[tuple[str, str]]]]:
    return [
        (row["row"], row["item"], [(turn["role"], turn["content"]) for turn in row["messages"]])
        for row in batch.examples.to_pylist()
    ]


def rejects_of(batch: Batch) -> list[tuple[int, int, str]]:
    return [(row["row"], row["item"], f"{row['stage']}.{row['reason']}") for row in batch.rejects.to_pylist()]


def no_short_answers(example: Example, counts: Counter[str]) -> Example:
    """Clean as a configured cleaner does: reject, change, count."""
    role, content = example.messages[-1]
    if len(content) < 3:
        raise RowError("short_answer", "2 characters; expected 3")
    counts["clean.upper"] += 1
    return example._replace(messages=[*example.messages[:-1], (role, content.upper())], tags=("loud",))


# --- one batch ---


def test_a_batch_is_divided_into_examples_and_rejects() -> None:
    payloads: list[bytes | RowFault] = [GOOD, b'{"question": ', b'[{"prompt": " a\\r\\nb ", "completion": "c"}]']
    batch = normalize_batch(raw(payloads), SOURCE)
    assert (batch.key, batch.split.uri) == (f"{batch.split.key}-000003", "d/x.jsonl")
    assert (batch.examples.schema, batch.rejects.schema) == (NORMALIZED, REJECT)
    first = [("user", "Why?"), ("assistant", "Because.")]
    second = [("user", "a\nb"), ("assistant", "c")]
    assert batch.examples.to_pylist() == [
        {
            "id": example_id(Example(messages)),
            "messages": [{"role": role, "content": content} for role, content in messages],
            "tools": None,
            "rejected": None,
            "unlearned": [],
            "tags": [],
            "num_chars": chars,
            "row": row,
            "item": 0,
        }
        for messages, row, chars in ((first, 5, 12), (second, 7, 4))
    ]
    assert batch.rejects.to_pylist() == [
        {
            "row": 6,
            "item": 0,
            "stage": "read",
            "reason": "not_json",
            "detail": batch.rejects.column("detail")[0].as_py(),
            "payload": b'{"question": ',
        }
    ]
    assert batch.counts == Counter()
    assert batch.raw_bytes == sum(map(len, payloads))


def test_batches_without_examples_rejects_or_rows_keep_their_schemas() -> None:
    for payloads in ([], [GOOD], [b"x"]):
        batch = normalize_batch(raw(list(payloads)), SOURCE)
        assert (batch.examples.schema, batch.rejects.schema) == (NORMALIZED, REJECT)
        assert batch.examples.num_rows + batch.rejects.num_rows == len(payloads)


def test_tools_worse_answers_and_tags_are_columns() -> None:
    pair = {"prompt": "Why?", "chosen": "Because.", "rejected": " No. "}
    call = {
        "messages": [
            {"role": "user", "content": "Time?"},
            {"role": "assistant", "tool_calls": [{"function": {"name": "now", "arguments": "{}"}}]},
        ],
        "tools": [{"type": "function", "function": {"name": "now", "parameters": {}}}],
    }
    batch = normalize_batch(raw([orjson.dumps(pair), orjson.dumps(call), GOOD]), SOURCE)
    assert batch.examples.column("rejected").to_pylist() == ["No.", None, None]
    assert [tools and orjson.loads(tools)[0]["function"]["name"] for tools in batch.examples["tools"].to_pylist()] == [
        None, "now", None,
    ]  # fmt: skip
    assert examples_of(batch)[1][2][1] == ("tool_call", '[{"name":"now","arguments":{}}]')


def test_what_the_reader_could_not_give_is_rejected_with_its_first_bytes() -> None:
    fault = RowFault("too_large", "9,000,000 bytes; expected at most 8,388,608", b'{"question": "aaa')
    batch = normalize_batch(raw([GOOD, fault, GOOD]), SOURCE)
    assert rejects_of(batch) == [(6, 0, "read.too_large")]
    assert batch.rejects.to_pylist()[0]["payload"] == fault.head
    assert batch.rejects.to_pylist()[0]["detail"] == fault.detail
    assert [row for row, *_ in examples_of(batch)] == [5, 7]


def test_the_source_gives_the_field_map() -> None:
    source = SourceConfig(name="s", files=["x"], fields=FieldMap(prompt="nl", completion="code"))
    batch = normalize_batch(raw([b'{"nl": "Add.", "code": "a + b"}', GOOD]), source)
    assert examples_of(batch) == [(5, 0, [("user", "Add."), ("assistant", "a + b")])]


def test_the_same_conversation_has_the_same_id_in_every_shape() -> None:
    shapes = [
        {"question": "Why?", "answer": "Because."},
        {"instruction": "Why?\r\n", "input": "", "output": " Because."},
        {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]},
    ]
    ids = normalize_batch(raw([orjson.dumps(row) for row in shapes]), SOURCE).examples.column("id").to_pylist()
    assert len(ids) == 3
    assert len(set(ids)) == 1


# --- rows of several examples ---


def test_the_examples_of_a_row_are_numbered_and_those_that_cannot_be_used_are_rejected_alone() -> None:
    batch = normalize_batch(raw([GOOD, SQUAD, GOOD]), SOURCE)
    assert [(row, item) for row, item, _ in examples_of(batch)] == [(5, 0), (6, 0), (6, 2), (7, 0)]
    assert rejects_of(batch) == [(6, 1, "normalize.empty_prompt")]
    assert batch.rejects.to_pylist()[0]["payload"] == SQUAD
    assert batch.counts == {"expanded": 2}


def test_faults_of_one_row_are_not_those_of_the_next() -> None:
    batch = normalize_batch(raw([SQUAD, GOOD, b"x", SQUAD]), SOURCE)
    assert rejects_of(batch) == [
        (5, 1, "normalize.empty_prompt"),
        (7, 0, "read.not_json"),
        (8, 1, "normalize.empty_prompt"),
    ]
    assert batch.counts == {"expanded": 4}


def test_a_row_of_many_faults_is_kept_once() -> None:
    asked = [{"question": f"What is {i}?", "answers": []} for i in range(200)]
    asked.append({"question": "Who?", "answers": [{"text": "Me"}]})
    row = json.dumps({"paragraphs": [{"context": "word " * 1000, "qas": asked}]}).encode()
    batch = normalize_batch(raw([row]), SOURCE)
    assert (batch.examples.num_rows, batch.rejects.num_rows) == (1, 200)
    payloads = batch.rejects.column("payload").to_pylist()
    assert (payloads[0], set(payloads[1:])) == (row, {b""})
    details = batch.rejects.column("detail").to_pylist()
    assert "payload" not in details[0]
    assert all(detail.endswith("(the row is the payload of its item 0)") for detail in details[1:])


def test_a_row_that_would_fill_the_memory_with_copies_of_a_passage_is_rejected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = [{"question": f"What is {i}?", "answers": [{"text": "Me"}]} for i in range(50)]
    asked.append({"question": "Who?", "answers": []})
    row = json.dumps({"paragraphs": [{"context": "word " * 100, "qas": asked}]}).encode()
    assert normalize_batch(raw([row]), SOURCE).examples.num_rows == 50
    monkeypatch.setattr("versatune.transforms.reading.normalize.MAX_EXPANDED_CHARS", 10_000)
    batch = normalize_batch(raw([GOOD, row, GOOD]), SOURCE)
    assert [(number, item) for number, item, _ in examples_of(batch)] == [(5, 0), (7, 0)]
    assert rejects_of(batch) == [(6, 0, "read.too_large")]
    assert batch.rejects.column("payload").to_pylist() == [row]
    assert batch.counts == {}


def test_a_batch_of_more_text_than_arrow_holds_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_pieces(values: Any, kind: Any) -> Any:
        return pa.chunked_array([values[:1], values[1:]], kind)

    monkeypatch.setattr(
        "versatune.transforms.transport.batch.pa", types.SimpleNamespace(array=in_pieces, ChunkedArray=pa.ChunkedArray)
    )
    with pytest.raises(DataError, match=r"build\.batch_rows: .* more than 2 GiB of text .* set it lower"):
        one_array(["a", "b"], pa.string())


def test_a_cleaner_rejects_one_example_of_several_with_that_example_as_payload() -> None:
    batch = normalize_batch(raw([SQUAD]), SOURCE, no_short_answers)
    assert [(row, item) for row, item, _ in examples_of(batch)] == [(5, 2)]
    assert sorted(rejects_of(batch)) == [(5, 0, "clean.short_answer"), (5, 1, "normalize.empty_prompt")]
    payload = next(row["payload"] for row in batch.rejects.to_pylist() if row["stage"] == "clean")
    assert [example.messages[-1] for example in read_examples(payload)] == [("assistant", "Me")]
    assert batch.counts == {"expanded": 2, "clean.upper": 1}


# --- cleaning and repairs ---


def test_a_cleaner_changes_rejects_and_counts() -> None:
    short = b'{"question": "Why?", "answer": "No"}'
    batch = normalize_batch(raw([GOOD, short, GOOD]), SOURCE, no_short_answers)
    assert [messages[-1] for *_, messages in examples_of(batch)] == [("assistant", "BECAUSE.")] * 2
    changed = Example([("user", "Why?"), ("assistant", "BECAUSE.")])
    assert set(batch.examples.column("id").to_pylist()) == {example_id(changed)}
    assert batch.examples.column("tags").to_pylist() == [["loud"]] * 2
    assert rejects_of(batch) == [(6, 0, "clean.short_answer")]
    assert batch.rejects.to_pylist()[0]["payload"] == short
    assert batch.counts == {"clean.upper": 2}


def repairs_of(*pairs: tuple[bytes, bytes]) -> Repairs:
    return Repairs({payload_digest(broken): repaired for broken, repaired in pairs})


def test_a_repaired_row_takes_the_place_of_the_rejected_one_and_is_counted() -> None:
    broken = [b"{broken", b'{"question": "Why?", "answer": ""}']
    repairs = repairs_of(*((payload, GOOD) for payload in broken), (b"elsewhere", GOOD))
    batch = normalize_batch(raw([GOOD, *broken, b"still broken"]), SOURCE, repairs=repairs)
    assert [row for row, *_ in examples_of(batch)] == [5, 6, 7]
    assert len(set(batch.examples.column("id").to_pylist())) == 1
    assert rejects_of(batch) == [(8, 0, "read.not_json")]
    assert batch.counts == {"repaired": 2}


def test_a_row_that_the_cleaner_rejected_and_one_of_which_only_a_part_was_usable_can_be_repaired() -> None:
    short = b'{"question": "Why?", "answer": "No"}'
    whole = SQUAD.replace(b'" "', b'"How?"')
    batch = normalize_batch(raw([short, SQUAD]), SOURCE, no_short_answers, repairs_of((short, GOOD), (SQUAD, whole)))
    assert [(row, item) for row, item, _ in examples_of(batch)] == [(5, 0), (6, 2)]
    assert rejects_of(batch) == [(6, 0, "clean.short_answer"), (6, 1, "clean.short_answer")]
    assert batch.counts == {"repaired": 2, "expanded": 2, "clean.upper": 2}


def test_a_repair_that_is_no_better_leaves_the_row_rejected_under_its_own_payload() -> None:
    batch = normalize_batch(raw([b"{broken"]), SOURCE, repairs=repairs_of((b"{broken", b"[]")))
    assert rejects_of(batch) == [(5, 0, "read.not_an_object")]
    assert batch.rejects.to_pylist()[0]["payload"] == b"{broken"
    assert batch.counts == {}


def test_a_row_that_the_reader_could_not_give_is_repaired_by_its_head() -> None:
    fault = RowFault("wrong_cell_count", "3 cells; expected 2", b'["a", "b", "c"]')
    batch = normalize_batch(raw([fault]), SOURCE, repairs=repairs_of((fault.head, GOOD)))
    assert (batch.examples.num_rows, batch.rejects.num_rows, batch.counts) == (1, 0, {"repaired": 1})


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
        "tool_calls",
        "tools",
        "paragraphs",
        "qas",
        "answers",
        "data",
        "title",
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
GIVEN = (
    st.dictionaries(KEYS, VALUES, max_size=6).map(lambda row: json.dumps(row).encode())
    | VALUES.map(lambda value: json.dumps(value).encode())
    | st.sampled_from([GOOD, SQUAD, b'{"question": "Why?", "answer": "No"}'])
    | st.binary(max_size=30)
    | st.builds(RowFault, st.sampled_from(list(READ_REASONS)), st.just(""), st.binary(max_size=9))
)
MAPS = st.none() | st.builds(FieldMap, prompt=KEYS, completion=KEYS, context=KEYS) | st.builds(FieldMap, messages=KEYS)
CLEANERS: st.SearchStrategy[Any] = st.sampled_from([None, no_short_answers])


@settings(max_examples=120, deadline=None)
@given(
    payloads=st.lists(GIVEN, max_size=6),
    fields=MAPS,
    cleaner=CLEANERS,
    repaired=GIVEN.filter(lambda p: type(p) is bytes),
)
def test_every_row_ends_in_examples_or_rejects_and_none_in_neither(
    payloads: list[bytes | RowFault], fields: FieldMap | None, cleaner: Any, repaired: bytes
) -> None:
    source = SourceConfig(name="s", files=["x"], fields=fields)
    repairs = repairs_of(*((p if isinstance(p, bytes) else p.head, repaired) for p in payloads[:1]))
    batch = normalize_batch(raw(payloads), source, cleaner, repairs)
    batch.examples.validate(full=True)
    batch.rejects.validate(full=True)
    ends = [(row, item) for row, item, _ in examples_of(batch)] + [(row, item) for row, item, _ in rejects_of(batch)]
    assert len(ends) == len(set(ends)) == len(payloads) + batch.counts["expanded"]
    by_row = Counter(row for row, _ in ends)
    assert sorted(by_row) == list(range(5, 5 + len(payloads)))
    assert set(ends) == {(row, item) for row, count in by_row.items() for item in range(count)}
    for row in batch.rejects.to_pylist():
        reasons = {"read": READ_REASONS, "normalize": NORMALIZE_REASONS, "clean": CLEAN_REASONS}[row["stage"]]
        assert row["reason"] in reasons
    for row in batch.examples.to_pylist():
        roles = [turn["role"] for turn in row["messages"] if turn["role"] != "system"]
        assert roles == ["text"] or (roles[0] == "user" and roles[-1] in ("assistant", "tool_call"))
        assert row["num_chars"] == sum(len(turn["content"]) for turn in row["messages"]) > 0


# --- in a pipeline ---


def test_the_transform_gives_what_the_function_gives_with_the_sources_cleaning_and_repairs(tmp_path: Path) -> None:
    other = SourceConfig(name="t", files=["y"], fields=FieldMap(prompt="question", completion="b"))
    payloads: list[bytes | RowFault] = [GOOD, b"{broken", b'{"question": "Why?", "answer": "No"}']
    build = BuildConfig.model_validate({"clean": {"min_answer_chars": 3}})
    repairs = repairs_of((b"{broken", GOOD))
    repairs.save(str(tmp_path / "repairs.jsonl"))
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        batches = (
            pipeline
            | beam.Create([raw(payloads), raw(payloads, "t"), raw([])])
            | beam.Reshuffle()
            | NormalizeRows(sources=[SOURCE, other], build=build, repairs=str(tmp_path / "repairs.jsonl"))
        )
        assert batches.element_type is Batch
        found = batches | beam.Map(lambda b: (b.split.source, [row for row, *_ in examples_of(b)], rejects_of(b)))
        missing = [(row, 0, "normalize.missing_answer") for row in (5, 6, 7)]
        short = [(row, 0, "clean.short_answer") for row in (7,)]
        assert_that(found, equal_to([("s", [5, 6], short), ("t", [], missing), ("s", [], [])]))


# --- real rows ---


def divide(config_file: Path) -> dict[str, Counter[str]]:
    """Read and normalise every file; return the books by source."""
    config = load_config(config_file)
    sources = {source.name: source for source in config.sources}
    books: dict[str, Counter[str]] = {name: Counter() for name in sources}
    for split in plan_inputs(config):
        for raw_batch in read_rows(split):
            batch = normalize_batch(raw_batch, sources[split.source])
            book = books[split.source]
            book.update(
                read=len(raw_batch.payloads), examples=batch.examples.num_rows, expanded=batch.counts["expanded"]
            )
            book.update(reason for *_, reason in rejects_of(batch))
    for name, book in books.items():
        assert book["read"] + book["expanded"] == book.total() - book["read"] - book["expanded"], name
    return books


def test_the_example_data_is_read_and_its_broken_rows_rejected() -> None:
    books = divide(ROOT / "examples" / "quickstart.yaml")
    together = sum(books.values(), Counter())
    assert (together["read"], together["examples"]) == (353, 344)


REAL = {
    "gpteacher": {"read": 8854, "examples": 8854},
    "codealpaca": {"read": 3517, "examples": 3515, "normalize.empty_answer": 2},
    "financial-qa-10k": {"read": 7000, "examples": 6997, "normalize.empty_answer": 1, "normalize.empty_prompt": 2},
    "lawkey-indian-law-qa": {"read": 14543, "examples": 14543},
    "arc": {"read": 3370, "examples": 3370},
    "alpaca-cleaned-first-1000": {"read": 1000, "examples": 1000},
    "fastchat-dummy": {"read": 500, "examples": 500},
    "human-eval": {"read": 164, "examples": 164},
}


def test_published_corpora_are_read_without_a_field_map(shared_data: Path, tmp_path: Path) -> None:
    sources = [{"name": name, "files": [str(shared_data / name)]} for name in REAL]
    (tmp_path / "c.yaml").write_text(json.dumps({"name": "t", "sources": sources}), encoding="utf-8")
    books = divide(tmp_path / "c.yaml")
    assert {name: {key: count for key, count in book.items() if count} for name, book in books.items()} == REAL


# --- documents ---


def test_every_reject_reason_is_explained_in_the_documentation() -> None:
    page = (ROOT / "docs" / "data-formats.md").read_text(encoding="utf-8")
    stages = {
        "read": READ_REASONS,
        "normalize": NORMALIZE_REASONS,
        "clean": CLEAN_REASONS,
        "classify": CLASSIFY_REASONS,
        "tokenize": TOKENIZE_REASONS,
    }
    lines = [
        f"| `{stage}.{reason}` | {text} |" for stage, reasons in stages.items() for reason, text in reasons.items()
    ]
    assert [line for line in lines if line not in page] == []


def test_an_example_that_a_later_stage_rejected_is_repaired_by_its_own_payload() -> None:
    row = {"instruction": "Say <|im_end|>.", "output": "No."}
    batch = normalize_batch(raw([orjson.dumps(row)]), SOURCE)
    payload = example_payloads(batch.examples)[0]  # what the tokenizer's reject holds
    mended = orjson.dumps(
        {"messages": [{"role": "user", "content": "Say it."}, {"role": "assistant", "content": "No."}]}
    )
    repairs = Repairs({payload_digest(payload): mended})
    again = normalize_batch(raw([orjson.dumps(row)]), SOURCE, None, repairs)
    assert again.examples.column("messages")[0].as_py()[0]["content"] == "Say it."
    assert again.counts["repaired"] == 1


def test_a_repair_may_not_become_several_examples_in_the_place_of_one() -> None:
    row = {"instruction": "Say <|im_end|>.", "output": "No."}
    batch = normalize_batch(raw([orjson.dumps(row)]), SOURCE)
    article = {
        "paragraphs": [{"context": "c", "qas": [{"question": q, "answers": [{"text": "a"}]} for q in ("Why?", "Who?")]}]
    }
    repairs = Repairs({payload_digest(example_payloads(batch.examples)[0]): orjson.dumps(article)})
    again = normalize_batch(raw([orjson.dumps(row)]), SOURCE, None, repairs)
    assert again.rejects.column("reason").to_pylist() == ["wrong_type"]
