"""What is said of sources at the end of a build and by inspect: together by source, each thing once, and only what matters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

ROW = {
    "question": "What is one and one?",
    "answer": "It is two. </s>",
    "rationale": "One counts on from the first one.",
}


def _write(folder: Path) -> Path:
    for split in ("train", "test"):
        (folder / "sums" / split).mkdir(parents=True)
        rows = [ROW | {"question": f"{split}: what is {n} and one?"} for n in range(9)]
        (folder / "sums" / split / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "copy.jsonl").write_text((folder / "sums" / "train" / "a.jsonl").read_text())
    sources: list[dict[str, Any]] = [
        {"name": "gone", "files": ["gone*.csv"]},
        {"name": "sums", "files": ["sums"], "license": "llama2"},
        {"name": "twice", "files": ["copy.jsonl"], "license": "other"},
    ]
    build = {"validation_fraction": 0.0, "max_rejected_fraction": 1.0}
    config = folder / "c.yaml"
    config.write_text(yaml.safe_dump({"name": "d", "output": "out", "sources": sources, "build": build}))
    return config


def test_each_source_is_told_of_together_and_each_thing_once(tmp_path: Path, cli: Any) -> None:
    code, shown, said = cli("build", _write(tmp_path))
    assert code == 0
    lines = [line.removeprefix("build: ") for line in said.splitlines() if "source '" in line]
    begins = [
        "source 'sums': read the split train; left out test (1 file).",  # before the build
        "refused: source 'gone': gone*.csv: matches no file",
        "source 'sums': text that went into no example: 'rationale' (9 of 9 rows).",
        "source 'sums': its licence 'llama2' is no SPDX identifier",
        "source 'sums': 9 of 9 answers end with a literal end marker",
        "source 'twice' gave nothing: of 9 examples none is left: duplicates of other rows 9",
    ]
    assert [line[: len(begin)] for line, begin in zip(lines, begins, strict=True)] == begins
    assert "refused" not in shown


def test_what_is_refused_is_said_also_where_the_same_dataset_is_there_already(tmp_path: Path, cli: Any) -> None:
    config = _write(tmp_path)
    cli("build", config)
    (tmp_path / "sums" / "train" / "b.parquet").write_bytes(b"PAR1 and nothing else")
    code, _, said = cli("build", config)
    assert code == 0
    assert "unchanged" in said
    assert "refused: source 'sums': sums/train/b.parquet" in said


def test_inspect_says_which_split_is_left_out_and_which_turns_are_context(tmp_path: Path, cli: Any) -> None:
    _write(tmp_path)
    _, shown, _ = cli("inspect", tmp_path / "sums")
    assert "\nread the split train; left out test (1 file)." in shown
    assert 'drop_tail: ["</s>"]' in shown
    chat = [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "No idea.", "weight": 0},
        {"role": "user", "content": "Really?"},
        {"role": "assistant", "content": "Because."},
    ]
    (tmp_path / "chat.jsonl").write_text(json.dumps({"messages": chat}) + "\n")
    _, shown, _ = cli("inspect", tmp_path / "chat.jsonl")
    assert "assistant (context only, not learned): No idea." in shown
    assert "assistant: Because." in shown


def test_a_file_that_inspect_cannot_read_is_named_without_a_source(tmp_path: Path, cli: Any) -> None:
    (tmp_path / "corpus.en").write_text("Oslo is in Norway.\n")
    _, shown, _ = cli("inspect", tmp_path / "corpus.en")
    assert "corpus.en: found text that is not JSON" in shown
    assert "source '" not in shown
