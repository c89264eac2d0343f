"""What a row asks, as one prompt: the task's statement, what it is about, the question, and the question's details.

The roles of field names stand here, for every shape that asks: a name that is added here counts everywhere.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from versatune.transforms.shapes import exact_json
from versatune.transforms.shapes.base import Message, Row, RowError, is_blank, joined, plain_name
from versatune.transforms.shapes.context import context_text, tables_text
from versatune.transforms.shapes.transcript import open_transcript

INSTRUCTIONS = (
    "instruction", "instructions", "task_description", "task_definition", "task_instruction", "definition", "task", "prompt",
)  # fmt: skip
"""What is to be done. A ``prompt`` counts where something else is the question."""
_CERTAIN_CONTEXTS = (
    "context", "contexts", "passage", "paragraph", "paragraphs", "laws", "references", "documents", "support", "evidence", "story",
    "article", "knowledge", "sql_context", "passages",
)  # fmt: skip
CONTEXTS = (
    "background", "scenario", "facts", *_CERTAIN_CONTEXTS, "document", "source_document", "source_text", "input_text", "original_text",
    "context_text", "passage_text", "paragraph_text", "article_text", "document_text", "sentence",
    "premise", "hypothesis", "claim", "sentence1", "sentence2", "text", "text1", "text2", "content", "abstract", "excerpt", "statute", "contract", "clause",
    "policy", "transcript", "dialogue", "dialog", "conversation", "input", "pre_text", "table", "tables", "post_text", "schema", "db_schema", "database_schema", "table_schema",
    "create_statement", "ddl", "hint",
)  # fmt: skip
"""What the question is about, in the order in which it is written."""
LONG_FORMS = (
    "question_text", "question_body", "question_content", "question_detail", "question_details", "question_description", "body", "selftext",
    "description", "detail", "details",
)  # fmt: skip
"""The question once more at length."""
_OPTIONS = ("options", "choices")
DETAILS = (*LONG_FORMS, "input_format", "output_format", "constraints", "starter_code", *_OPTIONS)
QUESTIONS = ("question", "problem", "query")
"""Of these a row asks one; two that differ cannot both be the question."""

_CONTEXTS = frozenset(CONTEXTS)
_TABLES = frozenset({"table", "tables"})
_SCHEMAS = frozenset({"schema", "db_schema", "database_schema", "table_schema"})
# Beside a question these may be the whole example once more, rendered by its publisher.
_MAY_BE_ALL = frozenset({*INSTRUCTIONS, *DETAILS, *QUESTIONS, "text", "content", "input"})
_ADDRESS = re.compile(
    r"\s*(?:(?:[a-z][a-z0-9+.-]*://|www\.)\S+|\S+\.(?:pdf|html?|txt|md|docx?|json|csv))\s*", re.IGNORECASE
)
_ADDRESS_CHARS = 300
_WORDS = re.compile(r"\w+")
_TEMPLATE = "Below is an instruction"
_TELLING = 20  # characters of words that stand in another text by no chance
_SENTENCE_WORDS = 4


class Asked(NamedTuple):
    """What is asked, around the question's own place."""

    before: str
    """Instructions and contexts."""
    question: str
    after: str = ""
    """Details."""

    @property
    def prompt(self) -> str:
        """All of it as one text; a blank question stays blank, whatever stands around it."""
        return self.question if is_blank(self.question) else joined(self)


class _Part(NamedTuple):
    name: str
    text: str


class _Names(NamedTuple):
    """A row's own names (in any case, with blanks or hyphens) by role; those of one role in the order of its list."""

    instructions: tuple[str, ...]
    contexts: tuple[str, ...]
    details: tuple[str, ...]
    questions: tuple[str, ...]


@lru_cache(maxsize=4096)
def _names_by_role(names: tuple[str, ...]) -> _Names:
    plain: dict[str, list[str]] = {}
    for name in names:
        plain.setdefault(plain_name(name), []).append(name)
    return _Names(
        *(
            tuple(name for known in role for name in plain.get(known, ()))
            for role in (INSTRUCTIONS, CONTEXTS, DETAILS, QUESTIONS)
        )
    )


def question_field(row: Row) -> str | None:
    """Return the first field of a question's usual name that holds text, in any case; else None."""
    names = _names_by_role(tuple(row)).questions
    return next((name for name in names if isinstance(row[name], str) and not is_blank(row[name])), None)


def asking_fields(row: Row) -> list[str]:
    """Return the names of the row's fields that may say what is asked."""
    return [name for names in _names_by_role(tuple(row)) for name in names]


def asked(row: Row, field: str, question: str, used: tuple[str | None, ...] = (), answer: str = "") -> Asked:
    """Return what a row asks around its question.

    A text that stands inside another is not repeated. Left out are contexts that are no more than an address or a file's
    name, and texts that hold the whole example once more.

    Args:
        row: the raw row.
        field: the question's.
        question: its text.
        used: other fields that are no part of it: the answer's.
        answer: the answer's text.

    Raises:
        RowError: two fields that differ may both be the question, or a context cannot be read.
    """
    names = _names_by_role(tuple(row))
    if not any(names):
        return Asked("", question)
    own = (field, *used)
    instructions, contexts, details, rivals = (
        [_Part(name, part) for name in role if name not in own and (part := _content(row, name))] if role else []
        for role in names
    )
    if not instructions and not details and not rivals and len(contexts) < 2:
        if not contexts:
            return Asked("", question)
        if plain_name(contexts[0].name) not in _MAY_BE_ALL:
            return Asked(contexts[0].text, question)
    chosen, gone = _chosen(_Part(field, question), _words(answer), [*rivals, *instructions, *contexts, *details])
    _check_rivals(field, chosen, [rival for rival in rivals if rival.name not in gone])
    kept = _unrepeated(chosen, [part for part in (*contexts, *instructions, *details) if part.name not in gone])
    return Asked(
        joined(part.text for part in (*instructions, *contexts) if part.name in kept),
        chosen.text,
        joined(part.text for part in details if part.name in kept),
    )


