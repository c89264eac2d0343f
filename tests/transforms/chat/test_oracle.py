"""Our masks against the marks that TRL's authors put into their copies of public templates, by hand.

Of every conversation that we keep, the characters that are learned are compared with those that the marks hold. Where the two differ, the
difference stands in :mod:`tests.transforms.chat.disagreements`, with its reason.
"""

from __future__ import annotations

import re
import tempfile
from functools import cache
from pathlib import Path

import pytest

from tests.transforms.chat.disagreements import DISAGREEMENTS, Difference
from tests.transforms.chat.families import Family
from tests.transforms.chat.forms import forms, marked, pieces_and_messages, render
from tests.transforms.chat.judge import FAILURES
from tests.transforms.chat.kinds import KINDS, Kind
from tests.transforms.chat.models import make_model, special_names, wheel_families
from tests.transforms.chat.ours import Learned, Ours, Refused
from tests.transforms.chat.wheel import NotFetched, wheel_templates

MARKS = re.compile(r"\{%-?\s*generation\b")
MARKED = [
    *("cohere2_training", "cohere_training", "deepseek_r1_distill_training", "deepseekv3_training"),
    *("diffusion_gemma_training", "gemma3_training", "gemma_training", "glm4moe_training", "gptoss_training"),
    *("idefics3_training", "lfm2_2_5", "lfm2_2_5_v2", "lfm2_2_5_vl", "lfm2_training", "lfm2_v2_training"),
    *("llama3_training", "llava_next_training", "muse_glimmer_training", "nemotron_3_5_lightning_training"),
    *("nemotron_3_nano_training", "nemotron_3_super_training", "nemotron_3_ultra_training", "phi3_5_training"),
    *("phi3_training", "qwen2_5_training", "qwen2_5_vl_training", "qwen3_5_nothink_training", "qwen3_5_think_training"),
    *("qwen3_6_training", "qwen3_8_training", "qwen3_instruct_2507_training", "qwen3_training", "qwen3_vl_training"),
    "smolvlm_training",
]
ORIGINALS = [name.removesuffix("_training") for name in MARKED if name.endswith("_training")]


@pytest.fixture(scope="module")
def families() -> dict[str, Family]:
    try:
        return {family.name: family for family in wheel_families(wheel_templates())}
    except NotFetched as reason:
        pytest.skip(str(reason))


@cache
def ours(family: Family) -> dict[str, Learned | Refused]:
    """Return what we make of each kind of conversation."""
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder), family)
        tokenizer = Ours(Path(folder))
        return {name: tokenizer.encode(kind) for name, kind in KINDS.items()}


def theirs(family: Family, kind: Kind, text: str) -> list[tuple[int, int]] | None:
    """Return the characters that the marks hold, in the form in which the template gives this text (or all but a last end token)."""
    for form in forms(kind):
        _, messages, tools = pieces_and_messages(kind, form, lambda number, value: value)
        try:
            rendered, spans = marked(family.template(), messages, tools, special_names(family))
        except FAILURES:
            continue
        if text == rendered or (text.startswith(rendered) and text[len(rendered) :] in family.eos):
            return spans
    return None


def differences(learned: Learned, spans: list[tuple[int, int]]) -> set[Difference]:
    """Return the runs of characters that one side alone learns."""
    held = [any(start <= at < end for start, end in spans) for at in range(len(learned.text))]
    found: set[Difference] = set()
    side, run = "", ""
    for character, here, there in [*zip(learned.text, learned.mask, held, strict=True), ("", False, False)]:
        now = "ours" if here and not there else "trl" if there and not here else ""
        if now != side:
            found |= {Difference(side, run)} if side else set()
            side, run = now, ""
        run += character
    return found


@pytest.mark.parametrize("name", MARKED)
def test_what_we_learn_is_what_the_marks_hold_but_for_what_is_listed(name: str, families: dict[str, Family]) -> None:
    found: dict[Difference, list[str]] = {}
    compared = []
    for title, learned in ours(families[name]).items():
        if isinstance(learned, Refused):
            continue
        spans = theirs(families[name], KINDS[title], learned.text)
        assert spans is not None, f"{title}: no form of the conversation gives this text"
        compared.append(title)
        for difference in differences(learned, spans):
            found.setdefault(difference, []).append(title)
    assert len(compared) >= 12
    listed = DISAGREEMENTS.get(name, [])
    assert found == {Difference(one.by, one.text): one.kinds(compared) for one in listed}


@pytest.mark.parametrize("name", ORIGINALS)
def test_an_original_that_writes_the_same_texts_is_learned_alike(name: str, families: dict[str, Family]) -> None:
    original, copy = families[name], families[f"{name}_training"]
    for title, kind in KINDS.items():
        if same_texts(original, copy, kind):
            assert ours(original)[title] == ours(copy)[title], title


def same_texts(one: Family, other: Family, kind: Kind) -> bool:
    """Say whether two templates write the same of a conversation, and the same prompts on its way, in every form that either takes."""
    for form in (form for form in forms(kind) if form.ids == "own"):
        _, messages, tools = pieces_and_messages(kind, form, lambda number, value: value)
        acts = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
        for end, prompt in [(len(messages), False), *((act, True) for act in acts)]:
            texts = {written(family, messages[:end], tools, prompt=prompt) for family in (one, other)}
            if len(texts) > 1:
                return False
    return True


def written(family: Family, messages: list[dict[str, object]], tools: object, *, prompt: bool) -> str | None:
    try:
        return render(family.template(), messages, tools, special_names(family), prompt=prompt)
    except FAILURES:
        return None


def test_every_marked_template_of_the_wheel_is_compared(families: dict[str, Family]) -> None:
    assert [name for name, family in families.items() if MARKS.search(family.template())] == MARKED
