"""Masks under templates and conversations that are drawn at random: what must hold of every one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, event, given, note, settings
from hypothesis import strategies as st
from transformers.utils.chat_template_utils import render_jinja_template

from tests.transforms.chat.generated import LEARNED, LETTERS, TOOLS, Row, Style, has_tools, rows, styles
from tests.transforms.chat.support import encoded, learned, make_tokenizer, runs
from versatune.transforms.chat.verdict import CannotTokenize
from versatune.transforms.reading.tokenize import Tokenizer

QUICK = settings(
    max_examples=30,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each try makes a tokenizer: to shrink a case takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Style, list[Row]]:
    style = draw(styles())
    return style, draw(st.lists(rows(style), min_size=2, max_size=4))


def tokenizer_of(folder: Path, style: Style) -> Tokenizer:
    names = {"plain": style.added, "tokens": ""} if style.plain else {"tokens": style.added}
    return make_tokenizer(folder, style.template(), eos=style.eos, bos="<|begin|>", **names)


def tools_of(row: Row) -> str | None:
    return json.dumps(TOOLS, ensure_ascii=False) if has_tools(row) else None


def rendered(style: Style, messages: list[dict[str, Any]], *, tools: bool, prompt: bool = False) -> str:
    """Return what the template makes of messages, as ``apply_chat_template`` does it."""
    options = {"chat_template": style.template(), "add_generation_prompt": prompt}
    return str(render_jinja_template([messages], tools=TOOLS if tools else None, **options)[0][0])


def written(style: Style, message: dict[str, Any]) -> list[str]:
    """Return the texts of a message as the template writes them, in order."""
    content = message["content"][0]["text"] if style.parts else message["content"]
    calls = [] if style.arguments == "dropped" else message.get("tool_calls", [])
    arguments = [call["function"]["arguments"] for call in calls]
    found = [
        message.get(style.thoughts, "") if style.thoughts else "",
        content.strip() if style.trims else content,
        *(text if isinstance(text, str) else json.dumps(text, ensure_ascii=False) for text in arguments),
    ]
    return [text for text in found if text.strip()]


def edges(style: Style, text: str, messages: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Return where each message's own texts begin and end in a rendering, one after the other."""
    found, place = [], 0
    for message in messages:
        start = -1
        for piece in written(style, message):
            at = text.index(piece, place)
            start, place = (at if start < 0 else start), at + len(piece)
        found.append((start, place))
    return found


def expected_starts(style: Style, row: Row, text: str) -> list[tuple[int, int]]:
    """Return of each of the assistant's turns where it begins to be learned, and where its own texts end.

    It begins where the text leaves the template's own generation prompt for the turns before it; an added token is never cut.
    """
    messages = style.messages(row)
    places = edges(style, text, messages)
    found = []
    for at, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = rendered(style, messages[:at], tools=has_tools(row), prompt=True)
        tail = prompt[edges(style, prompt, messages[:at])[-1][1] :]
        before, (own, end) = places[at - 1][1], places[at]
        shared = common(text[before:own], tail)
        cuts = [
            place
            for token in style.added.split()
            for place in range(before, before + shared)
            if text.startswith(token, place) and place + len(token) > before + shared
        ]
        found.append((min([before + shared, *cuts]), end))
    return found


def common(first: str, second: str) -> int:
    """Return how many characters two texts have in common at their beginning."""
    return next(
        (at for at, (one, other) in enumerate(zip(first, second, strict=False)) if one != other),
        min(len(first), len(second)),
    )


def ends(style: Style, text: str, own_end: int) -> set[str]:
    """Return what may stand in a learned turn behind its own texts."""
    if style.end in ("after", "between"):
        return {text[own_end : text.index("<|end|>", own_end) + len("<|end|>")]}
    closings = {"", "</call>"}
    return closings | {
        closing + token for closing in closings for token in ("<|user|>", "<|tool|>", "<|start|>", "<|stop|>")
    }


@QUICK
@given(case=cases())
def test_a_row_is_learned_by_the_rule_or_rejected_for_a_true_reason(
    case: tuple[Style, list[Row]], tmp_path: Path
) -> None:
    style, drawn = case
    note(style.template())
    tokenizer = tokenizer_of(tmp_path, style)
    for row in drawn:
        note(repr(row))
        reasons = style.reasons(row)
        result = encoded(tokenizer, row, tools_of(row))
        if reasons or isinstance(result, CannotTokenize):
            assert isinstance(result, CannotTokenize), reasons
            assert result.reason in reasons, result.detail
            event(result.reason)
            continue
        event("learned")
        pieces = runs(tokenizer, row, tools_of(row))
        text = "".join(piece for piece, _ in pieces)
        plain = rendered(style, style.messages(row), tools=has_tools(row))
        check_text(style, text, plain)
        check_letters(pieces)
        check_turns(style, row, text, pieces)


def check_text(style: Style, text: str, plain: str) -> None:
    """What is trained on is what the template writes, with the end of the last turn where it stands between turns only."""
    if style.end == "after":
        assert text == plain
    elif style.end == "between":
        assert text.rstrip("\n") == plain.rstrip("\n") + "<|end|>"
    else:
        assert text.startswith(plain.rstrip())
        assert text[len(plain.rstrip()) :].strip() in ("", *style.added.split(), *style.eos.split())


def check_letters(pieces: list[tuple[str, bool]]) -> None:
    """Nothing that somebody else says is learned; everything that the assistant says is."""
    for piece, is_learned in pieces:
        for kind, letters in LETTERS.items():
            if is_learned != (kind in LEARNED):
                assert not set(letters) & set(piece), (
                    f"{kind} is {'learned' if is_learned else 'not learned'}: {piece!r}"
                )


def check_turns(style: Style, row: Row, text: str, pieces: list[tuple[str, bool]]) -> None:
    """Each turn begins where the generation prompt ends, and ends with the token by which the model stops."""
    place, found = 0, []
    for piece, is_learned in pieces:
        if is_learned:
            found.append((place, piece))
        place += len(piece)
    turns = expected_starts(style, row, text)
    assert [start for start, _ in found] == [start for start, _ in turns], found
    for (start, piece), (_, own_end) in zip(found, turns, strict=True):
        assert piece.startswith(text[start:own_end])
        assert piece[own_end - start :] in ends(style, text, own_end), piece


@QUICK
@given(case=cases())
def test_one_turn_and_several_obey_one_rule(case: tuple[Style, list[Row]], tmp_path: Path) -> None:
    style, drawn = case
    note(style.template())
    tokenizer = tokenizer_of(tmp_path, style)
    chats = [turns for row in drawn for turns in exchanges(row) if not style.empty and not has_tools(turns)]
    if style.end == "none" or not chats:
        return
    together = [turn for turns in chats for turn in turns]
    note(repr(together))
    assert learned(tokenizer, together) == [text for turns in chats for text in learned(tokenizer, turns)]


def exchanges(row: Row) -> list[Row]:
    """Return each question of a row with what follows it."""
    starts = [at for at, (role, _) in enumerate(row) if role == "user"]
    return [row[start:end] for start, end in zip(starts, [*starts[1:], len(row)], strict=True)]