def asked_in_turns(
    messages: list[Message], row: Row, field: str, used: tuple[str | None, ...] = (), answer: str = ""
) -> list[Message]:
    """Return turns with what else the row asks: before the user's first words, and its details after the user's last.

    Args:
        messages: up to the answer; the last that the user says is the question.
        row: the raw row.
        field: the one that the question comes from.
        used: as for :func:`asked`; so is ``answer``.
        answer: the answer's text.

    Raises:
        RowError: as :func:`asked`.
    """
    users = [number for number, (role, _) in enumerate(messages) if role == "user"]
    if not users or is_blank(messages[users[-1]][1]):
        return messages
    found = asked(row, field, messages[users[-1]][1], used, answer)
    told = list(messages)
    told[users[-1]] = ("user", joined((found.question, found.after)))
    told[users[0]] = ("user", joined((found.before, told[users[0]][1])))
    return told


def check_turns_ask(row: Row, field: str, messages: list[Message]) -> None:
    """Refuse turns beside a question that stands in none of them, and its answer: which of both is to be learned, nobody can tell.

    Raises:
        RowError: unknown_shape.
    """
    question, answer = row.get("question"), row.get("answer")
    if not (isinstance(question, str) and isinstance(answer, str) and question.strip() and answer.strip()):
        return
    words = _words(question)
    if not any(_stands_in(words, _words(content)) for _, content in messages):
        raise RowError(
            "unknown_shape",
            f"'{field}' holds turns, and 'question' with its 'answer' stands in none of them; tell which to use: fields:"
            f" {{messages: {field}}}, or fields: {{prompt: question, completion: answer}}",
        )


def _chosen(question: _Part, answer: str, others: list[_Part]) -> tuple[_Part, set[str]]:
    """Return the longest form of the question, and the fields that are no part of what is asked."""
    whole = words = _words(question.text)
    chosen, gone = question, set[str]()
    for part in others if whole.strip() else ():
        if plain_name(part.name) not in _MAY_BE_ALL:
            continue
        more = _words(part.text)
        _, found, rest = more.partition(whole)
        is_all = part.text.lstrip().startswith(_TEMPLATE) or (
            found and ((answer.strip() and answer.lstrip() in rest) or open_transcript(part.text) is not None)
        )
        if is_all:
            gone.add(part.name)
        elif found and len(more) > len(words) and _stands_in(whole, more) and _stands_in(words, more):
            gone.add(chosen.name)
            chosen, words = part, more
    return chosen, gone


def _check_rivals(field: str, chosen: _Part, rivals: list[_Part]) -> None:
    words = _words(chosen.text)
    for rival in rivals:
        if rival is not chosen and not _stands_in(_words(rival.text), words):
            raise RowError(
                "unknown_shape",
                f"'{field}' and '{rival.name}' may both be what is asked, and they differ; tell which one to use, such as"
                f" fields: {{prompt: {field}, completion: FIELD}}",
            )


def _unrepeated(chosen: _Part, parts: list[_Part]) -> set[str]:
    """Return the fields, beside the question, whose text does not stand in another's."""
    kept: dict[str, str] = {chosen.name: _words(chosen.text)}
    for part in parts:
        words = _words(part.text)
        if part.name in kept or any(_stands_in(words, other) for other in kept.values()):
            continue
        inside = [name for name, other in kept.items() if name != chosen.name and _stands_in(other, words)]
        for name in inside:
            del kept[name]
        kept[part.name] = words
    return kept.keys() - {chosen.name}


def _content(row: Row, name: str) -> str:
    """Return a field's text; what is no text under a name that need not hold one (``document: 17``) is not used."""
    value, plain = row[name], plain_name(name)
    if plain in _CERTAIN_CONTEXTS:
        content = context_text(value, name)
    elif plain in _TABLES:
        content = tables_text(value, name)
    elif plain in _OPTIONS:  # as a list they belong to a shape of their own
        content = value if isinstance(value, str) else ""
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        content = joined(value)
    elif plain in _SCHEMAS and isinstance(value, list | dict):
        content = exact_json.dumps(value).decode() if value else ""
    else:
        content = value if isinstance(value, str) else ""
    if is_blank(content) or (plain == "task" and not _is_sentence(content)):  # else the name of a kind of task
        return ""
    return "" if len(content) < _ADDRESS_CHARS and plain in _CONTEXTS and _ADDRESS.fullmatch(content) else content


def _is_sentence(content: str) -> bool:
    return content.rstrip()[-1:] in tuple(".:?!。：？！") or len(content.split()) >= _SENTENCE_WORDS


def _words(content: str) -> str:
    """Return the words of a text alone, so that line breaks, comment marks and quotes make no difference."""
    return f" {' '.join(_WORDS.findall(content.casefold())) or content.strip()} "


def _stands_in(words: str, others: str) -> bool:
    """Say whether one text is inside another; a short one counts only at its beginning or end."""
    if words not in others:
        return False
    return len(words) >= _TELLING or others.startswith(words) or others.endswith(words)
