"""Preference pairs (``chosen``, ``rejected``): recognised to be refused by name, since one half is a bad answer."""

from __future__ import annotations

from transforms.shapes.base import Message, Row, RowError


def matches(row: Row) -> bool:
    """Say whether the row compares two answers."""
    return "chosen" in row and "rejected" in row


def to_messages(_row: Row) -> list[Message]:
    """Refuse the row."""
    raise RowError("preference_pair", "the row has a chosen and a rejected answer; use a field map to take 'chosen'")
