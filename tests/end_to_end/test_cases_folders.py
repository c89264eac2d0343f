"""Folders on which rows were once learned wrongly, or lost, without a word; each through the command line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Build = Callable[..., Any]
"""Returns the ``Built`` of conftest.py."""
CASES = Path(__file__).parents[1] / "cases" / "folders"


def configured(folder: Path, *sources: dict[str, Any]) -> Path:
    """Write a configuration of some sources, without a model."""
    build = {"validation_fraction": 0.0, "max_rejected_fraction": 1.0}
    config = {"name": "d", "output": "out", "sources": list(sources), "build": build}
    (folder / "c.yaml").write_text(yaml.safe_dump(config))
    return folder / "c.yaml"


def assert_the_two_calls(built: Any) -> None:
    """Of two rows whose calls have other arguments each has its own, in what is written and in what is learned."""
    assert built.reasons == []
    assert sorted(built.turns) == [
        [
            ("user", "Price of ACME?"),
            ("tool_call", '[{"name":"quote","arguments":{"ticker":"ACME","days":3},"id":"c2"}]'),
            ("tool", "12"),
            ("assistant", "It is 12."),
        ],
        [
            ("user", "Weather in Oslo?"),
            ("tool_call", '[{"name":"weather","arguments":{"city":"Oslo"},"id":"c1"}]'),
            ("tool", "rain"),
            ("assistant", "It rains."),
        ],
    ]
    oslo = next(row for row in built.rows if "Oslo" in row["messages"][0]["content"])
    call = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>'
    assert built.learned(oslo) == f"{call}<|im_end|>It rains.<|im_end|>"
    assert '"properties": {"city": {"type": "string"}}, "required": ["city"]' in built.text(oslo)


def test_01_padded_structs(build_folder: Build) -> None:
    assert_the_two_calls(build_folder("01-padded-structs"))


def test_02_json_extension_type(build_folder: Build) -> None:
    built = build_folder("02-json-extension-type")
    assert_the_two_calls(built)
    assert built.manifest["books"][0]["duplicates"] == {"general": 2}  # the saved folder holds the same two rows


def test_03_tool_results_out_of_order(build_folder: Build) -> None:
    built = build_folder("03-tool-results-out-of-order")
    (turns,) = built.turns
    assert [content for role, content in turns if role == "tool"] == ["rain, 4 degrees", "14:05"]
    text = built.text(built.rows[0])
    assert "[weather a] rain, 4 degrees" in text
    assert "[clock b] 14:05" in text


def test_04_reasoning_content(build_folder: Build) -> None:
    built = build_folder("04-reasoning-content")
    assert built.reasons == []
    thoughts = {
        "51": "10 times 3 is 30 and 7 times 3 is 21, so 51.",
        "68": "10 times 4 is 40 and 7 times 4 is 28.",
        "85": "50 and 35.",
    }
    assert {turns[-1][1]: turns[1:-1] for turns in built.turns} == {
        answer: [("reasoning", thought)] for answer, thought in thoughts.items()
    }
    assert {built.learned(row) for row in built.rows} == {
        f"<think>\n{thought}\n</think>\n\n{answer}<|im_end|>" for answer, thought in thoughts.items()
    }


def test_05_turns_not_to_learn(build_folder: Build) -> None:
    built = build_folder("05-turns-not-to-learn")
    assert [row["unlearned"] for row in built.rows] == [[1]] * 4
    learned = {"No. It is Lima.", "It is N'Djamena.", "It is Bamako.", "It is Lome."}
    assert {built.learned(row) for row in built.rows} == {f"{answer}<|im_end|>" for answer in learned}
    assert all("WRONG" in built.text(row) for row in built.rows)


def test_06_template_passes_over_system(build_folder: Build) -> None:
    built = build_folder("06-template-passes-over-system")
    assert built.rows == []
    assert built.reasons == ["template_without_system"] * 2
    assert "model.system" in built.rejects[0]["detail"]


@pytest.mark.parametrize(
    ("system", "first", "count"),
    [
        ("into_first_user", "Answer only in French.\n\nGood morning", "template.system_moved"),
        ("drop", "Good morning", "template.system_dropped"),
    ],
)
def test_06_a_system_turn_goes_where_it_is_asked_to(build_folder: Build, system: str, first: str, count: str) -> None:
    model = {"path": "../models/chatml", "chat_template": "t.jinja", "system": system}
    built = build_folder("06-template-passes-over-system", model=model)
    assert built.reasons == []
    text = f"<|im_start|>user\n{first}<|im_end|>\n<|im_start|>assistant\nBonjour<|im_end|>\n"
    assert text in [built.text(row) for row in built.rows]
    assert built.manifest["books"][0]["counts"] == {count: 2}


def test_07_no_end_of_turn(build_folder: Build) -> None:
    built = build_folder("07-no-end-of-turn")
    assert sorted(built.learned(row) for row in built.rows) == [
        "4<|user|>",
        "Hi, how can I help?<|user|>See you.<|user|>",
    ]


def test_08_arguments_as_text(build_folder: Build) -> None:
    built = build_folder("08-arguments-as-text")
    assert built.reasons == []
    call = 'CALL function weather\n```json\n{"city": "Oslo"}\n```<|im_end|>'
    assert sorted(built.learned(row) for row in built.rows) == [f"{call}It rains.<|im_end|>", "Hello<|im_end|>"]
    assert built.manifest["books"][0]["counts"] == {"template.tools_left_out": 1}


def test_09_numbers_in_calls(build_folder: Build) -> None:
    built = build_folder("09-numbers-in-calls")
    assert built.reasons == []
    assert {turns[0][1]: turns[1][1] for turns in built.turns} == {
        "Pay the order": (
            '[{"name":"pay","arguments":{"wei":1000000000000000000001,"order":12345678901234567890123,"rate":0.7,'
            '"exact":0.1234567890123456789,"one":1.0,"exp":1e5,"small":1e-7}}]'
        ),
        "Pay the other": '[{"name":"pay","arguments":{"wei":1000000000000000000001,"price":1.10}}]',
        "How many grains?": "18446744073709551615",
        "How many grains twice?": "36893488147419103231",
        "Pi?": "3.14159265358979323846264338327950288",
        "One tenth?": "0.10",
        "Big?": "1e400",
    }
    order = next(row for row in built.rows if row["messages"][0]["content"] == "Pay the order")
    assert built.learned(order) == (
        '<tool_call>{"name": "pay", "arguments": {"wei": 1000000000000000000001, "order": 12345678901234567890123,'
        ' "rate": 0.7, "exact": 0.1234567890123456789, "one": 1.0, "exp": 1e5, "small": 1e-7}}</tool_call><|im_end|>'
    )


def test_10_float32_answers(build_folder: Build) -> None:
    built = build_folder("10-float32-answers")
    assert built.answers == ["0.1", "0.5", "3.14", "37.2"]


def test_11_binary_columns(build_folder: Build) -> None:
    built = build_folder("11-binary-columns")
    assert built.answers == ["5 €", "At the café", "Jörg"]
    assert ("user", "Wie heißt du?") in [turns[0] for turns in built.turns]


def test_12_thinking_template(build_folder: Build) -> None:
    built = build_folder("12-thinking-template")
    assert built.reasons == []
    empty = "<think>\n\n</think>\n\n"
    call = '<think>\nI call.\n</think>\n\n\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call><|im_end|>'
    assert sorted(built.learned(row) for row in built.rows) == sorted(
        [
            f"{empty}A single answer.<|im_end|>",
            f"B one.<|im_end|>{empty}B two.<|im_end|>",
            "<think>\nLet me see.\n</think>\n\nC answer.<|im_end|>",
            "D one.<|im_end|><think>\nHm.\n</think>\n\nD two.<|im_end|>",
            "E one.<|im_end|><think>\nHm two.\n</think>\n\nE two.<|im_end|>",
            f"{call}<think>\nGot it.\n</think>\n\nF done.<|im_end|>",
        ]
    )
    assert built.manifest["books"][0]["counts"] == {"template.thoughts_left_out": 1}


def test_12_what_the_generation_prompt_holds_has_no_loss(build_folder: Build) -> None:
    model = {"path": "../models/chatml", "chat_template": "t.jinja", "template_variables": {"enable_thinking": False}}
    built = build_folder("12-thinking-template", model=model)
    learned = {built.learned(row) for row in built.rows}
    assert {"A single answer.<|im_end|>", "B one.<|im_end|>B two.<|im_end|>"} <= learned


def test_13_prompt_opens_thoughts(build_folder: Build) -> None:
    built = build_folder("13-prompt-opens-thoughts")
    assert built.reasons == []
    assert "One.<|im_end|>Two.<|im_end|>" in [built.learned(row) for row in built.rows]
    counts = built.manifest["books"][0]["counts"]
    assert counts == {"template.prompt_differs": 3, "template.thoughts_left_out": 1}


def test_14_invisible_answers(build_folder: Build) -> None:
    built = build_folder("14-invisible-answers")
    assert built.turns == [[("user", "Q9?"), ("assistant", "real")]]
    assert built.reasons == ["empty_answer"] * 9 + ["empty_prompt"]


def test_15_row_labels(build_folder: Build) -> None:
    built = build_folder("15-row-labels")
    assert built.answers == ["good", "good csv", "good int8"]
    assert built.reasons == ["bad_answer"] * 8
    assert any(b"bad zero msgs" in reject["payload"] for reject in built.rejects)


def test_16_named_tool_template(build_folder: Build) -> None:
    built = build_folder("16-named-tool-template")
    assert built.reasons == []
    call = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call><|im_end|>'
    assert sorted(built.learned(row) for row in built.rows) == [f"{call}It rains.<|im_end|>", "Hello<|im_end|>"]
    assert any("[weather c1] rain" in built.text(row) for row in built.rows)


def test_17_csv_quotes(build_folder: Build) -> None:
    built = build_folder("17-csv-quotes")
    assert sorted((turns[0][1], turns[1][1]) for turns in built.turns) == [
        ('"Hamlet" is by whom?', "Shakespeare"),
        ("Plain?", "yes"),
        ('Print "hi" in C', 'puts("hi");'),
        ("Regex, for a digit", r"\d+"),
        ('What does "hi" mean?', "It is a greeting"),
        ("Who wrote it?", '"Macbeth" and "Lear" are his'),
    ]
    assert built.rejects == []


def test_18_single_line_code(build_folder: Build) -> None:
    built = build_folder("18-single-line-code", model={"path": "../models/chatml"})
    answers = ["    print(x)", "    return a + b", "    step()\n    if done: break", "  - first"]
    assert built.answers == answers
    assert not built.rejects
    learned = sorted(built.learned(row) for row in built.rows)
    assert all(answer in text for answer, text in zip(answers, learned, strict=True))


def test_19_prompt_in_both_splits(build_folder: Build) -> None:
    built = build_folder("19-prompt-in-both-splits")
    prompts = {
        split: {row["messages"][0]["content"] for row in built.rows if row["split"] == split}
        for split in ("train", "validation")
    }
    assert min(map(len, prompts.values())) > 0
    assert prompts["train"].isdisjoint(prompts["validation"])


def test_20_parquet_types(build_folder: Build) -> None:
    built = build_folder("20-parquet-types")
    assert len(built.rows) == 24
    answers = {turns[0][1]: turns[1][1] for turns in built.turns}
    assert answers["date q?"] == "2024-02-29"
    assert answers["dec q?"] == "12.50"
    assert {"date_far one?", "ts_far two?", "ts_ns one?", "tz one?", "dur two?", "map one?"} <= answers.keys()
    refused = [file["refused"] for file in built.manifest["inputs"] if file["refused"]]
    assert len(refused) == 1
    assert "dup.parquet: found two columns named 'answer'" in refused[0]


def test_21_zstd_skippable(build_folder: Build) -> None:
    built = build_folder("21-zstd-skippable")
    assert built.manifest["books"][0]["read"] == 600
    assert built.answers == sorted(f"a{row}" for row in range(300))  # the other frame's fields have other names


@pytest.mark.parametrize(
    ("split", "answers", "left_out"),
    [
        (None, ["x1", "x2"], "test (1 file)"),
        ("test", ["SECRET TEST ANSWER"], "train (1 file)"),
        ("all", ["SECRET TEST ANSWER", "x1", "x2"], ""),
    ],
)
def test_22_datasetdict_saved(
    tmp_path: Path, build_config: Build, split: str | None, answers: list[str], left_out: str
) -> None:
    shutil.copytree(CASES / "22-datasetdict-saved", tmp_path / "saved")
    source = {"name": "s", "files": ["saved"], "license": "CC0-1.0", "domain": "general"}
    built = build_config(configured(tmp_path, source | ({"split": split} if split else {})))
    assert built.answers == answers
    assert ("left out" in built.said) == bool(left_out)
    assert left_out in built.said


def test_22_a_split_that_is_not_there(tmp_path: Path, build_config: Build) -> None:
    shutil.copytree(CASES / "22-datasetdict-saved", tmp_path / "saved")
    source = {"name": "s", "files": ["saved"], "license": "CC0-1.0", "domain": "general", "split": "validation"}
    built = build_config(configured(tmp_path, source))
    assert built.exit_code
    assert "source 's': split: validation is none of the splits" in " ".join(built.said.split())
    assert "test (1 file), train (1 file)" in " ".join(built.said.split())
