"""What a question is asked about: paragraphs, titled sentences, tables, as one text."""

from __future__ import annotations

from typing import Any

from versatune.transforms.shapes.base import RowError, first_field, joined, type_name

_TEXTS = (
    "text",
    "contexts",
    "content",
    "paragraphs",
    "paragraph",
    "passage",
    "passage_text",
    "paragraph_text",
    "sentences",
    "context",
)


def context_text(value: Any, field: str) -> str:
    """Return a context as text.

    A list is joined with empty lines. An object gives the text in it; titles with sentences, as HotpotQA writes them,
    give a paragraph each.

    Raises:
        RowError: numbers, or objects without text.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list):
        return joined(_paragraph(paragraph, field) for paragraph in value)
    if isinstance(value, dict):
        if isinstance(value.get("title"), list) and isinstance(value.get("sentences"), list):
            titled = zip(value["title"], value["sentences"], strict=False)
            return joined(_paragraph([title, sentences], field) for title, sentences in titled)
        inner = first_field(value, _TEXTS)
        if inner is not None and not isinstance(value[inner], dict):
            return context_text(value[inner], f"{field}.{inner}")
    raise RowError("wrong_type", f"field '{field}' holds {type_name(value)}; expected text, or a list of texts")


def _paragraph(value: Any, field: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        inner = first_field(value, _TEXTS)
        if inner is not None and isinstance(value[inner], str):
            return joined([value["title"], value[inner]]) if isinstance(value.get("title"), str) else str(value[inner])
    if isinstance(value, list) and len(value) == 2 and _is_texts(value[1]) and isinstance(value[0], str):
        return f"{value[0]}\n{''.join(value[1])}"  # HotpotQA: a title and its sentences
    if _is_texts(value):
        return " ".join(value)
    raise RowError("wrong_type", f"field '{field}' holds {type_name(value)} in its list; expected texts")


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def table_text(value: Any, field: str) -> str:
    """Return a table as lines of cells with bars between."""
    rows = value.get("table", value.get("rows")) if isinstance(value, dict) else value
    if isinstance(rows, str):
        return rows
    if not isinstance(rows, list) or not all(isinstance(cells, list) for cells in rows):
        found = type_name(value if rows is None else rows)
        raise RowError("wrong_type", f"field '{field}' holds {found}; expected a table as a list of lists of cells")
    header = value.get("header") if isinstance(value, dict) else None
    lines = [header, *rows] if isinstance(header, list) else rows
    return "\n".join(" | ".join(_cell(cell, field) for cell in cells) for cells in lines)


def tables_text(value: Any, field: str) -> str:
    """Return a table, or several, as text: texts, lists of rows, or objects as :func:`table_text` takes them.

    A list of flat objects is one table, with the names of the first as its header. A number is no table but an id.

    Raises:
        RowError: none of these.
    """
    if not isinstance(value, list | dict):
        return value if isinstance(value, str) else ""
    if isinstance(value, dict) or (_are_all(list, value) and not any(_are_all(list, cells) for cells in value)):
        return table_text(value, field)
    if _are_all(dict, value) and not any("rows" in item or "table" in item for item in value):
        header = list(value[0])
        return table_text([header, *([item.get(name) for name in header] for item in value)], field)
    return joined(item if isinstance(item, str) else table_text(item, field) for item in value)


def _are_all(kind: type, items: list[Any]) -> bool:
    return bool(items) and all(isinstance(item, kind) for item in items)


def _cell(value: Any, field: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return str(value)
    raise RowError("wrong_type", f"field '{field}' has {type_name(value)} in a cell; expected text or a number")
