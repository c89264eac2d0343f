"""Plain conversations, for which the template's words are looked for once a shape, are scored as if each were looked at by itself."""

from __future__ import annotations

from typing import Any

import pytest

from tests.transforms.chat.families import FAMILIES, Family
from versatune.transforms.chat.conversations import Chat, ChatPlan
from versatune.transforms.chat.form import Said
from versatune.transforms.chat.spans import Rule
from versatune.transforms.chat.verdict import CannotTokenize

ROWS = [
    [("user", "Hi"), ("assistant", "Yo")],
    [("system", "S s"), ("user", "  a\n b"), ("assistant", "    code\n  x"), ("user", "c"), ("assistant", "d")],
    [("user", "<think>q"), ("assistant", "<think>w</think> e")],
    [("user", "u"), ("assistant", "\ttab")],
    [("user", "user"), ("assistant", "assistant")],
    [("user", "same"), ("assistant", "same"), ("user", "same"), ("assistant", "same")],
]


def rule_of(family: Family) -> Rule:
    named = {"eos_token": family.eos[0]} | ({"bos_token": family.bos} if family.bos else {})
    plan = ChatPlan(templates={"default": family.template()}, special_tokens=named, eos=family.eos)
    return Chat(plan, special=family.tokens, added=(*family.tokens, *family.plain_tokens)).rules[False]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_row_of_a_known_shape_is_scored_as_if_it_were_the_first(family: Family) -> None:
    rule = rule_of(family)
    for row in ROWS:
        said = [Said(role, content, (number,)) for number, (role, content) in enumerate(row)]
        found: list[Any] = []
        for look in (lambda said=said: rule.scored(said, None), lambda said=said: rule._looked_at(said, None, ())[0]):
            try:
                found.append(look())
            except CannotTokenize as verdict:
                found.append(verdict.reason)
        assert found[0] == found[1]


def test_rows_of_a_known_shape_take_the_short_way() -> None:
    rule = rule_of(next(family for family in FAMILIES if family.name == "zephyr"))
    rule.scored([Said("user", "Hi", (0,)), Said("assistant", "Yo", (1,))], None)
    assert rule._frames["user", "assistant"] is not None
