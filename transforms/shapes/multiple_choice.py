"""Multiple choice: a question, options and the right one become a question with lettered options and "B. its text".

Layouts: ARC's ``{"question": {"stem", "choices": [{"label", "text"}]}, "answerKey"}``; ``choices``, ``options`` or
``endings`` as ``{"label": [...], "text": [...]}``, as ``{"A": ..., "B": ...}``, or as a list of texts; columns ``A``,
``B``, ... ; columns ``opa``, ``choice_0``, ``option1``, ``option_a``, ``answerA``, ``sol1`` and so on. The answer is a
label, a column's name or number, an option's text, or for options without labels a position from 0; a list names
several right options.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any, NamedTuple

from versatune.transforms.shapes.asked import Asked, asked
from versatune.transforms.shapes.base import (
    Example,
    OtherShapeError,
    Row,
    RowError,
    first_field,
    has_any,
    is_blank,
    joined,
    system_turn,
    text,
    type_name,
)

NAME = "multiple_choice"
_QUESTIONS = ("question", "query", "goal", "sentence", "ctx", "premise", "stem")
_PROMPTS = ("problem", "input", "text", "prompt", "instruction")  # beside these ``options`` may be something else
_ANSWERS = (
    "answerkey",
    "answerKey",
    "answer_key",
    "answer_idx",
    "cop",
    "answer",
    "gold",
    "label",
    "correct",
    "correct_option",
    "correct_answer",
    "target",
    "output",
    "response",
    "completion",
    "solution",
)
_LISTS = ("choices", "options", "endings")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MAX_OPTIONS = len(_LETTERS)
_DIGITS = tuple("0123456789")
_NUMERAL = re.compile(r"\s*[0-9]{1,3}\s*")


def _named(prefix: str, marks: str) -> tuple[str, ...]:
    return tuple(prefix + mark for mark in marks)


_COLUMNS: tuple[tuple[str, ...], ...] = (
    tuple(_LETTERS[:10]), tuple(_LETTERS[:10].lower()), _named("op", "abcdefgh"), _named("choice_", "0123456789"),
    _named("choice", "123456789"), _named("option", "123456789"), _named("option_", "123456789"),
    _named("option_", "abcdefgh"), _named("option_", "ABCDEFGH"), _named("option", "ABCDEFGH"),
    _named("answer", "ABCDEFGH"), _named("choice", "ABCDEFGH"), _named("sol", "12"), _named("ending", "0123456789"),
)  # fmt: skip


class _Options(NamedTuple):
    texts: list[str]
    labels: list[str]
    """What an answer may call each option; empty where options have no labels of their own."""
    first: int | None = None
    """The number by which an answer calls the first option; None if numbers say nothing."""


def matches(names: Container[str]) -> bool:
    """Say whether there are a question and options."""
    if not has_any(names, _QUESTIONS):
        return has_any(names, _PROMPTS) and has_any(names, _LISTS)
    if "answerkey" in names or "answerKey" in names or "answer_key" in names or has_any(names, _LISTS):
        return True
    return any(columns[0] in names and columns[1] in names for columns in _COLUMNS)


def to_examples(row: Row) -> list[Example]:
    """Return the question with its options, and the right option."""
    field = (
        "premise"
        if row.get("question") in ("cause", "effect") and "premise" in row
        else first_field(row, (*_QUESTIONS, *_PROMPTS))
    )
    field = str(field)
    question: Any = row[field]
    where = field
    nested = question if isinstance(question, dict) else {}
    if "choices" in nested:
        options = _listed(nested["choices"])
        question, where = nested.get("stem"), f"{field}.stem"
    else:
        listed = first_field(row, _LISTS)
        if field in _PROMPTS and not _are_options(row[listed] if listed else None):
            raise OtherShapeError("bad_choices", f"'{listed}' beside '{field}' is no list of texts to choose from")
        if listed and row[listed] and isinstance(row[listed], str):
            raise OtherShapeError("bad_choices", f"'{listed}' is text; expected a list of options")
        options = _listed(row[listed]) if listed and row[listed] not in (None, "") else _columns(row)
    answer = first_field(row, _ANSWERS)
    if answer is None:
        raise RowError(
            "missing_answer", f"no field of a usual name names the right one of the {len(options.texts)} options"
        )
    if field == "premise" and "question" in row:  # COPA
        question = f"{question}\nWhat was the {row['question']}?"
    prompt = text(question, "prompt", where).strip()
    right = positions(row[answer], options, answer)
    found = (
        asked(row, field, prompt, (answer, "question" if field == "premise" else None))
        if not is_blank(prompt)
        else Asked("", "")
    )
    if found.after:
        found = Asked(found.before, joined((found.question, found.after)))
    return [Example([*system_turn(row), *_turns(found.question, found.before, options, right)])]


def choice_turns(prompt: str, choices: Any, answer: Any, field: str, first: int | None = None) -> list[tuple[str, str]]:
    """Return the turns of a question whose options and answer a field map names; like :func:`to_examples`.

    With ``first``, an answer that is a number is never an option's text: it counts the options from there.
    """
    options = _listed(choices)
    if first is not None:
        options = options._replace(first=0)
        if _is_number(answer) or (isinstance(answer, str) and _NUMERAL.fullmatch(answer)):
            answer = int(answer) - first
    return _turns(prompt.strip(), "", options, positions(answer, options, field))


def _turns(prompt: str, context: str, options: _Options, right: list[int]) -> list[tuple[str, str]]:
    if any(is_blank(options.texts[number]) for number in right):
        raise RowError("bad_choices", "the right option is blank")
    letters = options.labels if _are_shown(options) else list(_LETTERS[: len(options.texts)])
    if options.texts == list(_LETTERS[: len(options.texts)]):  # the options stand in the question already
        written = [_written(prompt, letter) for letter in options.texts]
        return [("user", joined([context, prompt])), ("assistant", "\n".join(written[number] for number in right))]
    lines = [_lettered(letter, option) for letter, option in zip(letters, options.texts, strict=True)]
    if not is_blank(prompt):
        prompt = "\n".join([joined([context, prompt]), *lines])
    return [("user", prompt), ("assistant", "\n".join(lines[number] for number in right))]


def _are_shown(options: _Options) -> bool:
    """Say whether the labels are those to show: short, and no numbers of columns."""
    labels = options.labels
    return bool(labels) and all(len(label) <= 2 for label in labels) and (labels[0].isalpha() or options.first is None)


def _listed(value: Any) -> _Options:
    labels: Any = None
    if isinstance(value, dict) and "text" in value:
        labels, options = value.get("label"), value["text"]
    elif isinstance(value, dict):
        kept = {label: option for label, option in value.items() if option is not None}
        labels, options = list(kept), list(kept.values())
    elif isinstance(value, list) and value and all(isinstance(option, dict) for option in value):
        labels = [first_of(option, ("label", "key", "id")) for option in value]
        options = [first_of(option, ("text", "content", "value")) for option in value]
        labels = None if all(label is None for label in labels) else labels
    else:
        options = value
    options = _texts(options)
    if labels is None:
        return _Options(options, [], 0)
    if len(_texts(labels)) != len(options):
        raise RowError("bad_choices", f"there are {len(labels)} labels for {len(options)} options")
    return _Options(options, labels)


def _are_options(value: Any) -> bool:
    """Say whether these are plainly options: several texts, or texts by letter."""
    if isinstance(value, dict):
        return len(value) > 1 and all(len(label) == 1 and isinstance(option, str) for label, option in value.items())
    return isinstance(value, list) and len(value) > 1 and all(isinstance(option, str) for option in value)


def first_of(value: dict[str, Any], names: tuple[str, ...]) -> Any:
    """Return the first of these that is there, or None."""
    return next((value[name] for name in names if value.get(name) is not None), None)


def _columns(row: Row) -> _Options:
    for columns in _COLUMNS:
        if columns[0] in row and columns[1] in row:
            names = [name for name in columns if row.get(name) not in (None, "")]
            texts = _texts([str(row[name]) if _is_number(row[name]) else row[name] for name in names])
            marks = [name[-1].upper() for name in names]
            if columns[0] == "opa":
                return _Options(texts, marks, _first_cop(row))
            if columns[0] == "answerA":
                return _Options(texts, marks, 1)  # Social IQa counts its labels from 1
            return _Options(texts, marks, 0 if marks[0] in _DIGITS else None)
    raise RowError("bad_choices", "the options are null; expected a list of texts")


def _first_cop(row: Row) -> int:
    """Return from where MedMCQA's ``cop`` counts.

    Its authors count from 1. The copy on the Hugging Face hub counts from 0; there, ``cop`` stands after the options.
    """
    names = list(row)
    return 0 if "cop" in names and names.index("cop") > names.index("opa") else 1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _texts(value: Any) -> list[str]:
    if isinstance(value, list) and value and all(_is_number(item) for item in value):
        value = [str(item) for item in value]
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        found = f"{type_name(value)} that holds no text alone" if isinstance(value, list) else type_name(value)
        raise RowError("bad_choices", f"the options or their labels are {found}; expected a list of texts")
    if len(value) > _MAX_OPTIONS:
        raise RowError("bad_choices", f"there are {len(value)} options; expected at most {_MAX_OPTIONS}")
    return value


def positions(answer: Any, options: _Options, field: str) -> list[int]:
    """Return which options an answer names.

    Raises:
        RowError: missing_answer, or bad_choices where it names none.
    """
    if answer is None or answer in ("", []):
        raise RowError("missing_answer", f"field '{field}' is empty; expected the right option")
    several = answer if isinstance(answer, list) else [answer]
    return sorted({_position(one, options, field) for one in several})


def _position(answer: Any, options: _Options, field: str) -> int:
    count = len(options.texts)
    if type(answer) is int and options.first is not None and 0 <= answer - options.first < count:
        return answer - options.first
    if isinstance(answer, str):
        answer = answer.strip()
        letters = list(_LETTERS[:count]) if not options.labels else []
        for names in (options.labels, options.texts, letters):
            if answer in names:
                return names.index(answer)
        if len(answer) > 1 and answer[:-1].isalpha() and answer[-1:].upper() in options.labels:
            return options.labels.index(answer[-1:].upper())  # a column's name: opa, option1
        bare = re.fullmatch(r"\(?([A-Za-z])[).]?", answer)
        if bare and bare[1].upper() in (options.labels or letters):
            return (options.labels or letters).index(bare[1].upper())
        digits = answer.isascii() and answer.isdigit() and len(answer) < 3
        if digits and options.first is not None and 0 <= int(answer) - options.first < count:
            return int(answer) - options.first
    raise RowError("bad_choices", f"field '{field}' names none, or several, of the {count} options")


def _lettered(letter: str, option: str) -> str:
    option = option.strip()
    already = option.startswith((f"{letter}.", f"{letter})", f"({letter})", f"{letter}:", f"{letter}、"))
    return option if already else f"{letter}. {option}"


def _written(prompt: str, letter: str) -> str:
    """Return the line of the question that holds this option, else the letter."""
    lines = [line.strip() for line in prompt.split("\n") if re.match(rf"\s*\(?{letter}[.):]", line)]
    return lines[0] if len(lines) == 1 else letter
