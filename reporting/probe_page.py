"""One offline HTML page about a probe: what the model writes about, how sure that is, and samples to read. No script, nothing fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from versatune.reporting import plots, rendering
from versatune.reporting.samples import Sample, samples_to_read
from versatune.schemas.errors import DataError, IntegrityError
from versatune.schemas.files import sha256_file, write_atomic
from versatune.schemas.inside import inside
from versatune.schemas.probe import Estimate, EstimateName, ProbeReport

PAGE = "probe.html"
ESTIMATES: dict[EstimateName, str] = {
    "soft": "The mean of the classifier's probabilities. Where the classifier is unsure, it pulls the shares together.",
    "hard": "The share of samples whose most probable domain it is, however sure the classifier was.",
    "corrected": "The hard shares with what the classifier mixes up taken back out, as far as that is known.",
    "em": "The probabilities, re-weighted until they agree with their own mean. It needs well calibrated probabilities.",
}


def write_probe_page(path: Path) -> Path:
    """Write ``probe.html`` beside a probe's report; the same report and generations give the same bytes.

    Args:
        path: a probe's directory, or its probe.json.

    Raises:
        DataError: no probe report here, or its generations are missing or cannot be read.
        IntegrityError: they are not the report's, or a link leads to them.
    """
    file = path / "probe.json" if path.is_dir() else path
    if not file.is_file():
        raise DataError(f"{file}: no such file; give a probe's directory, OUTPUT/NAME/probe/DIGEST")
    report = ProbeReport.load(file)
    generations = inside(file.parent, report.generations)
    if report.generations_sha256 and generations.is_file() and sha256_file(generations) != report.generations_sha256:
        raise IntegrityError(f"{generations}: is not the file that {file} pins; run `versatune probe` again")
    page = file.with_name(PAGE)
    write_atomic(page, render(report, samples_to_read(generations, report)).encode())
    return page


def render(report: ProbeReport, samples: dict[str, list[Sample]]) -> str:
    """Return the page as HTML; ``samples`` are those to read, by domain."""
    return rendering.render(
        "probe.html.j2",
        report=report,
        answer=answer(report),
        other_answers=other_answers(report),
        why_stopped=why_stopped(report),
        figures=_figures(report),
        meanings=ESTIMATES,
        samples=samples,
        environment=_environment(report),
        colours=[plots.colour(j) for j in range(len(report.domains))],
    )


def answer(report: ProbeReport) -> str:
    """Say in one sentence what the model writes about most, and whether that is settled."""
    estimate = report.estimate
    order = np.argsort(-np.asarray(estimate.shares), kind="stable")
    first = int(order[0])
    said = (
        f"The largest domain of {report.model.name} is {report.domains[first]}: {estimate.shares[first]:.1%} of its documents"
        f" ({estimate.lower[first]:.1%} to {estimate.upper[first]:.1%})"
    )
    rivals = [report.domains[j] for j in order[1:] if estimate.upper[j] >= estimate.lower[first]]
    if not rivals:
        return f"{said}."
    who = " or ".join(rivals) if len(rivals) <= 2 else f"any of {len(rivals)} others"
    return f"{said}, though {who} may come first: the intervals overlap."


def other_answers(report: ProbeReport) -> str:
    """Say what the other estimates make of the domain that is largest by the chosen one."""
    first = int(np.argmax(report.distribution))
    others = [estimate for estimate in report.estimates if estimate.name != report.chosen]
    shares = ", ".join(f"{estimate.shares[first]:.1%} ({estimate.name})" for estimate in others)
    return f"That is the {report.chosen} estimate; the others say {shares}." if others else ""


def why_stopped(report: ProbeReport) -> str:
    """Say how many samples there are, why there are no more, and how narrow the intervals have become."""
    look, rounds = report.looks[-1], report.rounds
    achieved = f"±{_points(max(look.half_widths))}"
    drawn = f"{report.samples:,} samples were drawn and {report.counted:,} count."
    if report.stopped_by == "precision":
        return (
            f"{drawn} The probe stopped after round {look.round} of {rounds.max_rounds} because it was precise enough: sampling alone"
            f" leaves {achieved} points at most, and no share moved by more than {_points(rounds.max_change)} points in the last round."
        )
    target = "" if rounds.half_width is None else f"; the target was ±{_points(rounds.half_width)}"
    return f"{drawn} The probe stopped because every planned sample was drawn. Sampling alone leaves {achieved} points at most{target}."


def _figures(report: ProbeReport) -> dict[str, Markup]:
    spreads: dict[str, plots.Spread] = {estimate.name: spread(estimate) for estimate in report.estimates}
    hard = spreads.get("hard", spreads[report.chosen])
    bounds = plots.Spread(shares=hard.shares, lower=report.unlabelled.lower, upper=report.unlabelled.upper)
    return {
        "answer": plots.intervals(report.domains, spreads[report.chosen]),
        "estimates": plots.estimate_dots(report.domains, spreads, report.chosen, bounds),
        "stability": plots.stability(
            report.domains,
            [look.samples for look in report.looks],
            [look.shares for look in report.looks],
            [look.half_widths for look in report.looks],
            report.rounds.half_width,
        ),
    }


def spread(estimate: Estimate) -> plots.Spread:
    """Return what a plot draws of an estimate."""
    return plots.Spread(shares=estimate.shares, lower=estimate.lower, upper=estimate.upper)


def _points(share: float) -> str:
    """Two significant digits of percentage points."""
    return f"{100 * share:.2g}"


def _environment(report: ProbeReport) -> dict[str, str]:
    words = {name: _words(value) for name, value in sorted(report.environment.items())}
    if isinstance(engines := report.environment.get("engines"), list):
        words["engines"] = "; ".join(map(_engine, engines))
    return words


def _engine(entry: dict[str, Any]) -> str:
    kept = ", kept from an earlier run" if entry.get("reused") else ""
    return f"{_words(entry.get('samples'))} samples by {_words(entry.get('engine'))}{kept}"


def _words(value: Any) -> str:
    """Write a value of the environment for people."""
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_words(inner)}" for name, inner in sorted(value.items())) or "–"
    if isinstance(value, list):
        return ", ".join(map(_words, value)) or "–"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    return f"{value:,}" if isinstance(value, int | float) else str(value)
