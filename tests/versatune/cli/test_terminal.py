"""Tables that hold what they are given, whatever they are printed into."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console, Group

from versatune.cli.terminal import _print_whole, table

ROWS = [
    ["a-source-with-a-long-name-of-its-own-to-be-copied", 1_234_567_890, "20261130-70332f97 *", 0.12345, "why " * 30],
    ["b", 1, "20261130-70332f98", None, "short"],
]
CELLS = [
    "a-source-with-a-long-name-of-its-own-to-be-copied",
    "1,234,567,890",
    "20261130-70332f97 *",
    "0.1235",
    "held out",
]


def printed(columns: int, shown: Any, *, terminal: bool, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what a command prints."""
    out = io.StringIO()
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr(Console, "is_terminal", property(lambda _: terminal))
    _print_whole(Console(highlight=False), shown)
    return out.getvalue()


@pytest.mark.parametrize("columns", [20, 60, 80, 300])
def test_a_pipe_gets_every_cell_on_its_line(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = table("rows", ["source", "rows", "version", "held out", "why"], ROWS)
    text = printed(columns, Group(made), terminal=False, monkeypatch=monkeypatch)
    assert all(cell in text for cell in [*CELLS, ("why " * 30).strip()])
    assert "…" not in text
    assert len(text.splitlines()) == 7  # a title, the header between its lines, two rows, the end


@pytest.mark.parametrize("columns", [20, 60, 80])
def test_a_narrow_terminal_breaks_texts_and_no_number_or_name(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [["source", *row[1:]] for row in ROWS]
    text = printed(
        columns,
        table("rows", ["source", "rows", "version", "held out", "why"], rows),
        terminal=True,
        monkeypatch=monkeypatch,
    )
    assert all(cell in text for cell in CELLS[1:])
    assert "…" not in text
    assert len(text.splitlines()) > 7
