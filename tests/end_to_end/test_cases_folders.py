"""Folders on which rows were once learned wrongly, or lost, without a word; each through the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Build = Callable[..., Any]
"""Returns the ``Built`` of conftest.py."""


def test_01_padded_structs(build_folder: Build) -> None:
    pytest.xfail("to be written: 01-padded-structs")


def test_02_json_extension_type(build_folder: Build) -> None:
    pytest.xfail("to be written: 02-json-extension-type")


def test_03_tool_results_out_of_order(build_folder: Build) -> None:
    pytest.xfail("to be written: 03-tool-results-out-of-order")


def test_05_turns_not_to_learn(build_folder: Build) -> None:
    pytest.xfail("to be written: 05-turns-not-to-learn")


def test_09_numbers_in_calls(build_folder: Build) -> None:
    pytest.xfail("to be written: 09-numbers-in-calls")


def test_10_float32_answers(build_folder: Build) -> None:
    pytest.xfail("to be written: 10-float32-answers")


def test_11_binary_columns(build_folder: Build) -> None:
    pytest.xfail("to be written: 11-binary-columns")


def test_14_invisible_answers(build_folder: Build) -> None:
    built = build_folder("14-invisible-answers")
    assert built.turns == [[("user", "Q9?"), ("assistant", "real")]]
    assert built.reasons == ["empty_answer"] * 9 + ["empty_prompt"]


def test_15_row_labels(build_folder: Build) -> None:
    pytest.xfail("to be written: 15-row-labels")


def test_17_csv_quotes(build_folder: Build) -> None:
    pytest.xfail("to be written: 17-csv-quotes")


def test_18_single_line_code(build_folder: Build) -> None:
    built = build_folder("18-single-line-code", model={"path": "../models/chatml"})
    answers = ["    print(x)", "    return a + b", "    step()\n    if done: break", "  - first"]
    assert built.answers == answers
    assert not built.rejects
    learned = sorted(built.learned(row) for row in built.rows)
    assert all(answer in text for answer, text in zip(answers, learned, strict=True))


def test_19_prompt_in_both_splits(build_folder: Build) -> None:
    pytest.xfail("to be written: 19-prompt-in-both-splits")


def test_20_parquet_types(build_folder: Build) -> None:
    pytest.xfail("to be written: 20-parquet-types")


def test_21_zstd_skippable(build_folder: Build) -> None:
    pytest.xfail("to be written: 21-zstd-skippable")


def test_22_datasetdict_saved(build_folder: Build) -> None:
    pytest.xfail("to be written: 22-datasetdict-saved")
