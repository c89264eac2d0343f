"""The commands on raw files and dataset versions: inspect, ls, verify, diff, trace, rejects, reprocess."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from versatune.cli.command import AsJson, ConfigPath, Debug, Overrides, guarded, place
from versatune.cli.terminal import Terminal
from versatune.schemas.errors import ConfigError, UsageError

VersionPath = Annotated[
    Path,
    typer.Argument(
        metavar="VERSION",
        parser=place,
        help="A version's directory or address; a configuration, for its newest version",
    ),
]


def add_version_commands(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (inspect, ls, verify, diff, trace, rejects, reprocess):
        app.command()(command)


def inspect(
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="A raw file in any format, a folder of them, or an address")
    ] = None,
    fields: Annotated[
        str | None,
        typer.Option(metavar="YAML", help="Try a field map: --fields '{prompt: ticket.ask, completion: ticket.reply}'"),
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Rows to read at most")] = 200,
    template: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL|FILE",
            help="In place of a file, a chat template: that of a model (folder or hub id), a Jinja file, or versatune/NAME",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="With --template FILE: whose tokens the template is tried with")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --template: also write a page with the same")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """What a raw file would become: its format, the shape of its rows, the first ones before and after, its problems.

    Nothing is written. Where the shape is not known, the advice names the fields to map; try a map with --fields, then
    put it into the configuration under sources.fields.

    With --template, what a chat template can and cannot express. It is tried on built-in conversations: one turn and
    several, a system turn, thoughts, tools, calls, results. Shows of each what the template writes with the part that is
    learned marked, and a table: yes, all of it is learned; in part, something is left out or differs from the prompt at
    inference, and such rows are counted; no, such rows are rejected, with the reason.
    """

    def work(terminal: Terminal) -> None:
        from versatune.cli.inspect_file import summarize_inspection
        from versatune.cli.inspect_template import summarize_template

        if (file is None) == (template is None):
            raise UsageError("give either a raw file or --template MODEL|FILE")
        if template is not None:
            terminal.summary(*summarize_template(template, model, html))
            return
        if model is not None or html is not None:
            raise UsageError("--model and --html go with --template")
        assert file is not None  # one of the two is given
        terminal.summary(*summarize_inspection(file, fields, sample))

    guarded(work, as_json, debug)


def ls(
    where: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG|DIR", parser=place, help="A configuration, a dataset's directory, or that of several"
        ),
    ],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """The versions of a dataset, the oldest first, with rows, tokens, digest and parent; * marks the newest pointer.

    A version that cannot be read is named with the reason.
    """

    def work(terminal: Terminal) -> None:
        from versatune.cli.version_summaries import summarize_versions
        from versatune.versions.listing import list_versions

        terminal.summary(*summarize_versions(list_versions(where)))

    guarded(work, as_json, debug)


def verify(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG|DIR",
            parser=place,
            help="Directory of a dataset version, probe, mixture or run; a configuration, for its newest version",
        ),
    ],
    deep: Annotated[bool, typer.Option("--deep", help="Also look at every row of a dataset version")] = False,
    audit: Annotated[
        bool, typer.Option("--audit", help="Also load a run's exported model and compare it with the last checkpoint")
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Check every digest, checksum and count of a directory; exit 1 and name what is wrong.

    Of a dataset version: every file's bytes, sha256 and rows, files that do not belong there, the books against the
    files, licences, the card. With --deep also every row: its id is the digest of its content and stands once in the
    whole version, its path says its domain and split, tokens add up, and lineage, rejects and input files agree row by
    row. `versatune build` puts damaged files of a version back.

    Of a run: the model's files and the checkpoints' log. With --audit also the model itself: it is loaded as anybody would load it, its
    tensors are those of the last checkpoint, its loss on a few held-out rows is the run's, and generation ends where it was taught to.
    """

    def work(terminal: Terminal) -> None:
        from versatune import stages
        from versatune.cli.summaries import describe_audit
        from versatune.schemas.run import RunRecord
        from versatune.versions.runs import find_run
        from versatune.versions.verify import verify as check

        document, problems = check(directory, terminal, deep=deep)
        result: dict[str, Any] = {"kind": document.kind, "digest": document.digest}
        if audit:
            if not isinstance(document, RunRecord):
                raise UsageError(f"{directory}: --audit looks at the model of a run; give OUTPUT/NAME/runs/ID")
            if not problems:
                figures, problems = stages.audit(find_run(directory), terminal)
                terminal.say(describe_audit(figures))
                result["audit"] = figures.model_dump(mode="json")
        result = {"ok": not problems, **result, "problems": problems}
        for problem in problems:
            terminal.say(problem)
        verdict = f"verified: {directory} ({document.kind}, digest {document.digest[:12]})"
        wrong = f"{len(problems)} {'problem' if len(problems) == 1 else 'problems'} in {directory}"
        terminal.summary(wrong if problems else verdict, None, result)
        if problems:
            raise typer.Exit(1)

    guarded(work, as_json, debug)


