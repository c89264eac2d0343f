"""The columns of some rows, and what their names and values say of them; for proposals to people, never to read a row."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from versatune.schemas.field_template import written_path
from versatune.transforms.shapes.asked import CONTEXTS
from versatune.transforms.shapes.base import Row, plain_name

_ANSWERS = frozenset(
    """
    answer answers answered response responses responded reply replies replied completion completions output outputs
    solution solutions gold expected ideal assistant antwort respuesta réponse reponse resposta risposta ответ 回答 答案 答え 解答
    """.split()  # noqa: SIM905
)
_MAYBE_ANSWERS = frozenset(
    "verdict explanation summary translation diagnosis definition advice conclusion rationale target targets".split()  # noqa: SIM905
)
_PROMPTS = frozenset(
    """
    question questions prompt prompts instruction instructions query queries ask asks asked request requests requested inquiry
    problem stem claim frage pregunta pergunta domanda вопрос 问题 質問 提问
    """.split()  # noqa: SIM905
)
_MAYBE_PROMPTS = frozenset(
    """
    input inputs user human customer text sentence utterance message issue task content body statement premise clause mail email
    ticket comment review post document contract
    """.split()  # noqa: SIM905
)
_CONTEXTS = frozenset("context passage policy paragraph article background evidence statute facts".split())  # noqa: SIM905
_FIELDS_OF_CONTEXT = frozenset(CONTEXTS) - {"sentence", "text", "content", "input", "claim", "conversation"}
_SYSTEMS = frozenset("system persona".split())  # noqa: SIM905
_UNITS = frozenset("unit units uom currency einheit unidad unité 单位 単位".split())  # noqa: SIM905
_LABELS = frozenset(
    """
    label labels class category categories topic intent skill difficulty level type kind tag tags genre sentiment stance
    emotion domain subject section chapter grade language lang status priority rating split source department area group
    """.split()  # noqa: SIM905
)
_NO_TEXT = frozenset(
    """
    id ids idx index uuid guid url uri link date time timestamp hash license filename file path score year author citation
    name no number count length start end version
    """.split()  # noqa: SIM905
)
_WRONG = frozenset("wrong incorrect bad rejected worse distractor student predicted prediction".split())  # noqa: SIM905
_RIGHT = frozenset("gold golden correct right expected reference ideal true".split())  # noqa: SIM905
_WORD = re.compile(r"[A-Z]+(?![^\W\d_A-Z])|[A-Z]?[^\W\d_A-Z]+|\d+")
_KEY_LETTER = re.compile(r"\(?[A-Ja-j][).]?")
_NUMBER = re.compile(r"[-+]?\d[\d., ]*(e[-+]?\d+)?%?", re.IGNORECASE)
_PLACE = re.compile(r"column_\d+")
_LABEL_CHARS = 40
_MOST_LABELS = 20
ENOUGH_ROWS = 8
"""Of fewer, values tell little."""
_DEEPEST = 2


@dataclass(frozen=True)
class Column:
    """A field that holds text or numbers in at least half of the rows."""

    steps: tuple[str, ...]
    cells: Sequence[str]
    """What each row holds, without blanks around it; nothing where it has none."""
    listed: bool = False
    """It stands in a list."""

    @property
    def path(self) -> str:
        """As a field map writes it."""
        return written_path(*self.steps) if len(self.steps) > 1 else _alone(self.steps[0])

    @property
    def slot(self) -> str:
        """As a template writes it."""
        optional = "|" if not all(self.cells) else ""
        return f"{{{written_path(*self.steps)}{optional}}}"

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words of its name, in lower case."""
        return tuple(word.casefold() for word in _WORD.findall(self.steps[-1]))

    @cached_property
    def values(self) -> list[str]:
        """The cells that hold something."""
        return [cell for cell in self.cells if cell]

    @property
    def chars(self) -> float:
        """Median length of its values."""
        return statistics.median(map(len, self.values))

    @cached_property
    def is_number(self) -> bool:
        """Its values are numbers."""
        return all(_NUMBER.fullmatch(value) for value in self.values)

    @cached_property
    def asks(self) -> bool:
        """At least half of its values end in a question mark."""
        return 2 * sum(value.endswith(("?", "？", "؟")) for value in self.values) >= len(self.values)

    @cached_property
    def is_few(self) -> bool:
        """Its values are a few short texts, again and again; of a few rows, one that comes again is enough."""
        if len(self.values) < ENOUGH_ROWS:
            return len(set(self.values)) < len(self.values) and max(map(len, self.values)) <= _LABEL_CHARS
        return are_few(self.values)

    @property
    def is_label(self) -> bool:
        """It sorts the rows rather than say something of its own."""
        named = bool(self.words) and self.words[-1] in _LABELS and self.chars <= _LABEL_CHARS
        return self.is_few or named

    @property
    def is_text(self) -> bool:
        """It may be something that somebody said."""
        return not (self.is_number or self.is_label or self.names_no_text or self.listed)

    @property
    def names_no_text(self) -> bool:
        """By its name it identifies or counts something."""
        last = self.words[-1:] or ("",)
        return last[0] in _NO_TEXT or self.steps[-1].startswith("__")

    @property
    def has_no_name(self) -> bool:
        """The file has no header: the column is called by its place."""
        return bool(_PLACE.fullmatch(self.steps[-1]))

    def _any(self, words: frozenset[str]) -> bool:
        return any(word in words for word in self.words)

    @property
    def is_answer(self) -> bool:
        """By its name it answers."""
        return self._any(_ANSWERS) and not self._any(_WRONG) and not self.is_about_another

    @property
    def is_about_another(self) -> bool:
        """By its name it says something about a text: its type, its start."""
        return self.words[-1] in _LABELS | (_NO_TEXT - {"number"})

    @property
    def is_right_answer(self) -> bool:
        """By its name it is the answer to learn from, beside others."""
        return self._any(_RIGHT)

    @property
    def may_be_answer(self) -> bool:
        """By its name it may answer."""
        return self._any(_MAYBE_ANSWERS)

    @property
    def is_prompt(self) -> bool:
        """By its name it asks."""
        return self._any(_PROMPTS) and not (self._any(_ANSWERS) or self.is_system or self.is_about_another)

    @property
    def may_be_prompt(self) -> bool:
        """By its name it may be what is asked."""
        return self._any(_MAYBE_PROMPTS)

    @property
    def is_context(self) -> bool:
        """By its name, or that of the field it stands in, a question is asked about it."""
        return self._any(_CONTEXTS) or plain_name(self.steps[0]) in _FIELDS_OF_CONTEXT

    @cached_property
    def is_key(self) -> bool:
        """Its values are letters of options, and its name says that one of them is right."""
        named = self._any(_ANSWERS | _RIGHT | {"key", "label"})
        return named and all(_KEY_LETTER.fullmatch(value) for value in self.values)

    @property
    def is_system(self) -> bool:
        """By its name it is a system text."""
        return self._any(_SYSTEMS)

    @property
    def is_unit(self) -> bool:
        """By its name it is a number's unit."""
        return self._any(_UNITS)


