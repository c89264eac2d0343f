"""What is said of rows that fit no shape."""

from __future__ import annotations

from versatune.schemas.config import FieldMap
from versatune.transforms.shapes.base import Row
from versatune.transforms.shapes.field_advice import advice
from versatune.transforms.shapes.field_proposal import propose_fields


def told(rows: list[Row]) -> str:
    """Return the advice on rows."""
    return advice(propose_fields(rows), rows)


def test_a_proposal_is_yaml_and_says_what_it_leaves_out() -> None:
    rows = [{"Ask: now": "hot?", "Reply": "yes it is", "Room": "the kitchen\n\x1b[31m of the house, upstairs"}]
    assert told(rows) == (
        'By names and values of the columns, try: fields: {prompt: "Ask: now", completion: Reply}.'
        " Not used: 'Room' (the kitchen ?[31m of the house...)."
    )


def test_labels_need_a_task_that_is_stated() -> None:
    said = told([{"text": f"Text {n}.", "cat {x}": "returns" if n % 2 else "delivery"} for n in range(9)])
    assert "classifier" in said
    assert 'prompt: "Which cat {{x}} is this?\\n\\n{text}"' in said
    assert "fields: {text: text}" in said


def test_texts_that_all_differ_are_no_classes() -> None:
    rows = [{"source": f"Guten Tag {number}", "target": f"Good day {number}"} for number in range(9)]
    assert "No two columns are surely a prompt and its answer" in advice(propose_fields(rows), rows)


def test_what_stands_inside_a_field_that_is_used_is_not_called_unused() -> None:
    rows = [{"question_stem": "The sun is", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "B"}]
    assert "Not used" not in advice(propose_fields(rows), rows)


def test_turns_without_an_answer_are_called_so() -> None:
    rows = [{"messages": [{"role": "user", "content": "Why?"}], "topic": "law"}]
    assert advice(propose_fields(rows), rows) == "No field beside the turns looks like the answer to them."


def test_questions_without_an_answer_and_alike_columns_are_named() -> None:
    assert told([{"Instruction": "Poach an egg.", "Skill": "Cooking"}]).startswith(
        "'Instruction' asks, and no column looks like its answer. The columns: 'Instruction' (Poach an egg.), 'Skill' (Cooking)."
    )
    assert told([{"q": "Why?", "alt_a": "One.", "alt_b": "Two."}]).startswith(
        "'alt_a', 'alt_b' are alike, and no column says which of them is right."
    )
    assert told([{"question": ["Why?"], "answer": ["So."]}]).startswith("'question', 'answer' hold lists")


def test_of_many_columns_few_are_shown_and_the_line_stays_short() -> None:
    row = {f"observation_field_{n}": f"A longer text about a thing, number {n}, measured by hand." for n in range(9)}
    row["remark"] = "Somebody wrote this remark on all of them, by hand."
    said = told([row] * 9)
    assert said.startswith("'observation_field_0', 'observation_field_1', 'observation_field_2' and 6 more are alike")
    assert "'observation_field_5' (" in said
    assert "and 4 more. Say" in said
    assert len(said) < 650


def test_samples_are_short_and_nobody_s() -> None:
    said = told([{"e-mail": "x", "who": "a@b.org", "card": "4", "n": "4111 1111 1111 1111", "long": "word " * 50}])
    assert "(" not in said.partition("'long' (")[0].partition("The columns: ")[2]
    assert "'long' (word word word word word word...)" in said


def test_a_document_is_said_to_be_one() -> None:
    assert advice(FieldMap(text="story"), [{"story": "x"}]).endswith("pre-training with them: fields: {text: story}")
