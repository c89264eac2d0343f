"""Whether a first row names columns, or is a row."""

from __future__ import annotations

import pytest

from versatune.transforms.formats.header import SURE_EVIDENCE, header_evidence


def table(text: str) -> list[list[str]]:
    return [line.split(",") for line in text.split("/")]


@pytest.mark.parametrize(
    "text",
    [
        "question,answer/x,y",
        "Frage,Antwort/Hund,Katze",
        "问题,答案/狗,猫",
        "Question?,Option A,Option B,Correct/Which is it?,one,two,A/Who goes?,x,y,B",
        "user_prompt,modelReply/hello,hi",
        "Stimulus,Gegenrede/Was machst du heute noch so alles?,Ich lese ein gutes Buch heute.",
        "Größe,Gewicht/1,2/3,4",
        "Quiz,A,B,C,D/one,two,three,four,five",
        "Fall,Urteil/e1,ja/e2,nein/e3,ja",
        "English,German/dog,Hund/cat,Katze",
        "0,1/x,y",
        "Docket No.,answer,index/12-3,Yes,0",
        ",Question,A/0,why,because",
    ],
)
def test_names(text: str) -> None:
    assert header_evidence(table(text)) >= SURE_EVIDENCE


@pytest.mark.parametrize(
    "text",
    [
        "The boiling point rises when,pressure rises,pressure falls,A/Which metal is liquid?,Iron,Gold,C",
        "Which metal is liquid,Iron,Gold,b/Which gas is heavy,Neon,Argon,a",
        "capital of Norway,Oslo/capital of Sweden,Stockholm/capital of Spain,Madrid",
        "挪威的首都,奥斯陆/瑞典的首都,斯德哥尔摩/西班牙的首都,马德里",
        "1,Which metal,Iron/2,Which gas,Neon",
        "Water is wet,True/Fire is cold,False",
        "positive,great film/positive,good film",
        "What is rent?,Money",
        "2021-01-02,rain/2021-01-03,sun",
        "Q1,rain/Q2,sun",
    ],
)
def test_rows(text: str) -> None:
    assert header_evidence(table(text)) <= -SURE_EVIDENCE


@pytest.mark.parametrize("text", ["dog,Hund/cat,Katze/house,Haus", "Paris,France/Rome,Italy", "capital of Norway,Oslo"])
def test_where_nobody_can_tell_the_row_is_kept_and_the_doubt_shows(text: str) -> None:
    assert -SURE_EVIDENCE < header_evidence(table(text)) <= 0
