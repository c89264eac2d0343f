"""The command line. Stages are imported when they run, so ``versatune --help`` needs neither torch nor Beam."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from versatune.cli.classifier_commands import app as classifier_app
from versatune.cli.command import AsJson, ConfigPath, Debug, Overrides, guarded, job, place
from versatune.cli.label_command import add_label_command
from versatune.cli.probe_commands import app as probe_app
from versatune.cli.terminal import Terminal
from versatune.cli.version_commands import add_version_commands
from versatune.schemas.version import VERSION

EPILOG = "Start with: versatune run examples/quickstart.yaml"
PASS_THROUGH = {"allow_extra_args": True}

app = typer.Typer(
    name="versatune",
    help="""Know what to fine-tune on.

    versatune builds a versioned dataset from raw instruction files, probes what a base model already knows, mixes the
    one according to the other, fine-tunes with weights that follow the losses, and reports it all on one page.

    The stages of one configuration, in order: build, probe, mix, train, report. `run` does them all and skips what is
    complete and unchanged.

    Before a build: `inspect` a file, `check` a configuration. After it: `ls`, `verify`, `diff`, `trace`, `rejects`, `reprocess`. After training:
    `export`.""",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.add_typer(classifier_app, name="classifier")
app.add_typer(probe_app, name="probe")


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

    Reads whatever people keep instruction data in (`versatune inspect FILE` shows what a file is taken for), normalises
    every row to messages, cleans it, labels it, tokenizes it, drops duplicates and near-duplicates, and keeps books: rows
    read + further examples in them = written + duplicates + near-duplicates + rejected.

    Writes OUTPUT/NAME/VERSION/: manifest.json, data/ as Parquet by split and domain, lineage/ with the origin and fate of
    every example, rejects/ with the reason of each. A build that was killed goes on where it was.

    Flags after `--` go to Apache Beam: versatune build my.yaml -- --runner=DataflowRunner --project=...
    """
    from versatune.cli.summaries import summarize_build

    _stage(context, "build", config, set_, as_json, debug, summarize_build)


