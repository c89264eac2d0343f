"""Which field maps are proposed, and for which rows none is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from versatune.schemas.config import FieldMap
from versatune.transforms.shapes.base import Row
from versatune.transforms.shapes.conversation import read_examples
from versatune.transforms.shapes.field_proposal import propose_fields

OPTIONS = [["Venus", "Mars", "Saturn", "Neptune"], ["Iron", "Gold", "Mercury", "Zinc"], ["Two", "Ten", "Six", "Eight"]]
ASKED = ["Which planet is red?", "Which metal is liquid?", "How many legs has a spider?"]
RIGHT = [1, 2, 3]
PLANETS = "Which planet is red?\nA. Venus\nB. Mars\nC. Saturn\nD. Neptune"


def unnamed(*columns: list[Any]) -> list[Row]:
    """Return rows of a file without a header."""
    return [{f"column_{place}": cell for place, cell in enumerate(cells)} for cells in zip(*columns, strict=True)]


def turns(fields: FieldMap | None, row: Row) -> list[tuple[str, str]]:
    """Return what a proposed map makes of a row."""
    assert fields is not None
    (example,) = read_examples(json.dumps(row).encode(), fields)
    return example.messages


OPTION_COLUMNS = [list(column) for column in zip(*OPTIONS, strict=True)]
KEYS: dict[str, list[Any]] = {
    "letters": ["B", "C", "D"],
    "lower case": ["b", "c", "d"],
    "brackets": ["(B)", "(C)", "(D)"],
    "from 0": ["1", "2", "0"],
    "from 1": ["2", "3", "4"],
    "texts": ["Mars", "Mercury", "Eight"],
}


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("place", ["last", "first", "before the options", "before an explanation"])
def test_columns_without_names_with_a_key_are_a_multiple_choice(kind: str, place: str) -> None:
    key = KEYS[kind]
    notes = ["It is red because of its rust.", "It melts at 39 degrees below zero.", "All spiders have as many."]
    rows = {
        "last": unnamed(ASKED, *OPTION_COLUMNS, key),
        "first": unnamed(key, ASKED, *OPTION_COLUMNS),
        "before the options": unnamed(ASKED, key, *OPTION_COLUMNS),
        "before an explanation": unnamed(["1", "2", "3"], ASKED, *OPTION_COLUMNS, key, notes),
    }[place]
    fields = propose_fields(rows)
    assert turns(fields, rows[0]) == [("user", PLANETS), ("assistant", "B. Mars")]
    right = "A. Two" if kind == "from 0" else "D. Eight"
    assert turns(fields, rows[2])[-1] == ("assistant", right)


@pytest.mark.parametrize(
    "names",
    [
        ["Item text", "Alternative 1", "Alternative 2", "Alternative 3", "Alternative 4", "Right one"],
        ["stem", "alt_a", "alt_b", "alt_c", "alt_d", "key"],
        ["Question text", "first", "second", "third", "fourth", "correct"],
    ],
)
def test_columns_that_are_alike_by_name_are_the_options(names: list[str]) -> None:
    rows = [dict(zip(names, cells, strict=True)) for cells in zip(ASKED, *OPTION_COLUMNS, KEYS["letters"], strict=True)]
    fields = propose_fields(rows)
    assert fields == FieldMap(prompt=names[0], choices=names[1:5], completion=names[5])
    assert turns(fields, rows[0]) == [("user", PLANETS), ("assistant", "B. Mars")]


def test_a_question_may_have_fewer_options_than_the_others() -> None:
    rows = unnamed(
        ASKED, OPTION_COLUMNS[0], OPTION_COLUMNS[1], OPTION_COLUMNS[2], ["Neptune", "Zinc", ""], ["B", "C", "A"]
    )
    assert turns(propose_fields(rows), rows[2])[0] == ("user", "How many legs has a spider?\nA. Two\nB. Ten\nC. Six")


PROPOSED: list[tuple[str, list[Row], dict[str, Any]]] = [
    (
        "headings that are sentences",
        [{"What was asked, in full": "Where is it?", "What we replied, in full": "Here."}],
        {"prompt": "What was asked, in full", "completion": "What we replied, in full"},
    ),
    (
        "the answer first",
        [{"Our reply": "It comes on Monday.", "The customer's words": "Where is it?"}],
        {"prompt": "The customer's words", "completion": "Our reply"},
    ),
    (
        "an answer that is missing here and there",
        [{"ask": f"Who is {n}?", "reply": "" if n == 2 else f"Person {n}."} for n in range(4)],
        {"prompt": "ask", "completion": "reply"},
    ),
    (
        "a system text",
        [{"system_prompt": f"You are {n}.", "ask": f"Who is {n}?", "reply": f"Person {n}."} for n in range(4)],
        {"prompt": "ask", "completion": "reply", "system": "system_prompt"},
    ),
    (
        "a question that comes again",
        [{"question_text": "How much?", "final_answer": number, "currency": "euro"} for number in ("5", "7")],
        {"prompt": "question_text", "completion": "{final_answer} {currency}"},
    ),
    (
        "a verdict",
        [{"policy": f"Policy {n}.", "claim": f"Is {n} covered?", "verdict": f"Case {n}."} for n in range(9)],
        {"prompt": "claim", "completion": "verdict", "context": "policy"},
    ),
    (
        "nested",
        [{"data": {"ask": {"q_text": "Why?"}, "reply": "Because."}}],
        {"prompt": "data.ask.q_text", "completion": "data.reply"},
    ),
    ("a document", [{"id": "x", "url": "http://x", "story": "Once upon a time. " * 20}], {"text": "story"}),
    (
        "the right one of two answers",
        [{"ask": "When?", "gold_answer": "In May.", "model_answer": "In June."}],
        {"prompt": "ask", "completion": "gold_answer"},
    ),
    (
        "two columns that ask",
        [{"instruction": "Be brief.", "question_text": "Why?", "gold_answer": "Because."}],
        {"prompt": "{instruction}\n\n{question_text}", "completion": "gold_answer"},
    ),
    (
        "a number beside its unit",
        [{"problem_text": "How far?", "answer_latex": " 3.2 ", "answer_number": "3.2", "unit": "m", "solution": "It falls."}],
        {"prompt": "problem_text", "completion": "{answer_number} {unit}"},
    ),
    (
        "a unit that some rows lack",
        [{"problem": "How far?", "final_answer": 3.5, "units": "m"}, {"problem": "How many?", "final_answer": 4, "units": ""}],
        {"prompt": "problem", "completion": "{final_answer} {units|}"},
    ),
    (
        "an answer beside its turns",
        [{"messages": [{"role": "user", "content": "Why?"}], "ideal": "Because."}],
        {"messages": "messages", "completion": "ideal"},
    ),
    (
        "a question and its answer beside other turns",
        [
            {
                "dialog": [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hi."}],
                "question_text": "Why?",
                "answer": "Because.",
            }
        ],
        {"prompt": "question_text", "completion": "answer"},
    ),
    (
        "documents are no turns",
        [{"question": "Why?", "documents": [{"content": "Long.", "id": "x"}], "gold": "Because."}],
        {"prompt": "question", "completion": "gold", "context": "documents.content"},
    ),
    (
        "options in one field beside a key",
        [{"question_stem": "The sun is", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "B"}],
        {"prompt": "question_stem", "choices": "choices", "completion": "answerKey"},
    ),
    (
        "options that are one text",
        [{"Problem": "How many?", "Rationale": "Two and two. Answer: b", "options": "a ) 3 , b ) 4", "correct": "b"}],
        {"prompt": "{Problem}\n\n{options}", "completion": "Rationale"},
    ),
    (
        "the same task before every text",
        [{"instruction": "Translate.", "source_text": f"Good {n}.", "target_text": f"Bon {n}."} for n in range(9)],
        {"prompt": "instruction", "context": "source_text", "completion": "target_text"},
    ),
    (
        "the same task before every text of an unknown name",
        [{"request": "Translate.", "english": f"Good {n} to you.", "reply": f"Bon {n}."} for n in range(9)],
        {"prompt": "request", "context": "english", "completion": "reply"},
    ),
    (
        "contexts in lists and objects",
        [{"question": "Why?", "answer": "Because.", "documents": [{"snippet": "Long."}], "context": {"city": "Rome", "age": "It was 1820."}}],
        {"prompt": "question", "completion": "answer", "context": "{documents.snippet}\n\n{context.city}\n\n{context.age}"},
    ),
    ("names with accents", [{"Question posée": "Qui ?", "Réponse donnée": "Moi."}], {"prompt": "Question posée", "completion": "Réponse donnée"}),
    (
        "names in the plural",
        [{"inputs_pretokenized": "Which?", "targets_pretokenized": "This."}],
        {"prompt": "inputs_pretokenized", "completion": "targets_pretokenized"},
    ),
    (
        "questions without a header",
        unnamed(["Where is it?", "Can I?"], ["It comes on Monday.", "Yes, within a month."]),
        {"prompt": "column_0", "completion": "column_1"},
    ),
    (
        "answers before questions without a header",
        unnamed(["It comes on Monday.", "Yes, within a month."], ["Where is it?", "Can I?"]),
        {"prompt": "column_1", "completion": "column_0"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "fields"), [case[1:] for case in PROPOSED], ids=[case[0] for case in PROPOSED])
def test_names_and_values_are_evidence(rows: list[Row], fields: dict[str, Any]) -> None:
    found = propose_fields(rows)
    assert found == FieldMap(**fields)
    assert turns(found, rows[0])


@pytest.mark.parametrize(
    "name",
    [
        "expected completion",
        "gold_response",
        "model answer",
        "Expected Output",
        "Ideal response",
        "réponse",
        "modelAnswer",
    ],
)
def test_an_answer_may_have_another_name(name: str) -> None:
    rows = [{"prompt": "When?", name: "In May.", "source_file": "a.txt"}]
    assert propose_fields(rows) == FieldMap(prompt="prompt", completion=name)


NOTHING: list[tuple[str, list[Row]]] = [
    ("no column", [{}]),
    ("numbers alone", [{"id": "1", "score": "3"}]),
    (
        "skills beside instructions",
        [{"Skill": skill, "Difficulty": 2, "Instruction": f"Do {n}."} for n, skill in enumerate(["Cooking", "Travel", "Cooking"])],
    ),
    ("a skill, in one row", [{"Skill": "Cooking", "Instruction": "Poach an egg."}]),
    ("notes beside instructions", [{"Instruction": "Poach an egg.", "Notes": "This is a note."}]),
    ("a category", [{"text": f"Text {n}", "category": f"c{n % 2}"} for n in range(3)]),
    ("many rows of few labels", [{"sentence": f"Clause {n}.", "reply": "fair" if n % 2 else "unfair"} for n in range(20)]),
    ("an answer's type", [{"question": "Why?", "answer_type": "reason"}, {"question": "Who?", "answer_type": "person"}]),
    ("answers that are alike", [{"question_x": "Why?", "response_1": "Because.", "response_2": "Therefore."}]),
    ("options without a key", unnamed(ASKED, *OPTION_COLUMNS)),
    ("a key that counts from 0 or 1", unnamed(ASKED[:2], *[column[:2] for column in OPTION_COLUMNS], ["1", "2"])),
    (
        "an answer beside turns that have one",
        [{"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}], "ideal": "Because."}],
    ),
    ("two answers", [{"ask": "Why?", "first_reply": "Because.", "answer": "Therefore."}]),
    ("answers that ask", [{"prompt": "It is here.", "reply": "Where is it?"}]),
    ("names that say nothing", [{"Text one": "It is here.", "Text two": "Where is it?"}]),
    ("labels without a header", unnamed(["Where?", "Can I?", "Is it?"], ["lost", "rights", "lost"])),
    ("several questions in a row", [{"question": ["Why?", "Who?"], "answer": ["Because.", "Me."]}]),
]  # fmt: skip


@pytest.mark.parametrize("rows", [case[1] for case in NOTHING], ids=[case[0] for case in NOTHING])
def test_nothing_is_proposed_without_evidence(rows: list[Row]) -> None:
    assert propose_fields(rows) is None
