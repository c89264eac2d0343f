"""Field maps: paths that reach into lists, templates that join fields and text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from versatune.schemas.config import FieldMap
from versatune.transforms.shapes.base import RowError
from versatune.transforms.shapes.conversation import read_examples
from versatune.transforms.shapes.field_paths import has_path, paths_of

ROW: dict[str, Any] = {
    "q": "How far?",
    "number": " 3.2 ",
    "line": "    return x\n",
    "unit": "$\\mathrm{m}$",
    "blank": " ",
    "none": None,
    "evidence": [{"text": "One.", "page": 1}, {"text": None}, {"note": "x"}, {"text": "Two.", "page": 2}],
    "tags": ["a", "b"],
    "accepted": ["first", "second"],
    "code": "\n  if x:\n    y\n",
    "a.b": "dotted",
    "ok": True,
    "year": 1999,
}


def read(row: dict[str, Any] = ROW, **fields: Any) -> list[tuple[str, str]]:
    """Return the turns that a map gives."""
    (example,) = read_examples(json.dumps(row).encode(), FieldMap(**fields))
    return example.messages


def answer(completion: str) -> str:
    """Return the answer that a completion gives."""
    return read(prompt="q", completion=completion)[-1][1]


@pytest.mark.parametrize(
    ("completion", "learned"),
    [
        ("{number} {unit}", "3.2 $\\mathrm{m}$"),
        ("{number} {blank|}", "3.2"),
        ("{blank|} {unit}", "$\\mathrm{m}$"),
        ("{number} {none|} metres", "3.2 metres"),
        ("{number} {none|metres}.", "3.2 metres."),
        ("set {{{number}}}", "set {3.2}"),
        ("Yes: {ok}, in {year}", "Yes: true, in 1999"),
        ("{evidence.text}", "One.\n\nTwo."),
        ("{tags}", "a\n\nb"),
        ("Code:\n{line}", "Code:\n    return x"),
        ("{line}", "    return x"),
        ("Code: {line}", "Code: return x"),
        ("Code:\n{code}", "Code:\n  if x:\n    y"),
        ("{a.b}!", "dotted!"),
        ("a.b", "dotted"),
        ("evidence.0.text", "One."),
        ("evidence.text", "One.\n\nTwo."),
        ("evidence.page", "1\n\n2"),
        ("accepted", "first"),
        ("ok", "true"),
        ("year", "1999"),
    ],
)
def test_an_answer_is_what_the_map_says(completion: str, learned: str) -> None:
    assert answer(completion) == learned


@pytest.mark.parametrize(
    ("completion", "reason", "named"),
    [
        ("{number} {blank}", "empty_answer", "blank"),
        ("{number} {none}", "missing_answer", "none"),
        ("{number} {other}", "missing_answer", "other"),
        ("Answer: {blank|} {none|}", "empty_answer", "blank"),
        ("{evidence} x", "wrong_type", "evidence"),
        ("evidence.other", "missing_answer", "evidence.other"),
        ("evidence.9.text", "missing_answer", "evidence.9.text"),
        ("tags.text", "missing_answer", "tags.text"),
        ("year.text", "missing_answer", "year.text"),
        (f"evidence.{'9' * 5000}.text", "missing_answer", "evidence"),
    ],
)
def test_a_row_without_a_needed_field_is_rejected_by_its_name(completion: str, reason: str, named: str) -> None:
    with pytest.raises(RowError) as caught:
        answer(completion)
    assert caught.value.reason == reason
    assert named in caught.value.detail


def test_context_and_system_are_left_out_where_a_field_of_theirs_is_missing() -> None:
    turns = read(prompt="{q} ({year})", completion="unit", context="{none}: {tags}", system="{blank}")
    assert turns == [("user", "How far? (1999)"), ("assistant", ROW["unit"])]
    turns = read(prompt="q", completion="unit", context="Facts:\n{evidence.text}", system="{none|Be brief.}")
    assert turns[:2] == [("system", "Be brief."), ("user", "Facts:\nOne.\n\nTwo.\n\nHow far?")]


def test_options_may_be_joined_too() -> None:
    row = {"q": "How far?", "x": "3", "y": "4", "key": "2"}
    turns = read(row, prompt="q", choices=["{x} m", "{y} m"], completion="key", first_choice=1)
    assert turns == [("user", "How far?\nA. 3 m\nB. 4 m"), ("assistant", "B. 4 m")]


@pytest.mark.parametrize(
    ("key", "first", "right"),
    [("2", None, "A. 2"), ("2", 1, "B. 3"), ("1", 0, "B. 3"), (0, 0, "A. 2"), (1, 1, "A. 2"), ("B", 1, "B. 3")],
)
def test_a_key_may_count_the_options_from_0_or_1(key: Any, first: int | None, right: str) -> None:
    row = {"q": "Which?", "x": "2", "y": "3", "key": key}
    assert read(row, prompt="q", choices=["x", "y"], completion="key", first_choice=first)[-1][1] == right


@pytest.mark.parametrize("key", ["3", "0", 3, 0])
def test_a_number_beyond_the_options_is_none_of_them(key: Any) -> None:
    with pytest.raises(RowError, match="names none"):
        read(
            {"q": "?", "x": "3", "y": "0", "key": key}, prompt="q", choices=["x", "y"], completion="key", first_choice=1
        )


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"prompt": "{q", "completion": "a"}, "brace at character 0"),
        ({"prompt": "", "completion": "a"}, "without a name"),
        ({"prompt": "q", "completion": {"a": None}}, "in quotes"),
        ({"messages": "{a}{b}"}, "template"),
        ({"prompt": "q", "completion": "a", "choices": "{a} {b}"}, "template"),
        ({"prompt": "q", "completion": "a", "choices": ["a", "{b"]}, "brace"),
        ({"prompt": "q", "completion": "a", "first_choice": 1}, "there are none"),
    ],
)
def test_a_map_that_cannot_be_read_is_refused_before_a_row_is(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        FieldMap(**fields)


def test_the_paths_of_a_map_and_whether_a_row_has_them() -> None:
    fields = FieldMap(prompt="{q} {evidence.text}", completion="{x.y|}", choices=["{q}", "none"], system='"{s}"')
    assert paths_of(fields) == ["q", "evidence.text", "x.y", '"{s}"', "none"]
    assert [path for path in paths_of(fields) if has_path(ROW, path)] == ["q", "evidence.text", "none"]
    assert has_path({"{s}": 1}, '"{s}"')
    assert has_path({"a": [{"b": None}]}, "a.b")
    assert not has_path({"a": [{"c": 1}]}, "a.b")
