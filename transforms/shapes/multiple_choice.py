"""Multiple choice: a question, options and the right one become a question with lettered options and "B. its text".

Layouts: ARC's ``{"question": {"stem", "choices": [{"label", "text"}]}, "answerKey"}``; ``choices`` or ``options`` as
``{"label": [...], "text": [...]}`` or as a list of texts; columns ``A``, ``B``, ``C``, ... ; columns ``choice_0``,
``choice_1``, ... . The answer is a label, an option's text, or for options without labels a position from 0.
"""

from __future__ import annotations

from typing import Any

from transforms.shapes.base import Message, Row, RowError, first_field, joined, text, type_name

_QUESTIONS = ("question", "query")
_ANSWERS = ("answerkey", "answerKey", "answer", "gold", "label")
_LETTERS = "ABCDEFGHIJ"
_CONTEXTS = ("passage", "context")


def matches(row: Row) -> bool:
    """Say whether there are a question, options and an answer."""
    question = first_field(row, _QUESTIONS)
    if question is None or not any(name in row for name in _ANSWERS):
        return False
    nested = row[question]
    return (
        "choices" in row or "options" in row or "choice_0" in row or ("A" in row and "B" in row)
        or ("a" in row and "b" in row) or (isinstance(nested, dict) and "choices" in nested)
    )  # fmt: skip


def to_messages(row: Row) -> list[Message]:
    """Return the question with its options, and the right option."""
    name = str(first_field(row, _QUESTIONS))
    question: Any = row[name]
    listed = first_field(row, ("choices", "options"))
    if isinstance(question, dict):
        labels, options = _listed(question.get("choices"))
        question = question.get("stem")
    elif listed:
        labels, options = _listed(row[listed])
    else:
        labels, options = _columns(row)
    answer_field = str(first_field(row, _ANSWERS))
    right = _position(row[answer_field], labels, options, answer_field)
    letters = labels or list(_LETTERS[: len(options)])
    lines = [_lettered(letter, option) for letter, option in zip(letters, options, strict=True)]
    prompt = text(question, "prompt", name).strip()
    if prompt:
        prompt = "\n".join([joined([_context(row), prompt]), *lines])
    return [("user", prompt), ("assistant", lines[right])]


def _context(row: Row) -> str:
    field = first_field(row, _CONTEXTS)
    return text(row[field], "prompt", field) if field and row[field] else ""


def _listed(value: Any) -> tuple[list[str] | None, list[str]]:
    """Return labels (None if the options have none) and texts."""
    if isinstance(value, dict):
        labels, options = value.get("label"), value.get("text")
    elif isinstance(value, list) and all(isinstance(option, dict) for option in value):
        labels, options = [option.get("label") for option in value], [option.get("text") for option in value]
    else:
        labels, options = None, value
    if labels is not None:
        labels = _texts(labels)
        if len(labels) != len(_texts(options)):
            raise RowError("bad_choices", f"there are {len(labels)} labels for {len(_texts(options))} options")
    return labels, _texts(options)


def _columns(row: Row) -> tuple[list[str] | None, list[str]]:
    if "choice_0" in row:
        names = [f"choice_{number}" for number in range(len(_LETTERS)) if f"choice_{number}" in row]
        return None, _texts([row[name] for name in names])
    first = "A" if "A" in row else "a"
    names = [letter if first == "A" else letter.lower() for letter in _LETTERS]
    names = [name for name in names if row.get(name) not in (None, "")]
    return [name.upper() for name in names], _texts([row[name] for name in names])


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise RowError("bad_choices", f"the options or their labels are {type_name(value)}; expected a list of texts")
    if len(value) > len(_LETTERS):
        raise RowError("bad_choices", f"there are {len(value)} options; expected at most {len(_LETTERS)}")
    return value


def _position(answer: Any, labels: list[str] | None, options: list[str], field: str) -> int:
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if answer is None:
        raise RowError("missing_answer", f"field '{field}' is null; expected the right option")
    if isinstance(answer, str):
        answer = answer.strip()
        for names in (labels or [], options, list(_LETTERS[: len(options)]) if labels is None else []):
            if answer in names:
                return names.index(answer)
    digits = isinstance(answer, str) and answer.isascii() and answer.isdigit() and len(answer) < 3
    if labels is None and (digits or type(answer) is int) and 0 <= int(answer) < len(options):
        return int(answer)
    raise RowError("bad_choices", f"field '{field}' names none, or several, of the {len(options)} options")


def _lettered(letter: str, option: str) -> str:
    option = option.strip()
    already = any(option.startswith(mark) for mark in (f"{letter}.", f"{letter})", f"({letter})"))
    return option if already else f"{letter}. {option}"
