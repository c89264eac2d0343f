"""One offline HTML page about a run: books, probe, weights, losses. No script, nothing fetched, every text escaped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from versatune.reporting import plots, rendering
from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.errors import DataError
from versatune.schemas.files import write_atomic
from versatune.schemas.inside import inside
from versatune.schemas.mixture import MixtureManifest
from versatune.schemas.probe import ProbeReport
from versatune.schemas.references import dataset_of, mixture_of
from versatune.schemas.run import CheckpointRecord, RunRecord, read_checkpoints
from versatune.schemas.visible import visible

_LABEL = 40  # characters of a name beside a bar


@dataclass(frozen=True, kw_only=True)
class Story:
    """Everything a page tells of."""

    directory: Path
    run: RunRecord
    mixture: MixtureManifest
    dataset: DatasetManifest
    probe: ProbeReport | None
    checkpoints: list[CheckpointRecord]


def write_report(run: Path) -> Path:
    """Write ``report.html`` into a run's directory.

    Args:
        run: the run's directory, or its run.json.

    Raises:
        DataError: no finished run here, or one of the documents it names is missing or of another version.
        IntegrityError: a document it names is not the one that it was made from, or a log is not the run's.
    """
    directory = run.parent if run.is_file() else run
    if not directory.is_dir():
        raise DataError(f"{run}: no such directory; give a run's directory, <output>/<name>/runs/<id>")
    if not (directory / "run.json").is_file():
        raise DataError(
            f"{directory}: has no run.json; expected the directory of a run (OUTPUT/NAME/runs/ID) or of a probe"
            " (OUTPUT/NAME/probe/DIGEST). If it is a run's, the run has not finished: `versatune train CONFIG` goes on with it"
        )
    page = directory / "report.html"
    write_atomic(page, render(read_story(directory)).encode())
    return page


def read_story(directory: Path) -> Story:
    """Read a finished run's documents."""
    run = RunRecord.load(directory / "run.json")
    mixture_file, mixture = mixture_of(run, directory)
    _, dataset = dataset_of(mixture, mixture_file)
    return Story(
        directory=directory,
        run=run,
        mixture=mixture,
        dataset=dataset,
        probe=_find_probe(mixture_file.parent.parent.parent / "probe", mixture.probe_digest),
        checkpoints=read_checkpoints(inside(directory, "weights.jsonl")),
    )


def render(story: Story) -> str:
    """Return the page as HTML."""
    return rendering.render(
        "report.html.j2",
        story=story,
        run=story.run,
        mixture=story.mixture,
        dataset=story.dataset,
        probe=story.probe,
        figures=_figures(story),
        drawn=_drawn(story),
        colours=plots.PALETTE,
    )


def _find_probe(folder: Path, digest: str | None) -> ProbeReport | None:
    """Find the report that a mixture was made from; other reports may lie beside it."""
    if digest is None:
        return None
    for file in sorted(folder.glob("*/probe.json")):
        report = ProbeReport.load(inside(folder, f"{file.parent.name}/{file.name}"))
        if report.digest == digest:
            return report
    raise DataError(f"{folder}: holds no probe report with digest {digest[:12]}..., which the mixture was made from")


def _figures(story: Story) -> dict[str, Markup]:
    figures = {"books": _books(story.dataset), "weights": _weights(story), "trajectory": _trajectory(story)}
    figures["losses"] = plots.lines(
        [record.step for record in story.checkpoints],
        _by_domain(story, [record.loss for record in story.checkpoints]),
        "optimizer step",
        "held-out loss, nats per token",
    )
    if story.probe is not None:
        estimate = story.probe.estimate
        spread = plots.Spread(shares=estimate.shares, lower=estimate.lower, upper=estimate.upper)
        figures["probe"] = plots.intervals(_labels(story.probe.domains), spread)
    return figures


def _books(dataset: DatasetManifest) -> Markup:
    """Cut every source's rows into domains, duplicates, near-duplicates and rejects."""
    domains = dataset.taxonomy.domains
    parts = {domain: [books.written.get(domain, 0) for books in dataset.books] for domain in domains}
    for name, counts in (
        ("duplicates", "duplicates"),
        ("near-duplicates", "near_duplicates"),
        ("rejected", "rejected"),
    ):
        parts[name] = [sum(getattr(books, counts).values()) for books in dataset.books]
    colours = [*(plots.colour(j) for j in range(len(domains))), "#C9CED6", "#8A929C", "#1B1F24"]
    return plots.stacked_rows(_labels(books.source for books in dataset.books), parts, colours)


def _weights(story: Story) -> Markup:
    """Compare the pool, the wish, the plan and what was really drawn."""
    plan = story.mixture.plan
    pool = sum(entry.rows for entry in plan)
    drawn = story.checkpoints[-1].rows
    groups = {
        "pool": [entry.rows / max(pool, 1) for entry in plan],
        "asked for": [entry.requested_weight for entry in plan],
        "first segment": [entry.realised_weight for entry in plan],
        "drawn in the run": [rows / max(sum(drawn), 1) for rows in drawn],
    }
    return plots.grouped_bars(_labels(story.mixture.domains), groups, "share")


def _trajectory(story: Story) -> Markup:
    """Draw the weights of each segment: those decided at checkpoint t govern segment t + 1."""
    governing = story.checkpoints[:-1] or story.checkpoints
    return plots.lines(
        [record.checkpoint + 1 for record in governing],
        _by_domain(story, [record.weights for record in governing]),
        "segment",
        "weight",
        percent=True,
    )


def _labels(names: Iterable[str]) -> list[str]:
    return [visible(name[:_LABEL]) for name in names]


def _by_domain(story: Story, vectors: list[Any]) -> dict[str, list[float | None]]:
    return {domain: [vector[j] for vector in vectors] for j, domain in enumerate(_labels(story.run.domains))}


def _drawn(story: Story) -> list[dict[str, Any]]:
    """Return what the run drew of each domain, in all three units."""
    last = story.checkpoints[-1]
    totals = {"rows": sum(last.rows), "tokens": sum(last.tokens), "loss_tokens": sum(last.loss_tokens_drawn)}
    return [
        {
            "domain": domain,
            "rows": last.rows[j],
            "row_share": last.rows[j] / max(totals["rows"], 1),
            "token_share": last.tokens[j] / max(totals["tokens"], 1),
            "loss_token_share": last.loss_tokens_drawn[j] / max(totals["loss_tokens"], 1),
            "passes": last.passes[j],
        }
        for j, domain in enumerate(story.run.domains)
    ]
