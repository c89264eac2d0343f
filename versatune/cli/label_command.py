"""``versatune label``: a judge's domains for any rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from versatune.cli.command import AsJson, Debug, guarded
from versatune.cli.terminal import Terminal
from versatune.schemas.errors import ConfigError

if TYPE_CHECKING:
    from versatune.schemas.config import Config


def add_label_command(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(label)


def label(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="Rows with a text (and perhaps domain and source): JSON Lines, Parquet or any format a source may have; a probe's"
            " generations.parquet; the directory of a dataset version",
        ),
    ],
    model: Annotated[
        str,
        typer.Option("--model", help="A model folder or a hub id; with --endpoint, the name that the endpoint knows"),
    ],
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            metavar="URL",
            help="Ask an OpenAI-compatible chat API (https://host/v1) and not a local engine; the key is taken from the environment"
            " variable OPENAI_API_KEY",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="CONFIG", help="A configuration, for its taxonomy, classifier and section 'label'"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="DIR", help="Where labels go; otherwise labels/DIGEST, with --config in its output"
        ),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Have a language model label rows with domains, and say how far the classifier agrees.

    The model sees the domains and the beginning of a text, and answers with a letter. What counts is the softmax over the letters,
    averaged over three orders of them; a row whose best domain has less than 0.4 is undetermined and kept apart.

    Writes labelled.jsonl.gz, which `versatune classifier train` reads, undetermined.jsonl.gz and labels.json: agreement with the
    classifier and with the rows' own domains, how much the order of the letters mattered, speed. Answers are kept: what was killed
    goes on, and the same text is never asked about twice.

    Try it on a few hundred rows whose domains you know before you trust a model with more.

    Flags after `--` go to Apache Beam.
    """

    def work(terminal: Terminal) -> None:
        from versatune.cli.summaries import summarize_labels
        from versatune.pipelines.label import plan_endpoint, plan_local, run
        from versatune.schemas.config import Config, load_config

        beam_args = [argument for argument in files if argument.startswith("--")]
        paths = [argument for argument in files if not argument.startswith("--")]
        settings = Config(name="labels") if config is None else load_config(config)
        home = output or (Path("labels") if config is None else _home(settings))
        plan = plan_local(settings, model) if endpoint is None else plan_endpoint(settings, model, endpoint)
        file = run(plan, paths, home, by_digest=output is None, beam_args=beam_args, progress=terminal)
        terminal.summary(*summarize_labels(file))

    guarded(work, as_json, debug)


def _home(config: Config) -> Path:
    if "://" in config.home:
        raise ConfigError(f"output is {config.output}; labels are written to a local directory, so give --output DIR")
    return Path(config.home) / "labels"
