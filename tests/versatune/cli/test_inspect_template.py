"""`versatune inspect --template` shows what a chat template can and cannot express."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from versatune.cli.app import app

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def run(*arguments: Any, code: int = 0) -> Any:
    done = CliRunner().invoke(app, ["inspect", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "chatml.jinja").write_text(CHATML)
    return tmp_path / "chatml.jinja"


def test_a_file_is_tried_with_the_tokens_that_its_text_shows(file: Path) -> None:
    shown = run("--template", file).stdout
    assert "<|im_start|>assistant\n\u27e6Behind the old church.<|im_end|>\u27e7\n" in shown
    assert "chat template chatml.jinja: plain conversations, system turns can be learned as they are" in shown
    assert "no tokenizer: tokens are those that look like some in the text (<|im_end|> <|im_start|>)" in shown
    row = next(line for line in shown.splitlines() if "tools offered" in line and "│" in line)
    assert "no" in row
    assert "the list of tools is not in what the chat template writes" in row


def test_a_model_is_tried_with_its_own_tokens(tiny_model: Path) -> None:
    shown = run("--template", tiny_model).stdout
    assert f"chat template of model {tiny_model}: plain conversations" in shown
    assert "no tokenizer" not in shown


def test_a_file_is_tried_with_a_models_tokens(file: Path, tiny_model: Path) -> None:
    shown = run("--template", file, "--model", tiny_model).stdout
    assert "chat template chatml.jinja: plain conversations" in shown
    assert "no tokenizer" not in shown


def test_a_template_that_comes_with_versatune_is_known_by_its_name() -> None:
    shown = run("--template", "versatune/chatml").stdout
    assert "chat template versatune/chatml: every kind of conversation can be learned" in shown


def test_programs_get_the_record_and_where_learned_texts_stand(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run("--template", file, "--json")
    found = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert found["template"]["answer"] == {"token": "<|im_end|>", "appended": False}
    assert {kind["kind"]: kind["reason"] for kind in found["template"]["kinds"]}[
        "tools offered"
    ] == "template_without_tools"
    example = found["examples"][0]
    assert [example["text"][start:end] for start, end in example["learned"]] == ["Behind the old church.<|im_end|>"]


def test_the_page_needs_nothing_else_and_escapes_what_a_template_writes(file: Path, tmp_path: Path) -> None:
    file.write_text("<script>alert(1)</script>" + CHATML)
    run("--template", file, "--html", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<mark>Behind the old church.&lt;|im_end|&gt;</mark>" in page


def test_what_cannot_be_tried_is_refused_in_one_message(file: Path, tmp_path: Path, tiny_model: Path) -> None:
    assert "either a raw file or --template" in run(code=2).stderr
    assert "either a raw file or --template" in run(file, "--template", file, code=2).stderr
    assert "go with --template" in run(file, "--html", tmp_path / "x.html", code=2).stderr
    assert "there is no folder" in run("--template", tmp_path / "nowhere", code=2).stderr
    assert "there is no such file" in run("--template", tmp_path / "nowhere", "--model", tiny_model, code=2).stderr
    assert "brings no such template" in run("--template", "versatune/nothing", code=2).stderr
    file.write_text("{{ messages")
    assert "chatml.jinja: line 1 is not Jinja" in run("--template", file, code=2).stderr
