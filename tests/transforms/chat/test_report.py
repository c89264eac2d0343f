"""What is said of a chat template before the first row is read, and which templates are refused then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.transforms.chat.support import make_tokenizer, refused
from versatune.schemas.errors import ConfigError
from versatune.schemas.template_record import TemplateRecord
from versatune.transforms.chat import time_limit
from versatune.transforms.chat.report import form_lines, refuse_unusable, template_lines
from versatune.transforms.chat.variables import variables_not_given

TURN = "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
CHATML = (
    "{% for m in messages %}"
    + TURN
    + "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SYSTEMLESS = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turns here') }}{% endif %}" + CHATML
BETWEEN = CHATML.replace(
    "'<|im_end|>\n' }}", "'' }}{% if not loop.last or add_generation_prompt %}{{ '<|im_end|>\n' }}{% endif %}"
)
DOUBLING = "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}" + CHATML
NESTED = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}"
    + CHATML
)


def record(tmp_path: Path, template: str, **options: Any) -> TemplateRecord:
    options = {"tokens": "<|im_start|>", "eos": "<|im_end|>"} | options
    return make_tokenizer(tmp_path, template, **options).record().template


def kinds(found: TemplateRecord) -> dict[str, Any]:
    return {kind.kind: kind for kind in found.kinds}


def test_the_record_says_of_every_kind_whether_it_is_learned_or_why_not(tmp_path: Path) -> None:
    found = record(tmp_path, SYSTEMLESS)
    by_kind = kinds(found)
    assert (by_kind["one turn"].learned, by_kind["one turn"].counts) == (True, [])
    assert by_kind["thoughts"].counts == ["template.thoughts_left_out"]
    assert by_kind["system turn"].reason == "template_without_system"
    assert "no system turns here" in by_kind["system turn"].detail
    assert (found.names, found.answer.token, found.answer.appended) == (["default"], "<|im_end|>", False)


def test_two_lines_say_what_can_be_learned_and_what_becomes_of_the_rest(tmp_path: Path) -> None:
    can, cannot = template_lines(record(tmp_path, SYSTEMLESS))
    assert "plain conversations can be learned as they are; <|im_end|> ends an answer" in can
    assert "system turns (such rows are rejected: template_without_system)" in cannot
    assert "thoughts (thoughts that the chat template does not write are not learned)" in cannot


def test_what_is_asked_for_is_done_before_a_kind_is_tried(tmp_path: Path) -> None:
    found = kinds(record(tmp_path, SYSTEMLESS, model={"system": "into_first_user", "thoughts": "drop"}))
    assert (found["system turn"].learned, found["system turn"].counts) == (True, ["template.system_moved"])
    assert found["thoughts"].counts == ["template.thoughts_dropped"]


def test_an_end_that_is_written_between_turns_only_is_said_to_be_appended(tmp_path: Path) -> None:
    found = record(tmp_path, BETWEEN)
    assert (found.answer.token, found.answer.appended) == ("<|im_end|>", True)
    assert "put behind the last one too" in template_lines(found)[0]


def test_a_template_without_an_end_is_said_to_teach_no_stop(tmp_path: Path) -> None:
    found = record(
        tmp_path, "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}", tokens="", eos=""
    )
    assert found.answer.token is None
    assert "teaches the model to stop" in found.no_end
    assert "NO token ends an answer" in template_lines(found)[0]


def test_a_begin_token_that_chat_rows_do_not_have_is_named(tmp_path: Path) -> None:
    assert record(tmp_path, CHATML, bos="<s>", prepends_bos=True).begin_token_left_out == "<s>"
    assert "chat rows begin without <s>" in template_lines(record(tmp_path, CHATML, bos="<s>", prepends_bos=True))[-1]
    assert record(tmp_path, "{{ bos_token }}" + CHATML, bos="<s>", prepends_bos=True).begin_token_left_out is None


def test_variables_that_nobody_gives_are_named_and_those_that_are_given_are_not(tmp_path: Path) -> None:
    template = "{% if persona is defined %}{{ persona }}{% endif %}{{ eos_token if shout else '' }}" + CHATML
    assert record(tmp_path, template, model={"template_variables": {"shout": False}}).variables_not_given == ["persona"]
    assert "given by nobody (model.template_variables): persona" in form_lines(record(tmp_path, template))[-1]


def test_names_that_a_template_sets_itself_are_none_that_it_wants() -> None:
    text = "{% if tools %}{% set a = 1 %}{% endif %}{{ a }}{% generation %}{{ b }}{% endgeneration %}{{ range(3) }}{{ strftime_now('%Y') }}"
    assert variables_not_given(text, ["b"], "x.jinja") == []


def test_a_template_that_wants_what_nobody_gives_is_refused_with_its_words_and_the_names(tmp_path: Path) -> None:
    found = record(tmp_path, "{{ persona.name }}" + CHATML)
    with pytest.raises(
        ConfigError,
        match=r"chat template of model \w+: not even .*one turn: .*'persona' is undefined.*nobody gives: persona;",
    ):
        refuse_unusable(found)
    refuse_unusable(record(tmp_path, CHATML))


def test_a_template_that_is_no_jinja_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "broken.jinja").write_text("{% for m in messages %}\n{{ m.content }\n{% endfor %}")
    model = {"chat_template": str(tmp_path / "broken.jinja")}
    with pytest.raises(ConfigError, match=r"chat template broken\.jinja: line 2 is not Jinja: unexpected '}'"):
        make_tokenizer(tmp_path, CHATML, tokens="<|im_start|>", eos="<|im_end|>", model=model)


@pytest.mark.parametrize("template", [NESTED, DOUBLING], ids=["nested loops", "a macro that calls itself twice"])
def test_a_template_that_never_ends_is_refused(template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limit, "LIMIT_S", 0.5)
    with pytest.raises(
        ConfigError, match=r"chat template of model \w+: .* not come to an end after 0.5 s \(roles: user, assistant\)"
    ):
        make_tokenizer(tmp_path, template, tokens="<|im_start|>", eos="<|im_end|>")


def test_a_macro_that_calls_itself_for_ever_is_refused(tmp_path: Path) -> None:
    found = record(tmp_path, "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}" + CHATML)
    with pytest.raises(ConfigError, match="one turn: the chat template fails with RecursionError"):
        refuse_unusable(found)


def test_a_row_for_which_a_template_never_ends_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loops = "{% if 'forever' in messages[0].content %}" + NESTED.removesuffix(CHATML) + "{% endif %}"
    tokenizer = make_tokenizer(tmp_path, loops + CHATML, tokens="<|im_start|>", eos="<|im_end|>")
    monkeypatch.setattr(time_limit, "LIMIT_S", 0.5)
    reason, detail = refused(tokenizer, [("user", "How long is forever?"), ("assistant", "Long.")])
    assert reason == "template_error"
    assert "has not come to an end" in detail


def test_a_template_that_refuses_some_kinds_is_used_for_the_others_and_quoted_for_these(tmp_path: Path) -> None:
    found = record(
        tmp_path, "{% if messages | length > 2 %}{{ raise_exception('one question, please') }}{% endif %}" + CHATML
    )
    refuse_unusable(found)
    assert kinds(found)["one turn"].learned
    assert "'several turns'" in template_lines(found)[1]
    assert "such rows are rejected: the chat template says: one question, please" in template_lines(found)[1]
