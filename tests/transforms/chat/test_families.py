"""The templates of the table are what the tests of the mask take them for."""

from __future__ import annotations

from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from tests.transforms.chat.families import FAMILIES, TEMPLATES, Family

CHAT = [
    {"role": "user", "content": "Who laid the table?"},
    {"role": "assistant", "content": "Ada did."},
    {"role": "user", "content": "And who cleared it?"},
    {"role": "assistant", "content": "Grace, at noon."},
]


def rendered(family: Family, messages: list[dict[str, Any]], *, prompt: bool = False) -> str:
    names = {"eos_token": family.eos[0], **({"bos_token": family.bos} if family.bos else {})}
    return str(
        render_jinja_template([messages], chat_template=family.template(), add_generation_prompt=prompt, **names)[0][0]
    )


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_template_writes_questions_and_answers_in_order(family: Family) -> None:
    text, at = rendered(family, CHAT), 0
    for message in CHAT:
        at = text.index(message["content"], at) + len(message["content"])


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_template_asks_the_assistant_to_go_on_from_the_turns_before(family: Family) -> None:
    asked, text = rendered(family, CHAT[:3], prompt=True), rendered(family, CHAT)
    assert CHAT[2]["content"] in asked
    assert asked[: asked.index(CHAT[2]["content"])] == text[: text.index(CHAT[2]["content"])]


def test_every_file_is_in_the_table_once() -> None:
    named = [file for family in FAMILIES for file in (family.file, family.tool_use) if file]
    assert sorted(named) == sorted(file.name for file in TEMPLATES.iterdir())
