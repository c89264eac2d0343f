"""The table of templates and kinds of conversations: every cell is right, or a true reject."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.transforms.chat.families import FAMILIES, Family
from tests.transforms.chat.judge import Judge, Verdict
from tests.transforms.chat.kinds import KINDS
from tests.transforms.chat.models import make_model, wheel_families
from tests.transforms.chat.ours import Ours
from tests.transforms.chat.wheel import NotFetched, wheel_templates

_BEHIND_RESULT = {"text beside a call"}
_QUOTED = {"odd arguments"}
_OPENED = {"inline thoughts", "inline thoughts in all turns"}
_CALLS = {kind for kind, (turns, _) in KINDS.items() if any(role == "tool_call" for role, _ in turns)}
KNOWN: dict[str, set[str]] = {
    # The text beside a call is written behind the call's result, and the end of the result is learned with it.
    **dict.fromkeys(("diffusion_gemma", "diffusion_gemma_training"), _BEHIND_RESULT),
    **dict.fromkeys(("gemma4", "gemma4_v3", "gemma4_v4", "gemma4_v5"), _BEHIND_RESULT),
    # Texts in calls are quoted in the manner of Python, and a row with an apostrophe and a line break there is rejected.
    **dict.fromkeys(("lfm2_2_5_vl", "lfm2_v2", "lfm2_v2_training"), _QUOTED),
    # The template ends one call by no token that ends generation, and two by one: nothing says the first, and the second is not learned.
    "deepseek_r1_distill": _CALLS - {"text beside a call"},
    "deepseek_r1_distill_training": (_CALLS - {"text beside a call", "thoughts beside a call"}) | _OPENED,
    # The prompt opens the thoughts, and what it holds is learned where the source wrote them into the answer.
    "olmo-3-think": _OPENED,
}
"""Cells that are not right yet."""


def not_good(family: Family, folder: Path) -> dict[str, Verdict]:
    """Return the cells of a template that are neither right nor true rejects."""
    make_model(folder, family)
    ours = Ours(folder)
    judge = Judge(family, ours)
    verdicts = {title: judge.verdict(kind, ours.encode(kind)) for title, kind in KINDS.items()}
    return {title: verdict for title, verdict in verdicts.items() if not verdict.good}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_kind_of_conversation_is_learned_rightly_or_truly_rejected(family: Family, tmp_path: Path) -> None:
    found = not_good(family, tmp_path)
    assert set(found) == KNOWN.get(family.name, set()), found


@pytest.mark.slow
def test_so_it_is_under_every_template_of_the_wheel(tmp_path: Path) -> None:
    try:
        families = wheel_families(wheel_templates())
    except NotFetched as reason:
        pytest.skip(str(reason))
    found = {family.name: not_good(family, tmp_path / family.name) for family in families}
    named = {name: set(verdicts) for name, verdicts in found.items() if verdicts}
    known = {family.name: KNOWN[family.name] for family in families if family.name in KNOWN}
    assert named == known, found


def test_there_are_twenty_four_kinds_and_no_two_are_the_same() -> None:
    assert len({(tuple(kind.turns), kind.tools) for kind in KINDS.values()}) == len(KINDS) == 24
