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
    assert found == {}


@pytest.mark.slow
def test_so_it_is_under_every_template_of_the_wheel(tmp_path: Path) -> None:
    try:
        families = wheel_families(wheel_templates())
    except NotFetched as reason:
        pytest.skip(str(reason))
    found = {family.name: not_good(family, tmp_path / family.name) for family in families}
    assert {name: verdicts for name, verdicts in found.items() if verdicts} == {}


def test_there_are_twenty_four_kinds_and_no_two_are_the_same() -> None:
    assert len({(tuple(kind.turns), kind.tools) for kind in KINDS.values()}) == len(KINDS) == 24