def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="A version's directory, or its name with --of")],
    after: Annotated[str, typer.Argument(metavar="B", help="Another one")],
    of: Annotated[
        Path | None,
        typer.Option(
            "--of", metavar="CONFIG|DIR", parser=place, help="The dataset whose versions A and B name; `latest` is one"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.jsonl", help="Write a line for each row that differs"),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """What B has that A has not: rows, domains, splits, sources, licences, books, weights, configuration.

    Rows are the same when their ids are: the digest of what they say. Memory is that of one range of shards, however
    large the versions are; shards that are the same file in both are not opened.
    """

    def work(terminal: Terminal) -> None:
        from versatune.cli.version_summaries import summarize_diff
        from versatune.versions.listing import find_version

        files = [find_version(place(name) if of is None else Path(name), of) for name in (before, after)]
        terminal.summary(*summarize_diff(files[0], files[1], output, terminal))

    guarded(work, as_json, debug)


def trace(
    version: VersionPath,
    row: Annotated[
        str | None, typer.Option("--row", metavar="ID", help="An example's id, or its first digits, at least 6")
    ] = None,
    origin: Annotated[
        str | None,
        typer.Option("--origin", metavar="URI:ROW", help="A raw row: raw/law.jsonl:17; the first row of a file is 0"),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Where an example came from and what became of it (--row), or what became of a raw row (--origin).

    --row names every raw row with the same content, the near-duplicates that the example stands for, and its shard; of
    an example that was dropped, what stands for it. --origin names each example of the raw row: written, dropped for
    another, or rejected, with the reason.
    """

    def work(terminal: Terminal) -> None:
        from versatune.cli.version_summaries import summarize_origin, summarize_row
        from versatune.versions.listing import find_version
        from versatune.versions.trace import trace_origin, trace_row

        if (row is None) == (origin is None):
            raise UsageError("give either --row ID or --origin URI:ROW")
        file = find_version(version)
        if row is not None:
            terminal.summary(*summarize_row(trace_row(file, row)))
        else:
            terminal.summary(*summarize_origin(trace_origin(file, str(origin))))

    guarded(work, as_json, debug)


def rejects(
    version: VersionPath,
    reason: Annotated[str | None, typer.Option(help="Only rows with this reason, such as empty_answer")] = None,
    source: Annotated[str | None, typer.Option(help="Only rows of this source")] = None,
    stage: Annotated[str | None, typer.Option(help="Only rows of this stage, such as normalize")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many rows; with -o")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.jsonl", help="Write the rows, ready to be edited")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Why rows were rejected, by source; with -o the rows themselves as JSON Lines.

    Mend `payload` in that file, leave the other fields and rows as they are, and give it to `versatune reprocess`.
    """

    def work(terminal: Terminal) -> None:
        from versatune.cli.version_summaries import summarize_rejects
        from versatune.versions.listing import find_version
        from versatune.versions.rejects import Wanted

        wanted = Wanted(reason=reason, source=source, stage=stage)
        terminal.summary(*summarize_rejects(find_version(version), wanted, output, limit, terminal))

    guarded(work, as_json, debug)


def reprocess(
    config: ConfigPath,
    repaired: Annotated[
        Path, typer.Argument(metavar="REPAIRED.jsonl", help="What `versatune rejects -o` wrote, with payloads mended")
    ],
    set_: Overrides = [],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Build a child version in which repaired rows stand in the place of rejected ones.

    Reads the configuration's sources again; a row whose payload was repaired is replaced, wherever it stands. The
    child's manifest names its parent and the repairs. Says which repairs were used and which were not enough.
    """

    def work(terminal: Terminal) -> None:
        from versatune.cli.version_summaries import summarize_reprocess
        from versatune.schemas.config import load_config

        settings = load_config(config, set_)
        if "://" in settings.home:
            raise ConfigError(f"output is {settings.output}; set it to a local directory to reprocess")
        terminal.summary(*summarize_reprocess(settings, repaired, terminal))

    guarded(work, as_json, debug)