def are_few(values: Sequence[str]) -> bool:
    """Say whether texts are a few short ones, again and again."""
    distinct = set(values)
    few = len(values) >= ENOUGH_ROWS and len(distinct) <= min(_MOST_LABELS, len(values) // 2)
    return few and all(len(value) <= _LABEL_CHARS for value in distinct)


def _alone(name: str) -> str:
    """Return a field's name as the whole of a path: only braces, or nothing, need quotes there."""
    return written_path(name) if "{" in name or "}" in name or not name else name


def columns_of(rows: Sequence[Row]) -> list[Column]:
    """Return the columns of some rows, in the order in which the rows name them."""
    cells: dict[tuple[tuple[str, ...], bool], list[str]] = {}
    for number, row in enumerate(rows):
        for steps, value, listed in _texts(row, ()):
            column = cells.setdefault((steps, listed), [""] * len(rows))
            column[number] = f"{column[number]}\n\n{value}" if column[number] else value
    found = [Column(steps, tuple(column), listed) for (steps, listed), column in cells.items()]
    return [column for column in found if 2 * len(column.values) >= len(rows)]


def _texts(value: Row, before: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str, bool]]:
    for name, inner in value.items():
        steps = (*before, name)
        if isinstance(inner, dict) and len(before) < _DEEPEST:  # deeper paths are nothing to guess
            yield from _texts(inner, steps)
        elif isinstance(inner, list):
            yield from _in_list(inner, steps)
        elif _written(inner):
            yield steps, _written(inner), False


def _in_list(items: list[Any], steps: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str, bool]]:
    for item in items:
        fields = item.items() if isinstance(item, dict) else [(None, item)]
        for name, inner in fields:
            if isinstance(inner, str) and inner.strip():
                yield (steps if name is None else (*steps, name)), inner.strip(), True


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""
