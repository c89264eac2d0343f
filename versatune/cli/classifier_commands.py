"""`versatune classifier train` and `versatune classifier evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from versatune.cli.command import AsJson, Debug, Overrides, guarded
from versatune.cli.terminal import Terminal

app = typer.Typer(help="Train and judge the classifier that labels text with domains.", no_args_is_help=True)

TrainingPath = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="YAML configuration, such as examples/classifier/topics.yaml")
]


@app.command()
def train(config: TrainingPath, set_: Overrides = [], as_json: AsJson = False, debug: Debug = False) -> None:
    """Train a domain classifier, for these domains or for your own.

    Leaves every source out in turn, so that the card says what to expect on data nobody has labelled: accuracy, calibration, the
    confusion matrix, and the probability below which a text is undetermined. `search.trials` looks for better fastText settings
    by the same measure. The same rows, configuration and seed give the same bytes.

    Writes domains.ftz, its card domains.json, card.md and plots to the configuration's `output`. Use it with
    `classifier: {path: .../domains.ftz}` in a versatune configuration.
    """

    def work(terminal: Terminal) -> None:
        from versatune.cli.classifier_summaries import train_from

        terminal.summary(*train_from(config, set_, terminal))

    guarded(work, as_json, debug)


@app.command()
def evaluate(
    file: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Labelled rows {text, domain, source}, JSON Lines (.gz)")
    ],
    model: Annotated[
        Path | None,
        typer.Option("--model", help="A fastText .ftz or .bin, its card beside it; default: the bundled one"),
    ] = None,
    plots: Annotated[Path | None, typer.Option("--plots", help="Write the plots to this directory")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """How good a classifier is on labelled rows: by domain, by source, calibration, what it leaves undetermined.

    The domains are those of the model's card. Rows of sources that the model was trained on flatter it.
    """

    def work(terminal: Terminal) -> None:
        from versatune.cli.classifier_summaries import evaluate_files

        terminal.summary(*evaluate_files(file, model, plots))

    guarded(work, as_json, debug)
