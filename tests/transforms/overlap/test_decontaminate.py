"""Text of evaluation sets is found in rows, templates and small talk are not, and the rejects say of which set."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import apache_beam as beam
import orjson
import pyarrow as pa
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as BeamTestPipeline
from apache_beam.testing.util import assert_that

from versatune.schemas.arrow import NORMALIZED, REJECT
from versatune.schemas.config import DecontaminateConfig, load_config
from versatune.schemas.errors import ConfigError, DataError
from versatune.transforms.overlap.decontaminate import (
    BENCHMARK_OVERLAP,
    DECONTAMINATE_REASONS,
    TEMPLATE_ITEMS,
    Benchmark,
    BenchmarkIndex,
    Decontaminate,
    Overlap,
    decontaminate_batch,
    index_benchmarks,
    texts_of_row,
)
from versatune.transforms.overlap.shingles import words_of_texts
from versatune.transforms.shapes.conversation import read_examples
from versatune.transforms.transport.batch import Batch, InputSplit

SETTINGS = DecontaminateConfig()
QUESTION = "A farmer has seventeen sheep and all but nine run away; how many sheep does he have left in the end?"
SHORT = "Who wrote the Book of Disquiet?"
BENCHMARKS = {"sheep": [[QUESTION, "nine"]], "books": [[SHORT, "Fernando Pessoa"]]}


def words(count: int, start: str = "w") -> str:
    return " ".join(f"{start}{number}" for number in range(count))


def index_of(benchmarks: dict[str, list[list[str]]] = BENCHMARKS, **settings: Any) -> BenchmarkIndex:
    return BenchmarkIndex.build(benchmarks, DecontaminateConfig(**settings))


def hits(index: BenchmarkIndex, *texts: str) -> dict[int, list[Overlap]]:
    return index.overlaps(words_of_texts(pa.array(texts, pa.string())))


def batch_of(*rows: list[tuple[str, str]], rejected: dict[int, str] | None = None) -> Batch:
    examples = pa.RecordBatch.from_pylist(
        [
            {
                "id": f"{number:032x}",
                "messages": [{"role": role, "content": content} for role, content in turns],
                "rejected": (rejected or {}).get(number),
                "unlearned": [],
                "tags": [],
                "num_chars": 1,
                "row": number * 10,
                "item": number,
            }
            for number, turns in enumerate(rows)
        ],
        schema=NORMALIZED,
    )
    split = InputSplit(source="s", uri="f.jsonl", location="/f.jsonl", bytes=1)
    return Batch("k-000000", split, examples, pa.RecordBatch.from_pylist([], REJECT), Counter({"expanded": 2}))


def test_a_row_with_thirteen_words_of_a_benchmark_is_found_whatever_stands_around_them() -> None:
    run = " ".join(QUESTION.split()[3:16])
    found = hits(index_of(), f"Tell me: {run.upper()}, please", "nothing", run, " ".join(QUESTION.split()[3:15]))
    assert found == {0: [Overlap("sheep", 1, 13)], 2: [Overlap("sheep", 1, 13)]}


def test_twelve_words_in_a_row_are_no_hit() -> None:
    shared = QUESTION.split()
    shared[12] = "other"
    assert hits(index_of(), " ".join(shared[:13])) == {}
    assert hits(index_of(ngram=12), " ".join(shared[:13])) == {0: [Overlap("sheep", 1, 12)]}


def test_a_short_text_is_found_where_it_occurs_whole() -> None:
    found = hits(
        index_of(),
        "I wonder: who wrote 'The Book of Disquiet'? Do you know?",
        "who wrote the book of",
        SHORT,
        "Fernando Pessoa",
    )
    assert found == {0: [Overlap("books", 1, 6)], 2: [Overlap("books", 1, 6)]}


def test_short_texts_that_begin_alike_are_told_apart() -> None:
    index = index_of({"b": [[words(7)], [words(9)], [words(5) + " other end"], [words(5, "x")]]})
    assert hits(index, words(9))[0] == [Overlap("b", 2, 9)]
    assert hits(index, words(8))[0] == [Overlap("b", 1, 7)]
    assert hits(index, "so " + words(5) + " other end of it")[0] == [Overlap("b", 1, 7)]
    assert hits(index, words(6)) == {}
    assert hits(index, words(5, "x"))[0] == [Overlap("b", 1, 5)]


def test_what_everybody_says_is_not_looked_for() -> None:
    index = index_of({"b": [["I do not know", words(20)], ["yes", "no"]]})
    assert index.summary() == [Benchmark("b", 2, 8, 0, 1)]
    assert hits(index, "I do not know, yes or no") == {}
    assert hits(index_of({"b": [["I do not know"]]}, min_words=4), "I do not know")


def test_runs_do_not_cross_rows() -> None:
    half, other = " ".join(QUESTION.split()[:9]), " ".join(QUESTION.split()[9:])
    assert hits(index_of(), half, other) == {}
    assert hits(index_of(), half + " " + other)


def test_one_text_may_be_of_several_benchmarks() -> None:
    index = index_of({"b": [[QUESTION]], "a": [[QUESTION], [words(30)]], "c": [[words(30, "c")]]})
    assert hits(index, QUESTION) == {0: [Overlap("a", 9, 13), Overlap("b", 9, 13)]}


def test_chinese_is_found_by_characters() -> None:
    question = "一个农夫有十七只羊，除了九只以外都跑掉了。"
    index = index_of({"zh": [[question]]})
    assert hits(index, f"问题：{question}请回答", "一个农夫有十七只羊", "除了九只以外都跑掉了") == {
        0: [Overlap("zh", 7, 13)]
    }


def test_the_template_of_a_benchmark_is_not_looked_for() -> None:
    template = "Choose the correct answer to the question below from the following options A B C and D and explain"
    items = [[f"{template}: {words(6, f'q{number}x')}"] for number in range(TEMPLATE_ITEMS)]
    index = index_of({"b": items})
    assert hits(index, template) == {}
    assert hits(index, items[3][0])[0][0].runs == 6  # runs that reach into the question
    assert index.summary()[0].templates == len(template.split()) - 12
    assert hits(index_of({"b": items[1:]}), template)  # too few items to tell a template


def test_a_passage_under_several_questions_of_a_large_benchmark_is_looked_for() -> None:
    items = [[f"{words(20, f'passage{number // 12}x')} {words(20, f'q{number}x')}"] for number in range(2400)]
    assert hits(index_of({"b": items}), words(20, "passage7x"))
    assert not hits(index_of({"b": items[:600]}), words(20, "passage7x"))  # 12 of 600 are more than 1 %


def test_a_short_text_of_many_items_is_a_template() -> None:
    items = [[words(20, f"q{number}x"), "None of the above is right"] for number in range(TEMPLATE_ITEMS)]
    assert hits(index_of({"b": items}), "None of the above is right") == {}


def test_a_run_that_one_item_repeats_is_no_template() -> None:
    assert hits(index_of({"b": [[" ".join(["over and"] * 50)] * 30]}), " ".join(["over and"] * 7))


def test_the_digest_is_of_what_is_looked_for() -> None:
    index = index_of()
    assert index.digest == index_of(dict(reversed(BENCHMARKS.items()))).digest
    more = BENCHMARKS["sheep"][::-1]
    assert index_of({**BENCHMARKS, "sheep": [*more, *more]}).digest == index.digest
    others = [
        index_of({**BENCHMARKS, "books": [["Who wrote the Book of Sand?"]]}),
        index_of({"cows": BENCHMARKS["sheep"], "books": BENCHMARKS["books"]}),
        index_of(ngram=12),
        index_of(min_words=6),
    ]
    assert len({index.digest, *(other.digest for other in others)}) == 5


def test_an_index_is_the_same_after_a_file(tmp_path: Path) -> None:
    index = index_of()
    index.save(f"{tmp_path}/index.arrow")
    read = BenchmarkIndex.load(f"{tmp_path}/index.arrow")
    assert (read.digest, read.summary()) == (index.digest, index.summary())
    assert hits(read, QUESTION, SHORT, "none") == hits(index, QUESTION, SHORT, "none") != {}


def test_an_index_finds_what_a_plain_search_finds() -> None:
    chance = random.Random(5)
    texts = [" ".join(f"v{chance.randrange(2)}" for _ in range(chance.randrange(3, 10))) for _ in range(300)]
    items, rows = texts[:60], texts[60:]
    found = hits(index_of({"b": [[text] for text in items]}, ngram=7, min_words=5), *rows)

    def is_hit(row: str) -> bool:
        for item in items:
            parts = item.split()
            looked_for = (
                [parts[start : start + 7] for start in range(max(1, len(parts) - 6))] if len(parts) >= 5 else []
            )
            if any(f" {' '.join(run)} " in f" {row} " for run in looked_for):
                return True
        return False

    expected = {number for number, row in enumerate(rows) if is_hit(row)}
    assert set(found) == expected
    assert 20 < len(expected) < 220


def test_hits_move_to_the_rejects_and_are_counted() -> None:
    chat = [("system", "Be brief."), ("user", f"Please: {QUESTION}"), ("assistant", SHORT)]
    batch = batch_of([("user", "hi"), ("assistant", "hello")], chat, [("user", "a"), ("assistant", "nine")])
    after = decontaminate_batch(batch, index_of())
    assert after.examples.column("id").to_pylist() == [f"{number:032x}" for number in (0, 2)]
    (reject,) = after.rejects.to_pylist()
    assert (reject["row"], reject["item"]) == (10, 1)
    assert (reject["stage"], reject["reason"]) == ("decontaminate", BENCHMARK_OVERLAP)
    assert reject["reason"] in DECONTAMINATE_REASONS
    assert reject["detail"] == "shares text with books (1 run of up to 6 words), sheep (9 runs of up to 13 words)"
    assert read_examples(reject["payload"])[0].messages == chat
    assert after.counts == {"expanded": 2, "decontaminate.sheep": 1, "decontaminate.books": 1}
    assert batch.counts == {"expanded": 2}


def test_rejects_that_were_there_stay() -> None:
    batch = batch_of([("user", QUESTION), ("assistant", "9")])
    again = decontaminate_batch(batch, index_of())._replace(examples=batch.examples)
    assert decontaminate_batch(again, index_of()).rejects.num_rows == 2


def test_a_batch_without_hits_is_left_alone() -> None:
    batch = batch_of([("user", "hi"), ("assistant", "hello")])
    assert decontaminate_batch(batch, index_of()) is batch
    empty = batch_of()
    assert decontaminate_batch(empty, index_of()) is empty


def test_system_turns_and_worse_answers_are_searched_too() -> None:
    plain = [("user", "hi"), ("assistant", "hello")]
    batch = batch_of(
        plain, [("system", QUESTION), *plain], [*plain[:1], ("assistant", SHORT)], rejected={0: QUESTION, 2: SHORT}
    )
    after = decontaminate_batch(batch, index_of())
    assert after.rejects.column("item").to_pylist() == [0, 1, 2]
    assert after.counts["decontaminate.books"] == 1
    assert orjson.loads(after.rejects.column("payload")[0].as_py())["rejected"] == QUESTION


def test_the_transform_does_as_the_function(tmp_path: Path) -> None:
    index_of().save(f"{tmp_path}/index.arrow")
    batches = [batch_of([("user", QUESTION), ("assistant", "9")]), batch_of([("user", "hi"), ("assistant", "you")])]

    def check(result: list[Batch]) -> None:
        left = sorted((batch.examples.num_rows, batch.rejects.num_rows, dict(batch.counts)) for batch in result)
        assert left == [(0, 1, {"expanded": 2, "decontaminate.sheep": 1}), (1, 0, {"expanded": 2})]

    with BeamTestPipeline() as root:
        result = root | beam.Create([0, 1]) | beam.Map(lambda n: batches[n]).with_output_types(Batch)
        assert_that(result | Decontaminate(path=f"{tmp_path}/index.arrow"), check)


def configured(tmp_path: Path, *benchmarks: dict[str, Any], **settings: Any) -> Any:
    section = {"benchmarks": list(benchmarks), **settings}
    (tmp_path / "c.json").write_text(json.dumps({"name": "t", "build": {"decontaminate": section}}))
    return load_config(tmp_path / "c.json")


def test_benchmarks_are_read_in_any_format(tmp_path: Path) -> None:
    (tmp_path / "gsm.jsonl").write_text(json.dumps({"question": QUESTION, "answer": "He has #### 9"}) + "\n")
    (tmp_path / "mmlu.csv").write_text(f'question,choices,note\n"{SHORT}","Pessoa; Borges",x\n')
    found = index_benchmarks(
        configured(tmp_path, {"name": "gsm", "files": ["gsm.jsonl"]}, {"name": "mmlu", "files": ["*.csv"]})
    )
    assert found is not None
    assert [(benchmark.name, benchmark.items) for benchmark in found.summary()] == [("gsm", 1), ("mmlu", 1)]
    assert hits(found, QUESTION, SHORT) == {0: [Overlap("gsm", 9, 13)], 1: [Overlap("mmlu", 1, 6)]}


def test_questions_without_answers_are_looked_for() -> None:
    assert texts_of_row(orjson.dumps({"id": 7, "question": QUESTION, "meta": {"tags": ["x"]}})) == [[QUESTION, "x"]]
    assert texts_of_row(b"{") == [[]]


def test_no_benchmarks_are_no_index(tmp_path: Path) -> None:
    assert index_benchmarks(configured(tmp_path)) is None


def test_a_benchmark_that_cannot_be_looked_for_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "short.jsonl").write_text('{"question": "Why?", "answer": "So."}\n')
    with pytest.raises(DataError, match="benchmark 'b': none of its 1 items has a text of at least 5 words"):
        index_benchmarks(configured(tmp_path, {"name": "b", "files": ["short.jsonl"]}))
    with pytest.raises(DataError, match="nowhere"):
        index_benchmarks(configured(tmp_path, {"name": "b", "files": ["nowhere.jsonl"]}))
    (tmp_path / "bad.xlsx").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(DataError, match="benchmark 'b'"):
        index_benchmarks(configured(tmp_path, {"name": "b", "files": ["bad.xlsx"]}))


def test_settings_that_contradict_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'min_words' is 14; expected at most 'ngram', which is 13"):
        configured(tmp_path, min_words=14)
    with pytest.raises(ConfigError, match="two benchmarks are named 'b'"):
        configured(tmp_path, {"name": "b", "files": ["x"]}, {"name": "b", "files": ["y"]})
