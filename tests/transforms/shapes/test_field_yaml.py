"""Lines to paste read back as what they were, whatever a heading holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from versatune.schemas.config import FieldMap, SourceConfig
from versatune.transforms.shapes.columns import columns_of
from versatune.transforms.shapes.conversation import read_examples
from versatune.transforms.shapes.field_yaml import fields_yaml, source_yaml

HEADINGS = [
    "Ask: now", "it's", 'say "hi"', "# no", " led", "trail ", "yes", "null", "~", "1", "1.5", "2020-01-01", "{x}", "{", "}}",
    "a, b", "[a]", "- a", "? a", "! a", "& a", "* a", "| a", "> a", "% a", "@ a", "`a`", "a\nb", "a\tb", "a: ", "a #b", "\u2028", "\x85",
    "\ufeff", "\U0001f600", "问题", "e\u0301", "a\\b", '"a"', "a.b", "a..b", ".", "", "None", "0x1f", "1e3", "=", "<<", "a|b",
]  # fmt: skip
heading = st.one_of(st.sampled_from(HEADINGS), st.text(max_size=12))


@given(st.lists(heading, min_size=2, max_size=2, unique=True))
def test_a_pasted_map_reads_the_columns_that_it_was_made_for(headings: list[str]) -> None:
    row = {headings[0]: "Why?", headings[1]: "Because."}
    prompt, completion = columns_of([row])
    for fields in (
        FieldMap(prompt=prompt.path, completion=completion.path),
        FieldMap(prompt=prompt.slot, completion=completion.slot),
    ):
        line = fields_yaml(fields)
        assert line.isprintable()
        pasted = FieldMap(**yaml.safe_load(line)["fields"])
        assert pasted == fields
        (example,) = read_examples(json.dumps(row).encode(), pasted)
        assert example.messages == [("user", "Why?"), ("assistant", "Because.")]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=80), heading)
def test_a_pasted_source_is_one(uri: str, name: str) -> None:
    (pasted,) = yaml.safe_load(source_yaml(uri, {"header": False, "license": name}))["sources"]
    source = SourceConfig(**pasted)
    assert (source.files, source.header, source.license) == ([uri], False, name)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"prompt": "ask", "completion": "a reply"}, "fields: {prompt: ask, completion: a reply}"),
        ({"prompt": "yes", "completion": "1"}, 'fields: {prompt: "yes", completion: "1"}'),
        (
            {"prompt": "q", "choices": ["a b", "c"], "completion": "{n} {u}", "first_choice": 0},
            'fields: {prompt: q, completion: "{n} {u}", choices: [a b, c], first_choice: 0}',
        ),
    ],
)
def test_plain_names_stay_plain(fields: dict[str, Any], line: str) -> None:
    assert fields_yaml(FieldMap(**fields)) == line
