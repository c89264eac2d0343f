"""Whether the first row of a table of texts names its columns: evidence from every column, weighed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

_NAMES = frozenset(
    """
    id idx index number key uid uuid label labels question questions answer answers prompt completion instruction input
    output response responses reply context query category topic title content system user assistant source target name class
    type domain subject option options choice choices explanation reason date time timestamp url link description summary
    message messages conversation sentence sentences document text lang language score rating rank level difficulty tag tags
    intent utterance command code solution hint passage paragraph article body abstract author word words term definition
    meaning translation front back example examples country city capital column row value count split group comment comments
    review reviews sentiment correct wrong premise hypothesis entailment gold prediction reference references file filename
    status year month day email phone address price age gender
    english german french spanish italian portuguese dutch swedish polish russian chinese japanese korean arabic hindi turkish
    frage fragen antwort antworten thema titel kategorie eingabe ausgabe anweisung aufgabe loesung lösung erklärung begriff
    wort übersetzung quelle ziel satz sprache deutsch englisch land stadt hauptstadt nummer name
    pregunta preguntas respuesta respuestas texto título tema categoría entrada salida instrucción fuente español inglés
    réponse réponses texte titre catégorie entrée sortie consigne français anglais domanda risposta testo titolo pergunta resposta
    вопрос ответ текст тема категория заголовок перевод 问题 問題 答案 回答 题目 題目 选项 選項 解析 输入 輸入 输出 輸出 指令
    标签 標籤 类别 類別 文本 标题 標題 内容 內容 中文 英文 质问 質問 答え 入力 出力 文章 説明 질문 답변 답 정답 문제 입력 출력
    """.split()  # noqa: SIM905
)
_WORD = re.compile(r"[^\W_]+", re.UNICODE)
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
_CAMEL = re.compile(r"(?<=[a-z\d])(?=[A-Z])")
_IDENTIFIER = re.compile(r"[^\W\d]\w*_\w+|[a-z]+(?:[A-Z][a-z\d]*)+|[a-z]\w*(?:\.\w+)+")
_SENTENCE_ENDS = (".", "!", "?", "。", "！", "？", "…", ":")
SURE_EVIDENCE = 1.0
"""With less of it, either way, the first row may be the other."""
_LONGEST_NAME = 64
_SENTENCE_WORDS = 4
_KINDS = [
    ("number", re.compile(r"[-+]?(?=[.,]*\d)[\d.,]+(e[-+]?\d+)?%?", re.IGNORECASE)),
    ("letter", re.compile(r"\(?[A-Ha-h][.)]*")),
    ("date", re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T]\d{1,2}:\d\d.*)?")),
    ("truth", re.compile(r"(?i:true|false|yes|no|ja|nein|si|sí|oui|non|y|n|t|f)")),
    ("address", re.compile(r"https?://\S+|[^@\s]+@[^@\s]+\.\w+")),
    ("code", re.compile(r"(?i:[a-z]{1,8}[-_:#]?\d[\w-]*)")),
]


def header_evidence(sample: Sequence[Sequence[str]]) -> float:
    """Weigh whether the first of some rows names the columns: above 0 it does, below it is a row, and near 0 nobody can tell.

    A column speaks for names where its first cell is a usual name (``question``, ``Antwort``), is written like one
    (``user_prompt``), ends no sentence where all cells below it do, is of another kind than those (a word over numbers,
    letters, dates), much shorter, in other letter case, or none of the few values that come again below. It speaks against
    them where the first cell is a number, a sentence, long or empty (the first may be: an index), comes again below, is of
    the kind of those below (a letter over letters), or is built of the same words (``capital of Norway`` over ``capital of
    Sweden``).
    """
    first = [cell.strip() for cell in sample[0]]
    while first and not first[-1]:
        first.pop()
    if not first:
        return -1.0
    if first == list(map(str, range(len(first)))):
        return 1.0
    columns = [[row[at].strip() for row in sample[1:] if len(row) > at and row[at].strip()] for at in range(len(first))]
    evidence = sum(map(_of_column, range(len(first)), first, columns))
    return evidence + _of_letters(first, columns)


def _of_column(place: int, cell: str, below: list[str]) -> float:
    if not cell:
        return -2.0 if place else 0.0
    return _as_name(cell, below) + _beside(cell, below)


def _as_name(cell: str, below: list[str]) -> float:
    """Weigh the cell alone."""
    words = [word.casefold().rstrip("0123456789") for word in _WORD.findall(_CAMEL.sub(" ", cell))]
    if len(cell) > _LONGEST_NAME or "\n" in cell:
        return -2.0
    if cell.casefold() in _NAMES:
        return 3.0
    evidence = 0.0
    if words and len(words) <= _SENTENCE_WORDS and (words[-1] in _NAMES or (len(words) == 2 and words[0] in _NAMES)):
        evidence += 1.5
    elif cell.endswith(_SENTENCE_ENDS):
        evidence -= 2.0 if len(words) > 1 else 0.5
    if _is_identifier(cell) and 2 * sum(map(_is_identifier, below)) <= len(below):
        evidence += 1.5
    if not below and len(words) >= _SENTENCE_WORDS:
        evidence -= 1.0
    return evidence


def _is_identifier(cell: str) -> bool:
    return len(cell) <= _LONGEST_NAME and _IDENTIFIER.fullmatch(cell) is not None


def _beside(cell: str, below: list[str]) -> float:
    """Weigh the cell against those below it."""
    kind = _kind(cell)
    if kind == "number":
        return -3.0 if not below or "number" in set(map(_kind, below)) else -1.0
    if not below:
        return 0.0
    if cell in below:
        return -3.0
    kinds = set(map(_kind, below))
    if kinds == {kind} and kind:
        return -3.0
    if "" not in kinds:
        return 2.5 if len(below) > 1 else 1.5
    if len(below) >= 6 and 3 * len(set(below)) <= len(below):
        return 1.5  # a row would have one of the few values
    return _of_form(cell, below)


def _of_form(cell: str, below: list[str]) -> float:
    tokens = _TOKEN.findall(cell)
    rows = [_TOKEN.findall(text) for text in below]
    if len(tokens) > 1 and 2 * sum(2 * _common_ends(tokens, row) >= len(tokens) for row in rows) >= len(rows):
        return -3.0
    evidence = 0.0
    lengths = sorted(map(len, below))
    if lengths[0] > 2 * len(cell):
        evidence += 1.5
    elif median(lengths) > 3 * len(cell):
        evidence += 1.0
    elif len(tokens) >= _SENTENCE_WORDS and median(map(len, rows)) <= 2 * len(tokens):
        evidence -= 1.5
    if len(below) > 1 and all(text.endswith(_SENTENCE_ENDS) for text in below) and not cell.endswith(_SENTENCE_ENDS):
        evidence += 2.0
    if len(below) > 2 and {text[0].isupper() for text in below} == {not cell[0].isupper()} and cell[0].isalpha():
        evidence += 1.0
    return evidence


def _of_letters(first: list[str], columns: list[list[str]]) -> float:
    """Weigh letters that follow each other in the first row: names of options (``A,B,C,D``), unless letters stand below them."""
    named = [
        cell.casefold()
        for cell, below in zip(first, columns, strict=True)
        if len(cell) == 1 and not any(_kind(text) == "letter" for text in below)
    ]
    follow = sum(ord(after) == ord(before) + 1 for before, after in pairwise(named))
    return 1.5 * follow


def _common_ends(one: list[str], other: list[str]) -> int:
    """Count the tokens with which both begin, and those with which both end."""
    shorter = min(len(one), len(other))
    front = next((at for at in range(shorter) if one[at] != other[at]), shorter)
    back = next((at for at in range(shorter - front) if one[-1 - at] != other[-1 - at]), shorter - front)
    return front + back


def _kind(cell: str) -> str:
    return next((name for name, pattern in _KINDS if pattern.fullmatch(cell)), "")