@app.command(context_settings=PASS_THROUGH)
def check(
    context: typer.Context,
    config: ConfigPath,
    set_: Overrides = [],
    stage: Annotated[
        list[str],
        typer.Option(
            "--stage", metavar="STAGE", help="Check for this stage alone: build, probe, mix or train; may be repeated"
        ),
    ] = [],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """What a later stage would refuse, all of it at once, before anything is done. `run` begins with it.

    Looks at inputs, model, tokenizer and template, device and number format, context length, free disk, held-out rows,
    and the mixture where there is one to compose. Nothing is written and no weights are loaded; a model on a hub or an
    object store is fetched. Checks for the stages that `run` would not skip.

    A refusal ends with exit code 2 and names every key with its value, what was expected and what to do. A warning does not.
    """

    def work(terminal: Terminal) -> None:
        from versatune.cli.summaries import summarize_check
        from versatune.stages import check as check_stages

        report = check_stages(job(context, config, set_, terminal), stage or None)
        for problem in report.warnings:
            terminal.say(f"warning: {problem}")
        report.raise_refused()
        terminal.summary(*summarize_check(report))

    guarded(work, as_json, debug)


@app.command()
def mix(
    context: typer.Context, config: ConfigPath, set_: Overrides = [], as_json: AsJson = False, debug: Debug = False
) -> None:
    """Pool and probe to a mixture manifest: what to train on, how much of each domain, and why.

    Reads the newest dataset version's manifest and, for policy versatune-constant, the newest probe report; never a
    row. Writes OUTPUT/NAME/mixture/DIGEST/, and makes it the newest mixture, which `train` takes.

    With `--set mix...` or `--set seed=...` it is a trial: it is written and named, and the newest mixture stays what it was.
    Train on it with `versatune train CONFIG --mixture DIGEST`.
    """
    from versatune.cli.summaries import summarize_mixture

    _stage(context, "mix", config, set_, as_json, debug, summarize_mixture)


@app.command()
def train(
    context: typer.Context,
    config: ConfigPath,
    set_: Overrides = [],
    mixture: Annotated[
        str | None,
        typer.Option(metavar="DIGEST|FILE", help="Train on this mixture: the first digits of its digest, or its file"),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Fine-tune from the newest mixture, re-weighting the domains between segments.

    Says which mixture it takes and how it differs from the configuration. With `--set mix...` it takes the one that
    `mix` made with the same settings. Measures every domain's held-out loss from step 0. Kill it at any time: the same command goes on from the last
    checkpoint and repeats the same losses. Writes OUTPUT/NAME/runs/ID/, the trained model in model/ there.
    """
    from versatune.cli.summaries import summarize_run

    _stage(context, "train", config, set_, as_json, debug, summarize_run, mixture)


@app.command()
def export(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            parser=place,
            help="A run's directory, OUTPUT/NAME/runs/ID, or its run.json; with --of its id",
        ),
    ],
    of: Annotated[
        Path | None,
        typer.Option(
            "--of", metavar="CONFIG|DIR", parser=place, help="The configuration, or OUTPUT/NAME, whose run it is"
        ),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write a trained run's model again from its last checkpoint, without training.

    `train` ends with an export and its audit: what was written is loaded as anybody would load it and compared with what was trained. Where
    it differs nothing is published, and the message says what. This tries again once the cause is mended. What stands in model/ stays
    until something better takes its place.
    """

    def work(terminal: Terminal) -> None:
        from versatune.cli.summaries import summarize_run
        from versatune.stages import export as export_run
        from versatune.versions.runs import find_run

        terminal.summary(*summarize_run(export_run(find_run(run, of), terminal)))

    guarded(work, as_json, debug)


@app.command(context_settings=PASS_THROUGH)
def run(
    context: typer.Context, config: ConfigPath, set_: Overrides = [], as_json: AsJson = False, debug: Debug = False
) -> None:
    """Everything: check, build, probe, mix, train, report. Stages that are complete and unchanged are skipped.

    What a later stage would refuse is refused first, all of it at once: see `check`. It trains on the mixture that it made.
    """

    def work(terminal: Terminal) -> None:
        from versatune.cli.summaries import summarize_all
        from versatune.stages import check_outputs, run_all, write_page

        outputs = run_all(job(context, config, set_, terminal))
        check_outputs(outputs, terminal)
        if "probe" in outputs:
            write_page(outputs["probe"][0].parent, terminal)
        page = write_page(outputs["train"][0].parent, terminal)
        terminal.summary(*summarize_all(outputs, page))

    guarded(work, as_json, debug)


@app.command()
def report(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|PROBE",
            parser=place,
            help="A run's directory, OUTPUT/NAME/runs/ID; or a probe's, OUTPUT/NAME/probe/DIGEST",
        ),
    ],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """One offline HTML page about a run: the books, the probe, weights asked for and used, losses by domain.

    Writes report.html into the run's directory. Of a probe: writes its page, probe.html, anew.
    """

    def work(terminal: Terminal) -> None:
        from versatune.stages import write_page

        page = write_page(directory, terminal)
        terminal.summary(f"report: {page}", None, {"report": str(page)})

    guarded(work, as_json, debug)


add_version_commands(app)
add_label_command(app)


def _stage(
    context: typer.Context,
    stage: str,
    config: Path,
    overrides: list[str],
    as_json: bool,
    debug: bool,
    summarize: Callable[[Path], Any],
    mixture: str | None = None,
) -> None:
    """Run one stage of a configuration and print its summary."""

    def work(terminal: Terminal) -> None:
        from versatune.stages import run_one

        output = run_one(replace(job(context, config, overrides, terminal), mixture=mixture), stage)
        terminal.summary(*summarize(output))

    guarded(work, as_json, debug)


def main() -> None:
    """Run the command line; the exit code is 2 for what the user gave, 1 for what went wrong."""
    sys.exit(app())
