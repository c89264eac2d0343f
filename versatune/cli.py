"""The command line. Stages are imported when they run, so ``versatune --help`` needs neither torch nor Beam."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from schemas.config import load_config
from schemas.errors import UsageError, VersatuneError
from schemas.version import VERSION
from versatune.terminal import Terminal, only_json_on_stdout

EPILOG = "Start with: versatune run examples/quickstart.yaml"
PASS_THROUGH = {"allow_extra_args": True}

app = typer.Typer(
    name="versatune",
    help="""Know what to fine-tune on.

    versatune builds a versioned dataset from raw instruction files, probes what a base model already knows, mixes the
    one according to the other, fine-tunes with weights that follow the losses, and reports it all on one page.

    The stages of one configuration, in order: build, probe, mix, train, report. `run` does them all and skips what is
    complete and unchanged.""",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
classifier_app = typer.Typer(help="Train the classifier that labels text with domains.", no_args_is_help=True)
app.add_typer(classifier_app, name="classifier")

ConfigPath = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="YAML configuration, such as examples/quickstart.yaml")
]
Overrides = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the configuration: --set probe.samples=512"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object, last on standard output")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the stack trace of an error")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"versatune {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version")
    ] = False,
) -> None:
    """Options before the command."""


@app.command(context_settings=PASS_THROUGH)
def build(
    context: typer.Context, config: ConfigPath, set_: Overrides = [], as_json: AsJson = False, debug: Debug = False
) -> None:
    """Raw files to classified Parquet shards and a manifest.

    Reads JSONL, JSON, CSV, TSV and Parquet (plain or gzipped, local or any Beam file system), normalises every row to
    messages, labels it, tokenizes it, drops exact duplicates, and keeps books: rows read = written + duplicates +
    rejected.

    Writes OUTPUT/NAME/VERSION/: manifest.json, data/ as Parquet by split and domain, rejects/ with the reason of each.

    Flags after `--` go to Apache Beam: versatune build my.yaml -- --runner=DataflowRunner --project=...
    """
    from versatune.summaries import summarize_build

    _stage(context, "build", config, set_, as_json, debug, summarize_build)


@app.command(context_settings=PASS_THROUGH)
def probe(
    context: typer.Context, config: ConfigPath, set_: Overrides = [], as_json: AsJson = False, debug: Debug = False
) -> None:
    """What the base model writes about when nobody asks, by domain, with intervals.

    Samples from the begin-of-sequence token with vLLM and labels every sample with the classifier that labels the
    data. Generations are kept: the same seed, or a larger probe, reuses them. Writes OUTPUT/NAME/probe/.
    """
    from versatune.summaries import summarize_probe

    _stage(context, "probe", config, set_, as_json, debug, summarize_probe)


@app.command()
def mix(
    context: typer.Context, config: ConfigPath, set_: Overrides = [], as_json: AsJson = False, debug: Debug = False
) -> None:
    """Pool and probe to a mixture manifest: what to train on, how much of each domain, and why.

    Reads the newest dataset version's manifest and, for policy versatune-constant, the newest probe report; never a
    row. Writes OUTPUT/NAME/mixture/.
    """
    from versatune.summaries import summarize_mixture

    _stage(context, "mix", config, set_, as_json, debug, summarize_mixture)


@app.command()
def train(
    context: typer.Context, config: ConfigPath, set_: Overrides = [], as_json: AsJson = False, debug: Debug = False
) -> None:
    """Fine-tune from the newest mixture, re-weighting the domains between segments.

    Measures every domain's held-out loss from step 0. Kill it at any time: the same command goes on from the last
    checkpoint and repeats the same losses. Writes OUTPUT/NAME/runs/ID/, the trained model in model/ there.
    """
    from versatune.summaries import summarize_run

    _stage(context, "train", config, set_, as_json, debug, summarize_run)


@app.command(context_settings=PASS_THROUGH)
def run(
    context: typer.Context, config: ConfigPath, set_: Overrides = [], as_json: AsJson = False, debug: Debug = False
) -> None:
    """Everything: build, probe, mix, train, report. Stages that are complete and unchanged are skipped."""

    def work(terminal: Terminal) -> None:
        from reporting.page import write_report
        from versatune.stages import check_outputs, run_all
        from versatune.summaries import summarize_all

        outputs = run_all(_job(context, config, set_, terminal))
        check_outputs(outputs, terminal)
        page = write_report(outputs["train"][0])
        terminal.summary(*summarize_all(outputs, page))

    _guarded(work, as_json, debug)


@app.command()
def report(
    run_directory: Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory: OUTPUT/NAME/runs/ID")],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """One offline HTML page: the books, the probe, weights asked for and used, losses by domain.

    Writes report.html into the run's directory.
    """

    def work(terminal: Terminal) -> None:
        from reporting.page import write_report

        page = write_report(run_directory)
        terminal.summary(f"report: {page}", None, {"report": str(page)})

    _guarded(work, as_json, debug)


@app.command()
def verify(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Directory of a dataset version, probe, mixture or run")
    ],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Check every digest, checksum and count of a directory; exit 1 and name what is wrong.

    `versatune build` puts damaged files of a dataset version back.
    """

    def work(terminal: Terminal) -> None:
        from versatune.verify import verify as check

        document, problems = check(directory, terminal)
        result = {"ok": not problems, "kind": document.kind, "digest": document.digest, "problems": problems}
        for problem in problems:
            terminal.say(problem)
        verdict = f"verified: {directory} ({document.kind}, digest {document.digest[:12]})"
        terminal.summary(verdict if not problems else f"{len(problems)} problems in {directory}", None, result)
        if problems:
            raise typer.Exit(1)

    _guarded(work, as_json, debug)


