"""``versatune probe CONFIG`` and ``versatune probe compare A B ...``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from versatune.cli.command import AsJson, ConfigPath, Debug, Overrides, guarded, job, place
from versatune.cli.terminal import Terminal


class CommandOrGroup(TyperGroup):
    """A command that has commands of its own: if the first argument names one, that is meant, and otherwise this."""

    allow_interspersed_args = True

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Hand over to the command that is named."""
        command = self.commands.get(args[0]) if args else None
        if command is None:
            return super().make_context(info_name, args, parent, **extra)
        return command.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments as a plain command's, the ones after a bare ``--`` included."""
        return super(TyperGroup, self).parse_args(ctx, args)


app = typer.Typer(
    cls=CommandOrGroup,
    invoke_without_command=True,
    subcommand_metavar="| compare A B...",
    context_settings={"allow_extra_args": True},
)


@app.callback()
def probe(
    context: typer.Context, config: ConfigPath, set_: Overrides = [], as_json: AsJson = False, debug: Debug = False
) -> None:
    """What the base model writes about when nobody asks, by domain, with intervals.

    Samples from the token that begins its documents with vLLM, or through a server (`probe.endpoint`), and labels every sample with the
    classifier that labels the data. Samples come in rounds; after each the shares and their intervals are looked at, and the
    probe stops when these are narrow and stable enough (`probe.half_width`, `probe.max_change`), or when all `probe.samples`
    are drawn.

    Generations are kept: the same seed, a larger probe, or one that was killed draws only what is missing.

    Writes OUTPUT/NAME/probe/DIGEST/: probe.json with four estimates, the labelled generations as Parquet, and probe.html, a
    page to read: shares, stability, samples of every domain, what was left out.

    Flags after `--` go to Apache Beam: versatune probe my.yaml -- --runner=DataflowRunner --project=...

    A configuration that is called compare is given as ./compare.
    """

    def work(terminal: Terminal) -> None:
        from versatune.cli.summaries import summarize_probe
        from versatune.stages import run_one, write_page

        file = run_one(job(context, config, set_, terminal), "probe")
        write_page(file.parent, terminal)
        terminal.summary(*summarize_probe(file))

    guarded(work, as_json, debug)


@app.command()
def compare(
    reports: Annotated[
        list[Path],
        typer.Argument(
            metavar="PROBE",
            parser=place,
            help="Two or more: probe.json, its directory, or OUTPUT/NAME, of which the newest probe counts",
        ),
    ],
    estimate: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="soft, hard, corrected or em, which all must have; otherwise each report's chosen one"
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw the models side by side, with intervals")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """What several models write about, side by side, and which differences are beyond doubt.

    Shows every domain's share in each model with its interval, how far each model is from the first one, and the total variation
    distance: the share of documents that would have to change domain. A difference is marked * where its interval, which holds for
    all domains at once, does not hold 0. Warns where the probes differ in more than the model: classifier, prompt token, sampling,
    estimate, how much was left out. Refuses probes of other domains.
    """

    def work(terminal: Terminal) -> None:
        from versatune.cli.compare_probes import read_probes, summarize_comparison, write_plot

        probes = read_probes(reports, estimate)
        if plot is not None:
            write_plot(probes, plot)
        terminal.summary(*summarize_comparison(probes, plot))

    guarded(work, as_json, debug)
