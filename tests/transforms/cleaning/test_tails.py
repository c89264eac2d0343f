from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from versatune.transforms.cleaning.tails import count_tail, drop_tails, tail_advice, tail_of, unused_markers
from versatune.transforms.shapes.base import Example, RowError


def chat(*answers: str, rejected: str | None = None) -> Example:
    return Example([turn for said in answers for turn in (("user", "Hi"), ("assistant", said))], rejected=rejected)


MARKERS = [
    "###eos###", "</s>", "<s>", "<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|END_OF_TURN_TOKEN|>", "<end_of_turn>", "<eos>", "<EOS>",
    "<eot>", "<｜end▁of▁sentence｜>", "[END]", "[EOS]", "[end of text]", "### End", "### END ###", "###STOP", "<<END>>", "{{END}}",
    "<|end|>", "[DONE]", "<stop>", "<pad>",
]  # fmt: skip


@pytest.mark.parametrize("marker", MARKERS)
def test_a_marker_at_the_end_is_seen_and_taken_off(marker):
    for between in ("", " ", "\n", "\n\n"):
        assert tail_of(f"Blue.{between}{marker}") == marker
        counts = Counter()
        example = drop_tails(chat(f"Blue.{between}{marker}", f"Red.{marker}{between}{marker}"), [marker], counts)
        assert example == chat("Blue.", "Red.")
        assert counts == {f"dropped_tail.{marker}": 1}


@pytest.mark.parametrize("marker", ["###", "END"])
def test_a_marker_of_plain_signs_stands_apart(marker):
    assert tail_of(f"Blue.\n\n{marker}") == marker
    assert tail_of(f"Blue{marker}") is None


@pytest.mark.parametrize("marker", ["### Human:", "Human:", "User:", "### Instruction:", "Q:"])
def test_the_next_speakers_mark_is_one_on_a_line_of_its_own(marker):
    assert tail_of(f"Blue.\n\n{marker}") == marker
    assert tail_of(f"Blue. {marker}") is None


@pytest.mark.parametrize(
    "text",
    [
        "The token is `</s>`", 'It ends with "<|im_end|>".', "<p>was <s>9.99</s>", "</html>", "</div>", "List<String>", "a[0]", "x = [end]s",
        "### The end of the story", "WEEKEND", "The End", "f(x) #", "C#", "[1]", "{}", "<b>bold</b>", "a |> b", "if x > 0 and y < 5 then z>",
        "[INST]", "", ">", "the end",
    ],
)  # fmt: skip
def test_other_ends_are_no_markers(text):
    assert tail_of(text) is None


@pytest.mark.parametrize(
    "text",
    ["The token </s> ends it.", "</s> is it", "Write `</s>`", "WEEK</s>END", "a</s>b", "Blue.", "    indented"],
)
def test_a_text_that_talks_about_markers_stays(text):
    example = chat(text)
    assert drop_tails(example, ["</s>"], Counter()) is example


def test_a_word_is_not_the_end_of_another():
    assert drop_tails(chat("Nice WEEKEND"), ["END"], Counter()) == chat("Nice WEEKEND")
    assert drop_tails(chat("Nice week. END"), ["END"], Counter()) == chat("Nice week.")
    assert drop_tails(chat("ENDEND"), ["END"], Counter()) == chat("ENDEND")


def test_prompts_stay_and_the_worse_answer_and_documents_do_not():
    example = Example([("user", "Hi</s>"), ("assistant", "Ho</s>")], rejected="Hm</s>")
    assert drop_tails(example, ["</s>"], Counter()) == Example([("user", "Hi</s>"), ("assistant", "Ho")], rejected="Hm")
    assert drop_tails(Example([("text", "A page.</s>")]), ["</s>"], Counter()) == Example([("text", "A page.")])


def test_the_longest_marker_goes_first():
    assert drop_tails(chat("Blue.###eos###"), ["###", " ###eos### "], counts := Counter()) == chat("Blue.")
    assert counts == {"dropped_tail.###eos###": 1}


@pytest.mark.parametrize("text", ["</s>", "</s> </s>", "\u200b</s>"])
def test_an_answer_of_markers_alone_is_empty(text):
    with pytest.raises(RowError) as error:
        drop_tails(chat("Yes.", text), ["</s>"], Counter())
    assert error.value.reason == "empty_answer"
    with pytest.raises(RowError) as error:
        drop_tails(Example([("text", text)]), ["</s>"], Counter())
    assert error.value.reason == "empty_document"


@given(st.lists(st.sampled_from(["</s>", "END", " ", "\n", "a", "<", "/s>"]), max_size=8).map("".join))
def test_dropping_twice_is_dropping_once(text):
    once = drop_tails(chat(f"x{text}"), ["</s>", "END"], Counter())
    assert drop_tails(once, ["</s>", "END"], Counter()) is once


def test_only_the_last_answer_is_counted_and_not_a_call():
    counts = Counter()
    for example in (chat("a</s>", "b"), chat("a", "b</s>"), Example([("user", "x"), ("tool_call", '["</s>"]')])):
        count_tail(example, counts)
    assert counts == {"tail.</s>": 1}


def test_texts_that_end_in_ever_other_tags_do_not_fill_the_books():
    counts = Counter({"clean.x": 1})
    for first in "abcdefghijklmnopqrstuvwxyz":
        for second in "abcdefghij":
            count_tail(chat(f"yes <|{first}{second}|>"), counts)
    assert len(counts) == 65


def test_advice_needs_a_tenth_of_the_answers_and_names_the_option():
    assert tail_advice("s", {"tail.</s>": 9, "clean.x": 100}, 100) is None
    said = tail_advice("s", {"tail.</s>": 9, "tail.<eos>": 1200}, 1300)
    assert said is not None
    assert "1,209 of 1,300 answers" in said
    assert 'drop_tail: ["<eos>","</s>"]' in said


def test_a_marker_that_ended_no_answer_is_named():
    assert list(unused_markers(["</s>", " <eos> "], {"dropped_tail.<eos>": 3})) == ["</s>"]
