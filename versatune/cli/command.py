"""What all commands share: their common options, and an error as one message and an exit code."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from versatune.cli.terminal import Terminal, only_json_on_stdout
from versatune.schemas.errors import CheckError, UsageError, VersatuneError
from versatune.schemas.machine_faults import machine_fault
from versatune.schemas.remote import mirror_of


def place(text: str) -> Path:
    """Return the local path of what a command is given: a path, or an address such as gs://bucket/outputs/my-model/20261121-1a2b3c4d."""
    try:
        return mirror_of(text)
    except VersatuneError as error:
        raise typer.BadParameter(str(error)) from None


ConfigPath = Annotated[
    Path,
    typer.Argument(metavar="CONFIG", parser=place, help="YAML configuration, such as examples/quickstart.yaml"),
]
Overrides = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the configuration: --set probe.samples=512"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object, last on standard output")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the stack trace of an error")]


def guarded(work: Callable[[Terminal], None], as_json: bool, debug: bool) -> None:
    """Do the work; turn an error into one message and an exit code. Libraries' own log lines are for --debug."""
    logging.basicConfig(level=logging.INFO if debug else logging.ERROR, format="%(name)s: %(message)s")
    with only_json_on_stdout(as_json):
        terminal = Terminal(as_json=as_json)
        try:
            work(terminal)
        except (VersatuneError, KeyboardInterrupt) as error:
            code = error.exit_code if isinstance(error, VersatuneError) else 130
            _fail(terminal, str(error) or "interrupted; the same command goes on where it can", code, debug, error)
        except typer.Exit:
            raise
        except Exception as error:  # noqa: BLE001  # the last line of defence: one message instead of a stack trace
            fault = f"{type(error).__name__}: {error}. This is a fault in versatune; --debug shows where"
            _fail(terminal, machine_fault(error) or fault, 1, debug, error)


def job(context: typer.Context, config: Path, overrides: list[str], terminal: Terminal) -> Any:
    """Return the :class:`versatune.stages.Job` that a command was given."""
    from versatune.schemas.config import load_config  # half of the time of `versatune --help`
    from versatune.stages import Job

    for argument in context.args:
        if not argument.startswith("--"):
            raise UsageError(f"unexpected argument '{argument}'; flags for Beam start with -- and come after a bare --")
    return Job(config=load_config(config, overrides), beam_args=tuple(context.args), progress=terminal)


def _fail(terminal: Terminal, message: str, code: int, debug: bool, error: BaseException) -> None:
    terminal.fail(message)
    if terminal.as_json:
        problems = [asdict(problem) for problem in error.problems] if isinstance(error, CheckError) else None
        terminal.summary(
            "", None, {"error": message, "exit_code": code, **({} if problems is None else {"problems": problems})}
        )
    if debug:
        raise error
    raise typer.Exit(code)
