"""What inspection says of a file before anything is built."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from versatune.schemas.config import FieldMap
from versatune.schemas.errors import DataError
from versatune.transforms.reading.inspection import inspect_file, shape_scores

SHARED = Path(os.environ.get("VERSATUNE_SHARED_DATA", Path(__file__).parents[3] / "../shared/data"))
ALPACA = {"instruction": "Why?", "input": "", "output": "Because."}


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_of_one_shape_is_told_with_its_rows_before_and_after(tmp_path: Path) -> None:
    found = inspect_file(write(tmp_path / "a.jsonl", [ALPACA] * 5 + [{**ALPACA, "output": None}]))
    assert (found.container, found.files, found.rows, found.complete, found.examples) == ("JSON Lines", 1, 6, True, 5)
    assert found.detected == [("alpaca", 5)]
    assert found.scores[0] == ("alpaca", 1.0, 5 / 6)
    assert [json.loads(preview.before) for preview in found.previews] == [ALPACA] * 3
    assert found.previews[0].after[0].messages == [("user", "Why?"), ("assistant", "Because.")]
    (problem,) = found.problems
    assert (problem.reason, problem.rows, problem.row) == ("missing_answer", 1, 5)
    assert found.proposed is None


def test_no_more_rows_are_read_than_asked_for(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [ALPACA] * 50)
    found = inspect_file(file, sample=7)
    assert (found.rows, found.complete) == (7, False)
    assert inspect_file(file, sample=50).complete


def test_every_file_of_a_folder_is_sampled(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [ALPACA] * 50)
    write(tmp_path / "b.jsonl", [{"text": "Once upon a time."}] * 50)
    found = inspect_file(tmp_path, sample=20)
    assert (found.files, found.rows) == (2, 20)
    assert dict(found.detected) == {"alpaca": 10, "document": 10}


def test_rows_of_no_shape_get_a_field_map_to_paste_that_reads_them(tmp_path: Path) -> None:
    rows = [
        {"idx": str(n), "policy": f"Policy {n}.", "claim": f"Is {n} covered?", "verdict": f"Case {n}."}
        for n in range(20)
    ]
    found = inspect_file(write(tmp_path / "a.jsonl", rows))
    assert found.proposed == FieldMap(prompt="claim", completion="verdict", context="policy")
    assert "fields: {prompt: claim, completion: verdict, context: policy}" in found.advice[0]
    again = inspect_file(tmp_path / "a.jsonl", found.proposed)
    assert (again.detected, again.problems, again.proposed) == ([("field map", 20)], [], None)


def test_the_advice_names_layouts_that_share_a_folder_with_readable_rows(tmp_path: Path) -> None:
    found = inspect_file(write(tmp_path / "a.jsonl", [ALPACA] * 9 + [{"claim": "One?", "verdict": "Two."}]))
    assert found.advice[0].startswith("1 rows with the fields 'claim', 'verdict'")
    assert "a source of their own" in found.advice[1]


def test_questions_without_answers_are_told_apart_from_unknown_rows(tmp_path: Path) -> None:
    found = inspect_file(write(tmp_path / "a.jsonl", [{"prompt": f"{n}?", "kind": "x"} for n in range(9)]))
    assert found.proposed is None
    assert "'prompt' asks, and no column looks like its answer" in found.advice[0]


def test_few_short_answers_raise_a_question(tmp_path: Path) -> None:
    rows = [{"text": f"A clause {n}.", "answer": "Yes" if n % 2 else "No"} for n in range(20)]
    found = inspect_file(write(tmp_path / "a.jsonl", rows))
    assert found.detected == [("question_answer", 20)]
    assert "only 2 different short texts" in found.advice[0]


def test_files_that_cannot_be_read_say_why_and_broken_rows_are_problems(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"PK\x03\x04 not a workbook")
    found = inspect_file(tmp_path / "a.xlsx")
    assert found.rows == 0
    assert "a.xlsx" in found.refused[0]
    (tmp_path / "b.jsonl").write_bytes(json.dumps(ALPACA).encode() + b'\n{"instruction": NaN}\n')
    assert [problem.reason for problem in inspect_file(tmp_path / "b.jsonl").problems] == ["not_json"]
    with pytest.raises(DataError):
        inspect_file(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("name", "content", "container"),
    [
        ("a.jsonl.gz", gzip.compress(json.dumps(ALPACA).encode(), mtime=0), "gzip, JSON Lines"),
        ("a.json", json.dumps([ALPACA], indent=1).encode(), "JSON"),
        ("a.csv", b"question,answer\nWhy?,Because.\n", "CSV"),
        ("a.tsv", b"question\tanswer\nWhy?\tBecause.\n", "TSV"),
        ("a.txt", b"Once upon a time.\n", "plain text"),
    ],
)
def test_the_container_is_named(tmp_path: Path, name: str, content: bytes, container: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert inspect_file(tmp_path / name).container == container


def test_scores_leave_out_shapes_that_fit_nothing() -> None:
    assert [score.name for score in shape_scores([{"question": "Why?", "answer": "Because."}])] == ["question_answer"]
    assert shape_scores([{"a": 1}]) == []


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("chatdoctor/format_dataset.csv", "The columns: 'idx' (0), 'disease' (Panic disorder)"),
        ("terms-of-service/train-00000-of-00001.parquet", "'unfairness_level' holds 3 different short texts"),
        (
            "legalbench/tasks/insurance_policy_interpretation/train.tsv",
            "'answer' holds 3 different short texts",
        ),
        ("infibench/suite_v2.0.0_dev.parquet", "asks, and no column looks like its answer"),
    ],
)
def test_published_files_that_fit_no_shape_get_sensible_advice(path: str, told: str) -> None:
    if not (SHARED / path).exists():
        pytest.skip("no shared data here (VERSATUNE_SHARED_DATA)")
    assert told in " ".join(inspect_file(SHARED / path).advice)
