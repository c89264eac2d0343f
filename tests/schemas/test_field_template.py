"""Paths and templates of field maps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from versatune.schemas.field_template import FieldPath, Slot, Template, parse_part, written_path


@pytest.mark.parametrize(
    ("value", "steps"),
    [
        ("a", ("a",)),
        ("question.stem", ("question", "stem")),
        ("items.0.text", ("items", "0", "text")),
        ('meta."a.b".c', ("meta", "a.b", "c")),
        ('"{x}"', ("{x}",)),
        ("Ask: now", ("Ask: now",)),
        ('He said "hi"', ('He said "hi"',)),
        ('"What" she asked', ('"What" she asked',)),
        ("a|b", ("a|b",)),
        (" a ", (" a ",)),
        ("No.", ("No", "")),
    ],
)
def test_a_value_without_braces_is_a_path(value: str, steps: tuple[str, ...]) -> None:
    assert parse_part(value) == FieldPath(value, steps)


@pytest.mark.parametrize(
    ("value", "pieces"),
    [
        ("{a} {b}", [("a", None), " ", ("b", None)]),
        ("{ a }", [("a", None)]),
        ("{a.0.b|}", [("a.0.b", "")]),
        ("{a|not said}!", [("a", "not said"), "!"]),
        ("{{{a}}}", ["{", ("a", None), "}"]),
        ('5" {5" pipe} and {6" pipe}', ['5" ', ('5" pipe', None), " and ", ('6" pipe', None)]),
        ('{"a|b"}{"{c}"|}', [('"a|b"', None), ('"{c}"', "")]),
        ("Line\n{a}", ["Line\n", ("a", None)]),
    ],
)
def test_a_value_with_braces_is_a_template(value: str, pieces: list[str | tuple[str, str | None]]) -> None:
    parsed = parse_part(value)
    assert isinstance(parsed, Template)
    found = [(piece.path.written, piece.default) if isinstance(piece, Slot) else piece for piece in parsed.pieces]
    assert found == pieces


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("", "without a name"),
        ("{}", "without a name"),
        ("a { b", "brace at character 2"),
        ("{a}}", "brace at character 3"),
        ("}", "brace at character 0"),
        ("{a{b}}", "brace at character 0"),
        ("{{a}}", "names no field"),
        ("{|x}", "without a name"),
    ],
)
def test_a_value_that_is_neither_says_what_is_wrong(value: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_part(value)


@given(st.lists(st.text(), min_size=1, max_size=3))
def test_every_field_can_be_named_alone_and_in_a_template(steps: list[str]) -> None:
    written = written_path(*steps)
    assert parse_part(written) == FieldPath(written, tuple(steps))
    template = parse_part(f"<{{{written}}}>")
    assert isinstance(template, Template)
    assert template.pieces == ("<", Slot(FieldPath(written, tuple(steps)), None), ">")
