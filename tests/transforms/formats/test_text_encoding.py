"""Text that is not UTF-8."""

from __future__ import annotations

import pytest

from versatune.transforms.formats.text_encoding import as_utf8

TEXTS = [
    ("cp1252", "Frage,Antwort\nWie heißt das Tier?,Bär und Löwe – „groß“\n"),
    ("latin-1", "Où est le café ? Là-bas, près de l'été."),
    ("cp1252", "Käthe wohnt in Köln."),
    ("cp1252", "El niño comió en España mañana."),
    ("cp1252", "Il va à Paris."),
    ("cp1252", "Hyvää päivää"),
    ("cp1251", "Python и SQL для начинающих"),
    ("cp1251", "Какой сегодня день недели? Сегодня понедельник."),
    ("koi8_r", "Какой сегодня день недели? Сегодня понедельник."),
    ("gb18030", "中国的首都是哪里？北京是中国的首都，你是什么人？"),
    ("big5", "這是一個測試，我們在這裡說中文。你的問題是什麼？"),
    ("cp932", "これはテストです。日本語の文章を書いています。"),
    ("euc_jp", "これはテストです。日本語の文章を書いています。"),
    ("cp949", "안녕하세요. 이것은 한국어로 쓴 글입니다. 무엇을 하고 있습니까?"),
]


def decoded(data: bytes, block: int = 7) -> tuple[bytes, list[str]]:
    notes: list[str] = []
    blocks = iter([data[at : at + block] for at in range(0, len(data), block)])
    return b"".join(as_utf8(blocks, notes.append)), notes


@pytest.mark.parametrize(("encoding", "text"), TEXTS)
def test_an_encoding_that_shows_is_found_and_said(encoding: str, text: str) -> None:
    found, notes = decoded(text.encode(encoding))
    assert found.decode() == text
    assert len(notes) == 1


@pytest.mark.parametrize(
    "data",
    [
        "Zażółć gęślą jaźń".encode("cp1250"),
        "příliš žluťoučký kůň".encode("cp1250"),
        "Co się stało? Żółw jest w łódce.".encode("cp1250"),
        "Größe: Käthe wählt die größere Größe.".encode("mac_roman"),
        "Größe: Käthe wählt, José né à Köln.".encode("cp850"),
        "güneş doğdu, çok ılık".encode("cp1254"),
        "Ein schöner Tag, ein größerer noch, über".encode() + b" caf\xe9",
        b"text\nb\xff\n",
        "schön".encode(),
        b"plain",
    ],
)
def test_what_does_not_show_stays_as_it_is(data: bytes) -> None:
    assert decoded(data) == (data, [])