@classifier_app.command("train")
def classifier_train(
    data: Annotated[list[Path], typer.Option("--data", help="Labelled rows {text, domain, source}, JSON Lines (.gz)")],
    valid: Annotated[list[Path], typer.Option("--valid", help="Held-out labelled rows, for the card's figures")],
    output: Annotated[Path, typer.Option("--output", help="Directory for the model and its card")],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Train, quantise and measure a fastText domain classifier; the same data give the same bytes."""

    def work(terminal: Terminal) -> None:
        from versatune.summaries import train_classifier

        terminal.summary(*train_classifier(data, valid, output))

    _guarded(work, as_json, debug)


def _stage(
    context: typer.Context,
    stage: str,
    config: Path,
    overrides: list[str],
    as_json: bool,
    debug: bool,
    summarize: Callable[[Path], Any],
) -> None:
    """Run one stage of a configuration and print its summary."""

    def work(terminal: Terminal) -> None:
        from versatune.stages import run_one

        output = run_one(_job(context, config, overrides, terminal), stage)
        terminal.summary(*summarize(output))

    _guarded(work, as_json, debug)


def _job(context: typer.Context, config: Path, overrides: list[str], terminal: Terminal) -> Any:
    from versatune.stages import Job

    for argument in context.args:
        if not argument.startswith("--"):
            raise UsageError(f"unexpected argument '{argument}'; flags for Beam start with -- and come after a bare --")
    return Job(config=load_config(config, overrides), beam_args=tuple(context.args), progress=terminal)


def _guarded(work: Callable[[Terminal], None], as_json: bool, debug: bool) -> None:
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
            message = f"{type(error).__name__}: {error}. This is a fault in versatune; --debug shows where"
            _fail(terminal, message, 1, debug, error)


def _fail(terminal: Terminal, message: str, code: int, debug: bool, error: BaseException) -> None:
    terminal.fail(message)
    if terminal.as_json:
        terminal.summary("", None, {"error": message, "exit_code": code})
    if debug:
        raise error
    raise typer.Exit(code)


def main() -> None:
    """Run the command line; the exit code is 2 for what the user gave, 1 for what went wrong."""
    sys.exit(app())
