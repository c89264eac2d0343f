"""What a person sees: progress bars with rate and time left, tables, one line per error; and ``--json`` for programs."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from versatune.schemas.remote import with_addresses

_SECONDS_BETWEEN_LINES = 20.0
_WIDEST = 100_000


class Terminal:
    """The listener of every stage. Progress and messages go to standard error, tables to standard output.

    With ``as_json`` nothing but one JSON object reaches standard output, whatever a library prints.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._errors = Console(stderr=True, highlight=False)
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._name = ""
        self._unit = ""
        self._last_line = 0.0

    def begin(self, task: str, total: float | None, unit: str) -> None:
        """Show a bar (or, where there is no terminal, a line now and then)."""
        self.end()
        self._name, self._unit, self._last_line = task, unit, time.monotonic()
        self._bars = Progress(
            TextColumn("[bold]{task.description}", table_column=_whole()),
            BarColumn(bar_width=None, table_column=Column(max_width=30)),
            TextColumn("{task.fields[amount]}", table_column=_whole()),
            _Rate(unit),
            TimeElapsedColumn(table_column=_whole()),
            TextColumn("left", table_column=_whole()),
            TimeRemainingColumn(table_column=_whole()),
            _Note(),
            console=self._errors,
            transient=False,
            disable=not self._errors.is_terminal,
        )
        self._task = self._bars.add_task(task, total=total, amount=_amount(0, total, unit), note="")
        self._bars.start()

    def advance_to(self, done: float, note: str = "") -> None:
        """Move the bar."""
        if self._bars is None or self._task is None:
            return
        total, note = self._bars.tasks[0].total, printable(note)
        self._bars.update(self._task, completed=done, amount=_amount(done, total, self._unit), note=note)
        if not self._errors.is_terminal and time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._errors.print(f"{self._name}: {_amount(done, total, self._unit)} {note}", markup=False, soft_wrap=True)

    def end(self) -> None:
        """Finish the bar."""
        if self._bars is not None:
            self._bars.stop()
        self._bars = self._task = None

    def say(self, message: str) -> None:
        """Print one line that stays, above the bar."""
        console = self._bars.console if self._bars is not None else self._errors
        console.print(printable(message), markup=False, soft_wrap=True)

    def fail(self, message: str) -> None:
        """Print an error."""
        self.end()
        self._errors.print(Text.assemble(("error: ", "bold red"), printable(message)), soft_wrap=True)

    def summary(self, title: str, table: RenderableType | None, result: Mapping[str, Any]) -> None:
        """End a command: a table for people, or ``result`` as the last line of standard output for programs."""
        self.end()
        if self.as_json:
            line = orjson.dumps(result, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY).decode()
            _saved_stdout().write(f"{with_addresses(line)}\n".encode())
            _saved_stdout().flush()
            return
        console = Console(highlight=False)
        if table is not None:
            _print_whole(console, table)
        console.print(printable(title), markup=False, soft_wrap=True)


def _print_whole(console: Console, shown: RenderableType) -> None:
    """Print tables with every number and name whole: into a file or a pipe as wide as they are, on a terminal no wider than they must be."""
    if isinstance(shown, Group):
        for part in shown.renderables:
            _print_whole(console, part)
    elif isinstance(shown, Table):
        needed = Measurement.get(console, console.options.update(width=_WIDEST), shown)
        width = max(console.width, shown.min_width or 0) if console.is_terminal else needed.maximum
        Console(highlight=False, width=width).print(shown)
    else:
        console.print(shown, soft_wrap=isinstance(shown, Text))


class _Rate(ProgressColumn):
    """Units a second, over the last half minute."""

    def __init__(self, unit: str) -> None:
        super().__init__(_whole())
        self._unit = unit

    def render(self, task: Task) -> Text:
        """Render the speed, or nothing before there is one."""
        return Text(f"{task.speed:,.1f} {self._unit}/s" if task.speed else "", style="dim")


class _Note(ProgressColumn):
    """What is said about the work; cut where there is no room for it."""

    def render(self, task: Task) -> Text:
        """Render the note on one line."""
        return Text(task.fields["note"], style="dim", no_wrap=True, overflow="ellipsis")


def _whole() -> Column:
    """A part of the line that is never cut: on a narrow terminal the bar and the note give way."""
    return Column(no_wrap=True)


_BORDER = 3  # between two columns, with a blank on both sides
_FOLDED = 24
_NAME = re.compile(r"\S{1,40}( \*)?")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """Make a table: the first column is text, numbers to the right. What comes from data shows as it is, brackets and all."""
    made = Table(title=Text(title, style="bold"), title_justify="left", header_style="bold")
    for position, column in enumerate(columns):
        texts = all(isinstance(row[position], str) for row in rows)
        words = position == 0 or (texts and bool(rows))
        names = bool(rows) and all(
            _NAME.fullmatch(str(row[position])) for row in rows
        )  # to be copied: never cut or broken
        made.add_column(
            Text(column),
            justify="left" if words else "right",
            overflow="fold" if words else "ellipsis",
            no_wrap=names or not words,
        )
    for row in rows:
        made.add_row(*(Text(printable(cell) if isinstance(cell, str) else _number(cell)) for cell in row))
    made.min_width = 1 + sum(_least_width(column) + _BORDER for column in made.columns)
    return made


def _least_width(column: Column) -> int:
    """Return the width below which a column would lose something: that of its words, but for long ones, which may be broken."""
    texts = [text.plain for text in (column.header, *column.cells) if isinstance(text, Text)]
    if column.no_wrap:
        return max(map(cell_len, texts))
    return min(_FOLDED, max(cell_len(word) for text in texts for word in (text.split() or [""])))


def printable(text: str) -> str:
    """Return text without characters that steer a terminal: what comes from data must not colour or move anything; files of a store by address."""
    text = with_addresses(text)
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)


@contextlib.contextmanager
def only_json_on_stdout(active: bool) -> Iterator[None]:
    """Send whatever is printed, by this process or a child, to standard error; keep the real one for the summary."""
    if not active:
        yield
        return
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    _STDOUT.append(os.fdopen(saved, "wb"))
    try:
        yield
    finally:
        sys.stdout.flush()
        stream = _STDOUT.pop()
        os.dup2(stream.fileno(), 1)
        stream.close()


_STDOUT: list[Any] = []


def _saved_stdout() -> Any:
    return _STDOUT[-1] if _STDOUT else sys.stdout.buffer


def _amount(done: float, total: float | None, unit: str) -> str:
    return f"{done:,.0f}{'' if total is None else f'/{total:,.0f}'} {unit}"


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,.4f}" if isinstance(value, float) else f"{value:,}"
