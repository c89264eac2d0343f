"""Files and field maps on which rows were once learned wrongly, or lost, without a word; each through the command line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Build = Callable[..., Any]
"""Returns the ``Built`` of conftest.py."""
CASES = Path(__file__).parents[1] / "cases"
Cli = Callable[..., tuple[int, str, str]]
"""Returns exit code, standard output and standard error."""


def built_as_proposed(file: Path, cli: Cli, build_config: Build) -> Any:
    """Paste the source that ``versatune inspect`` proposes for a file into a configuration, and build it."""
    _, shown, _ = cli("inspect", file)
    entry = "sources:" + shown.rpartition("sources:")[2]
    (source,) = yaml.safe_load(entry)["sources"]
    config = file.parent / "pasted.yaml"
    rest = {"name": "pasted", "output": "out", "build": {"validation_fraction": 0.0}}
    source |= {"license": "CC0-1.0", "domain": "general"}
    config.write_text(yaml.safe_dump(rest | {"sources": [source]}))
    return build_config(config)


def ask(prompt: str, answer: str) -> list[tuple[str, str]]:
    """Return the turns of one question and its answer."""
    return [("user", prompt), ("assistant", answer)]


def example(heading: str) -> dict[str, Any]:
    """Return the source that stands under a heading of docs/data-formats.md."""
    page = (Path(__file__).parents[2] / "docs" / "data-formats.md").read_text()
    block = page.partition(f"## {heading}\n")[2].partition("```yaml\n")[2].partition("```")[0]
    (source,) = yaml.safe_load(block)["sources"]
    return {name: value for name, value in source.items() if name not in {"name", "files"}}


def test_a1_instruction_beside_question(build_files: Build) -> None:
    built = build_files("a1-instruction-beside-question.jsonl")
    assert sorted(built.turns) == [
        ask("Answer the question below in one sentence.\n\nWhy do ships float?", "They displace water."),
        ask("Answer the question below in one sentence.\n\nWhy does ice float?", "It is less dense than water."),
    ]
    assert not built.rejects


def test_a2_instruction_beside_text(build_files: Build) -> None:
    built = build_files("a2-instruction-beside-text.jsonl")
    assert sorted(built.turns) == [ask("Translate to French.\n\ngood morning", "bonjour")]
    assert not built.rejects


def test_a3_passage_and_question(build_files: Build) -> None:
    built = build_files("a3-passage-and-question.jsonl")
    assert sorted(built.turns) == [ask("Answer.\n\nOtters hold hands.\n\nWho holds hands?", "Otters")]
    assert not built.rejects


def test_a4_document_beside_prompt(build_files: Build) -> None:
    built = build_files("a4-document-beside-prompt.jsonl")
    assert sorted(built.turns) == [ask("Long text about otters.\n\nSummarise this.", "Otters.")]
    assert not built.rejects


def test_a5_question_text(build_files: Build) -> None:
    built = build_files("a5-question-text.jsonl")
    assert sorted(built.turns) == [
        ask(
            "Headache after running?\n\nHello doctor, I am 40, take aspirin, and my head hurts since Monday when I run. What now?",
            "As you take aspirin and are 40, see someone.",
        )
    ]
    assert not built.rejects


def test_a6_description_beside_question(build_files: Build) -> None:
    built = build_files("a6-description-beside-question.jsonl")
    assert sorted(built.turns) == [ask("Headache after running?\n\nHello doctor, I am 40.", "See someone.")]
    assert not built.rejects


def test_a7_tables_beside_question(build_files: Build) -> None:
    built = build_files("a7-tables-beside-question.jsonl")
    assert sorted(built.turns) == [ask("| a | 5 |\n\nWhat is the yield?", "5")]
    assert not built.rejects


def test_a8_instructions_beside_query(build_files: Build) -> None:
    built = build_files("a8-instructions-beside-query.csv")
    assert sorted(built.turns) == [
        ask(
            "Settled means paid = 1\n\nHow many settled orders are there?", "SELECT COUNT(*) FROM orders WHERE paid = 1"
        )
    ]
    assert not built.rejects


def test_b1_headerless_choices(build_files: Build, build_config: Build, cli: Cli) -> None:
    built = build_files("b1-headerless-choices.csv")
    assert built.said.count("fields:") == 1
    again = built_as_proposed(built.folder / "b1-headerless-choices.csv", cli, build_config)
    assert sorted(again.turns) == [
        [("user", "How many legs does a spider have?\nA. Eight\nB. Six\nC. Ten\nD. Four"), ("assistant", "A. Eight")],
        [
            ("user", "Which metal is liquid at room temperature?\nA. Iron\nB. Gold\nC. Mercury\nD. Zinc"),
            ("assistant", "C. Mercury"),
        ],
        [("user", "Which planet is red?\nA. Venus\nB. Mars\nC. Saturn\nD. Neptune"), ("assistant", "B. Mars")],
    ]


def test_b2_no_answers(build_files: Build, cli: Cli) -> None:
    built = build_files("b2-no-answers.jsonl")
    assert built.rows == []
    (line,) = [line for line in built.said.splitlines() if "Instruction" in line]
    assert "'Instruction' asks, and no column looks like its answer" in line
    assert "'Skill' (Cooking)" in line
    _, shown, _ = cli("inspect", built.folder / "b2-no-answers.jsonl")
    assert "asks, and no column looks like its answer" in shown
    assert "sources:" not in shown


def test_b3_quoted_headings(build_files: Build, build_config: Build, cli: Cli) -> None:
    built = build_files("b3-quoted-headings.csv")
    again = built_as_proposed(built.folder / "b3-quoted-headings.csv", cli, build_config)
    assert sorted(again.turns) == [
        [("user", "Can I return shoes?"), ("assistant", "Yes, within a month.")],
        [("user", "Where is my parcel?"), ("assistant", "It arrives on Monday.")],
    ]


def test_c1_headerless_first_row_eaten(build_files: Build) -> None:
    fields = {"prompt": "column_0", "choices": [f"column_{at}" for at in range(1, 5)], "completion": "column_5"}
    built = build_files("c1-headerless-first-row-eaten.csv", fields=fields)
    assert [turns[1][1] for turns in sorted(built.turns)] == ["A. pressure rises", "C. Mercury"]
    assert built.manifest["books"][0]["read"] == 2


def test_c2_headerless_pairs(build_files: Build) -> None:
    built = build_files("c2-headerless-pairs.csv", fields={"prompt": "column_0", "completion": "column_1"})
    assert sorted((turns[0][1], turns[1][1]) for turns in built.turns) == [
        ("capital of Norway", "Oslo"),
        ("capital of Spain", "Madrid"),
        ("capital of Sweden", "Stockholm"),
    ]


def test_d1_mistyped_context(build_files: Build) -> None:
    name = "d1-mistyped-context.jsonl"
    built = build_files(name, fields={"prompt": "question", "completion": "answer", "context": "fact"})
    assert built.exit_code == 2
    assert not built.manifest
    assert "source 's': the field map names 'fact', which is in no row; did you mean 'facts'?" in built.said


def test_d2_list_of_objects(build_files: Build) -> None:
    fields = {"prompt": "question", "completion": "answer", "context": "evidence.text"}
    built = build_files("d2-list-of-objects.jsonl", fields=fields)
    asked = "Acme sold goods for $5.\n\nHow much did Acme sell?"
    assert built.turns == [[("user", asked), ("assistant", "$5")]]


def test_e1_text_and_category(build_files: Build) -> None:
    built = build_files("e1-text-and-category.csv")
    assert not built.rows
    assert built.reasons == ["unknown_shape"] * 3
    assert all("'category' looks like a class of 'text'" in reject["detail"] for reject in built.rejects)


def test_e2_splits_of_pairs(build_files: Build) -> None:
    built = build_files("e2-splits-of-pairs.json")
    assert not built.rows
    assert set(built.reasons) == {"unknown_shape"}
    assert all("looks like a class of the first" in reject["detail"] for reject in built.rejects)


def test_f1_folder_without_readable_files(tmp_path: Path, build_config: Build) -> None:
    shutil.copytree(CASES / "files" / "f1-folder-without-readable-files", tmp_path / "f1")
    (tmp_path / "empty").mkdir()
    (tmp_path / "q.jsonl").write_text('{"question": "q?", "answer": "a"}\n')
    sources = [
        {"name": name, "files": files, "license": "CC0-1.0", "domain": "general"}
        for name, files in {"good": ["q.jsonl"], "other": ["f1"], "nothing": ["empty", "f1/*.csv"]}.items()
    ]
    config = {"name": "d", "output": "out", "sources": sources, "build": {"validation_fraction": 0.0}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    built = build_config(tmp_path / "c.yaml")
    assert built.answers == ["a"]
    refused = {(file["source"], file["uri"]) for file in built.manifest["inputs"] if file["refused"]}
    assert refused == {("other", "f1"), ("nothing", "empty"), ("nothing", "f1/*.csv")}
    assert "source 'other': f1: none of the 1 files there is data" in " ".join(built.said.split())


def test_f1_nothing_is_left(build_files: Build) -> None:
    built = build_files("f1-folder-without-readable-files")
    assert built.exit_code
    assert "none of the 1 files there is data" in " ".join(built.said.split())


def test_g1_literal_end_markers(build_files: Build) -> None:
    name = "g1-literal-end-markers.jsonl"
    built = build_files(name)
    assert built.answers == ["Blue.###eos###", "Hello</s>", "Hello<|endoftext|>"]
    assert 'drop_tail: ["###eos###","</s>","<|endoftext|>"]' in built.said
    assert [book["counts"] for book in built.manifest["books"]] == [
        {"tail.###eos###": 1, "tail.</s>": 1, "tail.<|endoftext|>": 1}
    ]


def test_g1_literal_end_markers_are_dropped_where_asked_for(build_files: Build) -> None:
    built = build_files("g1-literal-end-markers.jsonl", drop_tail=["###eos###", "</s>", "<|endoftext|>", "[END]"])
    assert built.answers == ["Blue.", "Hello", "Hello"]
    assert "no answer ends with '[END]'" in built.said
    assert "literal end marker" not in built.said
    assert [book["counts"] for book in built.manifest["books"]] == [
        {"dropped_tail.###eos###": 1, "dropped_tail.</s>": 1, "dropped_tail.<|endoftext|>": 1}
    ]


def test_h1_columns_by_task(build_files: Build) -> None:
    built = build_files("h1-columns-by-task.json")
    assert sorted(built.turns) == [
        ask("is basalt igneous", "yes"),
        ask("what is a moraine", "debris left by ice"),
        ask("what is loess", "wind-blown silt"),
    ]
    assert not built.rejects


def test_i1_expected_completion(build_files: Build) -> None:
    built = build_files("i1-expected-completion.jsonl")
    assert not built.rows
    (reject,) = built.rejects
    assert reject["reason"] == "missing_answer"
    assert "text is also in 'expected completion', 'source_file'" in reject["detail"]


def test_j1_heading_with_colon(build_files: Build, build_config: Build, cli: Cli) -> None:
    built = build_files("j1-heading-with-colon.csv")
    assert 'fields: {prompt: "Ask: now", completion: Reply}' in built.said
    again = built_as_proposed(built.folder / "j1-heading-with-colon.csv", cli, build_config)
    assert sorted(again.turns) == [
        [("user", "it's cold?"), ("assistant", "no it is not")],
        [("user", "it's hot?"), ("assistant", "yes it is")],
    ]


def test_k1_object_of_lists(build_files: Build) -> None:
    built = build_files("k1-object-of-lists.json")
    assert not built.rows
    (reject,) = built.rejects
    assert reject["reason"] == "unknown_shape"
    assert "equally long lists" in reject["detail"]


QUIZ = (
    r"^#Q (?P<question>.+)\n\^ (?P<answer>.+)(?:\nA (?P<A>.+))?(?:\nB (?P<B>.+))?(?:\nC (?P<C>.+))?(?:\nD (?P<D>.+))?"
)


def test_l1_quiz_blocks(build_files: Build) -> None:
    built = build_files("l1-quiz-blocks.txt", **example("Plain text with a pattern"))
    assert sorted(turns[0][1] + " " + turns[1][1] for turns in built.turns) == [
        "Which animal barks? Dog",
        "Which bird cannot fly? Penguin",
    ]
    assert built.rejects == []


def test_parallel_files_as_documented(build_config: Build, tmp_path: Path) -> None:
    (tmp_path / "corpus.en").write_text("Good morning\r\n\nYes\u2028, really.\n")
    (tmp_path / "corpus.de").write_text("Guten Morgen\nLeer\nJa, wirklich.\n")
    source = {"name": "s", "license": "CC0-1.0", "domain": "general", **example("Parallel files")}
    build = {"validation_fraction": 0.0, "max_rejected_fraction": 1.0}
    (tmp_path / "c.yaml").write_text(
        yaml.safe_dump({"name": "d", "output": "out", "sources": [source], "build": build})
    )
    built = build_config(tmp_path / "c.yaml")
    assert sorted((turns[0][1], turns[1][1]) for turns in built.turns) == [
        ("Translate into German: Good morning", "Guten Morgen"),
        ("Translate into German: Yes\u2028, really.", "Ja, wirklich."),
    ]
    assert built.reasons == ["empty_prompt"]


def test_l2_latin_1_line(build_files: Build) -> None:
    built = build_files("l2-latin-1-line.txt", pattern=QUIZ, fields={"prompt": "question", "completion": "answer"})
    assert built.turns == [[("user", "Café?"), ("assistant", "Yes")]]
    assert "read as cp1252" in built.said


def test_m1_answer_and_unit(build_files: Build, build_config: Build, cli: Cli) -> None:
    built = build_files("m1-answer-and-unit.jsonl")
    again = built_as_proposed(built.folder / "m1-answer-and-unit.jsonl", cli, build_config)
    assert again.turns == [[("user", "How far does it fall?"), ("assistant", "3.2 $\\mathrm{m}$")]]


def test_each_source_that_gives_nothing_gets_one_line_with_what_to_do(tmp_path: Path, build_config: Build) -> None:
    names = [
        "b1-headerless-choices.csv",
        "b2-no-answers.jsonl",
        "e1-text-and-category.csv",
        "i1-expected-completion.jsonl",
    ]
    (tmp_path / "good.jsonl").write_text('{"question": "Why?", "answer": "Because."}\n')
    sources = [{"name": "good", "files": ["good.jsonl"]}]
    for name in names:
        shutil.copy(CASES / "files" / name, tmp_path)
        sources.append({"name": name[:2], "files": [name]})
    build = {"validation_fraction": 0.0, "max_rejected_fraction": 1.0}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"name": "d", "output": "out", "sources": sources, "build": build}))
    built = build_config(tmp_path / "c.yaml")
    assert built.exit_code == 0
    told = {name: [line for line in built.said.splitlines() if name in line] for name in names}
    assert [len(lines) for lines in told.values()] == [1, 1, 1, 1]
    b1, b2, e1, i1 = (lines[0] for lines in told.values())
    assert "source 'b1' gave nothing" in b1
    assert "fields: {prompt: column_0, completion: column_5" in b1
    assert "no column looks like its answer" in b2
    assert "classifier" in e1
    assert 'fields: {prompt: "Which category is this?\\n\\n{text}", completion: category}' in e1
    assert "fields: {prompt: prompt, completion: expected completion}" in i1
    assert "nothing to learn" not in built.said
