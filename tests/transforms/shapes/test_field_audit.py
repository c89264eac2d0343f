"""Which fields of a row went into its examples."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from versatune.schemas.config import FieldMap
from versatune.transforms.shapes.base import RowError
from versatune.transforms.shapes.conversation import read_examples
from versatune.transforms.shapes.field_audit import FieldAudit
from versatune.transforms.shapes.noted_row import NotedRow, Renaming
from versatune.transforms.transport.field_counts import FieldCounts

NOTE = "A remark that nobody has asked for."
ASKED, ANSWERED = "How much is a stamp for a letter to Oslo?", "It costs two crowns and fifty."


def audited(*rows: dict[str, Any], fields: FieldMap | None = None) -> FieldCounts:
    """Return what is counted of some rows; those that are rejected among them."""
    audit = FieldAudit(fields)
    for row in rows:
        try:
            read_examples(json.dumps(row).encode(), fields, [], audit)
        except RowError:
            continue
    return audit.counted()


def lost(*rows: dict[str, Any], fields: FieldMap | None = None) -> set[str]:
    """Return the fields of which text with several words is in no example."""
    return {path for path, (_, _, prose) in audited(*rows, fields=fields).fields.items() if prose}


def test_a_row_notes_what_is_read_of_it() -> None:
    """Values are noted; to ask whether a field is there, and to go through the names, is nothing."""
    row = NotedRow({"a": 1, "b": 2, "c": 3, "d": 4})
    assert "a" in row and list(row) == ["a", "b", "c", "d"] and len(row) == 4
    assert row.fields_read == set()
    assert row["b"] == 2 and row.get("d") == 4 and row.get("x") is None
    assert row.fields_read & set(row) == {"b", "d"}
    row.forget()
    assert row.fields_read == set()


@pytest.mark.parametrize(
    "take", [dict, lambda row: {**row}, lambda row: list(row.items()), lambda row: list(row.values())]
)
def test_whoever_takes_all_of_a_row_reads_all(take: Any) -> None:
    """A copy of a row cannot be followed, so nothing of it counts as unused."""
    row = NotedRow({"a": 1, "b": 2})
    take(row)
    assert row.fields_read == {"a", "b"}


def test_a_renamed_row_notes_under_the_written_names() -> None:
    """The shape reads plain names; of two fields with one plain name the last is read."""
    row = NotedRow({"Question": "x", "question": ASKED, "The Answer": ANSWERED})
    plain = row.renamed(Renaming.by(lambda name: name.lower().replace(" ", "_"), row))
    assert plain["question"] == ASKED and plain["the_answer"] == ANSWERED
    assert row.fields_read == {"question", "The Answer"}


def test_fields_are_used_or_not() -> None:
    """Read fields with something in them are used; texts that were not read are unused, with several words or not."""
    row = {
        "instruction": ASKED,
        "input": "",
        "output": ANSWERED,
        "rationale": NOTE,
        "id": "a-17",
        "score": 3,
        "none": None,
    }
    assert audited(row, row).fields == {
        "instruction": [2, 0, 0],
        "output": [2, 0, 0],
        "rationale": [0, 2, 2],
        "id": [0, 2, 0],
    }


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"question": ASKED, "answer": ANSWERED, "explanation": NOTE}, {"explanation"}),
        ({"prompt": ASKED, "completion": ANSWERED, "notes": ["x", NOTE]}, {"notes"}),
        ({"prompt": ASKED, "completion": ANSWERED, "meta": {"by": "us", "why": NOTE}}, {"meta"}),
        ({"Prompt": ASKED, "Completion": ANSWERED, "Some Notes": NOTE}, {"Some Notes"}),
        ({"question": ASKED, "options": ["a", "b"], "answer": "a", "reasoning": NOTE}, {"reasoning"}),
        ({"text": NOTE, "summary_of_it": "It is about a remark that nobody wants."}, {"summary_of_it"}),
        ({"instruction": ASKED, "output": ANSWERED, "备注": "这是一条没有人要求的备注内容。"}, {"备注"}),
    ],
)
def test_a_text_beside_the_known_fields_is_named(row: dict[str, Any], expected: set[str]) -> None:
    """Whatever the shape did not read, by its name in the row."""
    assert lost(row) == expected


@pytest.mark.parametrize(
    "beside",
    [
        {"id": "0b5d2a8e-44aa-4c7b-9d6e-1f0a2b3c4d5e"},
        {"url": "https://example.org/a/b?c=d e f"},
        {"date": "Mon, 12 Jul 2021 10:00:00"},
        {"file": "/home/a b/my own files/2021 - Non Disclosure Agreement.pdf"},
        {"category": "closed book QA"},
        {"lang": "en-US"},
        {"sha": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"tags": ["a", "closed book", "of several words here", "b of them", "c of them"]},
        {"label": 1, "weights": [0.5, 0.5]},
        {"empty": "  \n", "null": None, "nothing": {"a": [None, ""]}},
        {"text": f"Below is an instruction.\n\n### Instruction:\n{ASKED}\n\n### Response:\n{ANSWERED}"},
        {"again": f"  {ANSWERED}\n"},
        {"turns_as_text": [ASKED, ANSWERED]},
    ],
)
def test_what_says_nothing_or_nothing_new_is_not_named(beside: dict[str, Any]) -> None:
    """Ids, addresses, dates, labels, and texts that the example holds already."""
    assert lost({"instruction": ASKED, "output": ANSWERED, **beside}) == set()


def test_a_template_around_all_texts_is_not_a_text_with_more_between_them() -> None:
    """A long passage between prompt and answer is lost, though both stand around it."""
    assert lost({"instruction": ASKED, "output": ANSWERED, "whole": f"{ASKED} {NOTE * 30} {ANSWERED}"}) == {"whole"}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": _turns} | more, expected)
        for _turns, more, expected in [
            ([{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}], {}, set()),
            (
                [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED, "remark": NOTE}],
                {},
                {"messages[].remark"},
            ),
            (
                [
                    {"role": "user", "content": ASKED},
                    {"role": "assistant", "content": ANSWERED, "thinking": f"They ask for the price. {ANSWERED}"},
                ],
                {},
                set(),
            ),
            (
                [
                    {"role": "user", "content": ASKED, "thinking": "I would like to know the price."},
                    {"role": "assistant", "content": ANSWERED},
                ],
                {},
                {"messages[].thinking"},
            ),
            (
                [
                    {"role": "user", "content": ASKED},
                    {
                        "role": "assistant",
                        "content": ANSWERED,
                        "reasoning": NOTE,
                        "reasoning_content": f"{NOTE} Or so.",
                    },
                ],
                {},
                set(),
            ),
            (
                [
                    {"role": "user", "content": [{"type": "text", "text": ASKED}]},
                    {"role": "assistant", "content": ANSWERED},
                ],
                {},
                set(),
            ),
            (
                [{"role": "user", "content": ASKED, "name": "x"}, {"role": "assistant", "content": f" {ANSWERED} "}],
                {"tools": [{"name": "f", "description": f'says "{NOTE}"\n'}]},
                set(),
            ),
        ]
    ],
)
def test_texts_inside_a_field_that_was_read_are_looked_for(row: dict[str, Any], expected: set[str]) -> None:
    """By path; the items of a list share one."""
    assert lost(row) == expected


def test_a_tool_calls_arguments_are_used_whether_written_as_text_or_not() -> None:
    """They are written anew as JSON, so a text in them stands there with its quotes escaped."""
    for arguments in ({"text": f'"{NOTE}"\n'}, json.dumps({"text": f'"{NOTE}"\n'})):
        turns = [
            {"role": "user", "content": ASKED},
            {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]},
            {"role": "tool", "content": ANSWERED, "name": "f"},
            {"role": "assistant", "content": ANSWERED},
        ]
        assert lost({"messages": turns}) == set()


def test_numbered_objects_are_one_path() -> None:
    """MOSS numbers its turns by name; what is left out of each is one field."""
    turns = {
        f"turn_{n}": {
            "Human": f"<|Human|>: {ASKED}<eoh>\n",
            "Inner Remarks": NOTE,
            "MOSS": f"<|MOSS|>: {ANSWERED}<eom>\n",
        }
        for n in (1, 2, 10)
    }
    assert lost({"chat": turns}) == {"chat.turn_*.Inner Remarks"}


def test_the_worse_answers_thoughts_are_not_used() -> None:
    """It is kept for its text alone."""
    sides = {
        side: [{"role": "assistant", "content": said, "reasoning_content": f"{NOTE} That is {side}."}]
        for side, said in (("chosen", ANSWERED), ("rejected", "It is free."))
    }
    assert lost({"prompt": ASKED, **sides}) == {"rejected[].reasoning_content"}


def test_a_template_around_the_texts_says_nothing_new_with_thoughts_or_without() -> None:
    """Publishers render the whole row once more, in either way."""
    row = {"instruction": ASKED, "output": ANSWERED, "thinking": f"They ask for the price. {NOTE * 20}"}
    assert lost({**row, "rendered": f"{ASKED}\n\n{ANSWERED}"}) == set()
    assert lost({**row, "rendered": f"{ASKED}\n\n{row['thinking']}\n\n{ANSWERED}"}) == set()
    assert lost({**row, "rendered": f"{ASKED}\n\n{NOTE * 9}\n\n{ANSWERED}"}) == {"rendered"}


def test_what_one_shape_reads_before_another_takes_the_row_is_not_used() -> None:
    """A row whose turns are a number is read as question and answer, without the tools that conversations have."""
    tools = [{"name": "f", "description": NOTE}]
    counts = audited({"turns": 3, "functions": tools, "question": ASKED, "answer": ANSWERED})
    assert counts.fields == {"question": [1, 0, 0], "answer": [1, 0, 0], "functions": [0, 1, 1]}


def test_a_rejected_row_counts_for_no_field() -> None:
    """It is in the books, with its reason."""
    assert audited({"instruction": ASKED, "output": "", "notes": NOTE}, {"a": NOTE}).fields == {}


def test_mapped_fields_are_counted_in_rejected_rows_too() -> None:
    """A field occurs in a row where its path leads somewhere, be it to null; names are kept to find the nearest."""
    fields = FieldMap(prompt="q", completion="data.a", context="facts")
    counts = audited({"q": None, "data": {"a": None, "b": 1}, "fact": NOTE}, {"q": ASKED, "data": {}}, fields=fields)
    assert counts.mapped == {"q": 2, "data.a": 1, "facts": 0}
    assert {"fact", "data.b"} <= set(counts.fields)
    assert audited(fields=fields).mapped == {}


def test_an_object_that_a_map_opens_in_part_is_looked_into() -> None:
    """What lies beside the mapped field is named by its path."""
    fields = FieldMap(prompt="data.q", completion="data.a")
    assert lost({"data": {"q": ASKED, "a": ANSWERED, "notes": NOTE}}, fields=fields) == {"data.notes"}


def test_a_hostile_row_costs_little() -> None:
    """Thousands of names, very long ones, deep nesting: counted, with few names."""
    deep: Any = NOTE
    for _ in range(100):
        deep = {"d": [deep]}
    row = {"instruction": ASKED, "output": ANSWERED, "deep": deep, "x" * 10**6: NOTE}
    row |= {f"name-{number:05d}": f"{NOTE} {number}" for number in range(5000)}
    counts = audited(row)
    assert len(counts.fields) <= 200
    assert max(map(len, counts.fields)) <= 100
    assert counts.total[1] == 5001


_ROWS = st.lists(
    st.dictionaries(st.sampled_from([*"abcdefgh", "instruction", "output", "notes"]), st.sampled_from(["", "x", ASKED, NOTE, None]), max_size=8),
    max_size=12,
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(_ROWS, st.integers(0, 12))
def test_counts_add_up_however_rows_are_cut(rows: list[dict[str, Any]], cut: int) -> None:
    """Two batches give together what one gives."""
    rows = [{"instruction": ASKED, "output": ANSWERED, **row} for row in rows]
    both = audited(*rows[:cut])
    both.add(audited(*rows[cut:]))
    assert both == audited(*rows)
