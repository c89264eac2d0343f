"""The judge of masks finds what is wrong with one, and nothing with a right one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.transforms.chat.families import FAMILIES, Family
from tests.transforms.chat.judge import NEEDLESS, REJECTED, RIGHT, UNTRUE, WRONG, Judge
from tests.transforms.chat.kinds import KINDS
from tests.transforms.chat.models import make_model
from tests.transforms.chat.ours import Learned, Ours, Refused

HEAD, END = "<|im_start|>assistant\n", "<|im_end|>"
DIFFERS = frozenset({"template.prompt_differs"})


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    return _judge("yi", tmp_path_factory.mktemp("yi"))


def _judge(name: str, folder: Path) -> Judge:
    family: Family = next(family for family in FAMILIES if family.name == name)
    make_model(folder, family)
    return Judge(family, Ours(folder))


def _written(title: str) -> str:
    """What the template of Yi makes of a conversation without calls."""
    return "".join(f"<|im_start|>{role}\n{text}{END}\n" for role, text in KINDS[title].turns)


def _learned(text: str, *pieces: str, counts: frozenset[str] = frozenset()) -> Learned:
    mask, place = [False] * len(text), 0
    for piece in pieces:
        start = text.index(piece, place)
        place = start + len(piece)
        mask[start:place] = [True] * len(piece)
    return Learned(text, mask, counts)


SAID = [text + END for role, text in KINDS["several turns"].turns if role == "assistant"]


def test_answers_with_their_end_tokens_are_right(judge: Judge) -> None:
    learned = _learned(_written("several turns"), *SAID)
    assert judge.verdict(KINDS["several turns"], learned).outcome == RIGHT


@pytest.mark.parametrize(
    "pieces",
    [
        [SAID[0], SAID[1], SAID[2].removesuffix(END)],
        [SAID[0], SAID[1], SAID[2] + "\n"],
        [SAID[0], SAID[1], HEAD + SAID[2]],
        [SAID[0], "Who paid for it?", SAID[1], SAID[2]],
        [SAID[0], SAID[2]],
        [SAID[0][1:], SAID[1], SAID[2]],
    ],
    ids=["no end", "white space", "header", "a question", "an answer is missing", "a letter is missing"],
)
def test_other_spans_are_wrong(judge: Judge, pieces: list[str]) -> None:
    learned = _learned(_written("several turns"), *pieces)
    assert judge.verdict(KINDS["several turns"], learned).outcome == WRONG


def test_a_text_that_the_template_does_not_write_is_wrong(judge: Judge) -> None:
    learned = _learned("<|startoftext|>" + _written("several turns"), *SAID)
    assert judge.verdict(KINDS["several turns"], learned).detail == "no form renders this text"


def test_a_row_that_is_kept_without_its_tools_is_wrong(judge: Judge) -> None:
    learned = _learned(_written("tools not called"), KINDS["tools not called"].turns[1][1] + END)
    assert judge.verdict(KINDS["tools not called"], learned).detail == "lost: ['tool']"


@pytest.mark.parametrize(
    ("title", "reason", "outcome"),
    [
        ("several turns", "template_rewrites", NEEDLESS),
        ("tools not called", "template_without_tools", REJECTED),
        ("tools not called", "template_without_system", UNTRUE),
    ],
)
def test_a_rejected_row_has_to_be_one_for_the_reason_that_is_given(
    judge: Judge, title: str, reason: str, outcome: str
) -> None:
    assert judge.verdict(KINDS[title], Refused(reason, "")).outcome == outcome


@pytest.mark.parametrize(("counts", "outcome"), [(DIFFERS, RIGHT), (frozenset(), WRONG)])
def test_what_the_prompt_holds_is_not_learned_and_a_text_that_lacks_it_has_to_be_counted(
    counts: frozenset[str], outcome: str, tmp_path: Path
) -> None:
    judge = _judge("olmo-3-think", tmp_path)
    answer = KINDS["one turn"].turns[1][1] + "<|endoftext|>"
    chosen = next(one for one in judge.renderings(KINDS["one turn"]) if one.text.endswith(answer))
    assert judge.verdict(KINDS["one turn"], _learned(chosen.text, answer, counts=counts)).outcome == outcome
