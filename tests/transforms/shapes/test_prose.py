"""Texts that say something, told from ids, labels, addresses and numbers."""

from __future__ import annotations

import time

import pytest

from versatune.transforms.shapes.prose import reads_as_prose


@pytest.mark.parametrize(
    "text",
    [
        "This is a remark.",
        "Use addition.",
        "PLEASE DO NOT CALL",
        "see the note on page 4 (Oslo)",
        "- first point here\n- second point",
        "这是一条没有人要求的备注",
        "ข้อความภาษาไทย",
        "यह एक टिप्पणी है।",
        "don't say that o'clock thing",
        'He said: "Go on."',
    ],
)
def test_several_words_are_prose(text: str) -> None:
    """In any script; four words, or two and the end of a sentence."""
    assert reads_as_prose(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "train",
        "en-US",
        "closed book QA",
        "12 March 2021, 10:00",
        "Mon, 12 Jul 2021 10:00:00 GMT",
        "https://example.org/some/long/path?with=a&few=words",
        "0b5d2a8e-44aa-4c7b-9d6e-1f0a2b3c4d5e",
        "data/train/part-00001-of-00004.parquet",
        "My Own File With A Long Name.docx",
        "3.5 + 4.5 = 8.0",
        "a b c d e f g",
        "法律",
        "row_17 user_18 item_19 page_20",
    ],
)
def test_ids_labels_addresses_and_numbers_are_not(text: str) -> None:
    """Nor a title of three words, or the name of a file."""
    assert not reads_as_prose(text)


@pytest.mark.parametrize("piece", ["a", "a ", "-a", "'a", "1", "中", " ", "!", "a1 "])
def test_a_long_text_costs_no_more_than_its_beginning(piece: str) -> None:
    """A megabyte of anything takes no time."""
    text = piece * (10**6 // len(piece))
    start = time.process_time()
    reads_as_prose(text)
    assert time.process_time() - start < 0.05
