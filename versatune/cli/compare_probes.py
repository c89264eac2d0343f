"""``versatune probe compare``: what several models write about, side by side, and which differences are beyond doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group

from versatune.cli.summaries import Summary
from versatune.cli.terminal import printable, table
from versatune.mixing.compare import difference_intervals, total_variation
from versatune.schemas.errors import DataError, UsageError, nearest
from versatune.schemas.files import write_atomic
from versatune.schemas.pointer import read_pointer
from versatune.schemas.probe import Estimate, ProbeReport
from versatune.versions.places import at_hand

_REJECTED_APART = 0.02
_KINDS = ("soft", "hard", "corrected", "em")


@dataclass(frozen=True, kw_only=True)
class Probed:
    """One model of a comparison."""

    name: str
    """The model's, with the report's digest where several have it."""
    file: Path
    report: ProbeReport
    estimate: Estimate

    @property
    def rejected(self) -> float:
        """Share of the samples that does not count."""
        return 1.0 - self.report.counted / self.report.samples


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far a model is from the first one; vectors are in the order of the domains, in shares."""

    name: str
    total_variation: float
    shares: list[float]
    lower: list[float]
    upper: list[float]

    @property
    def beyond_doubt(self) -> list[bool]:
        """Where the interval of the difference does not hold zero."""
        return [low > 0.0 or high < 0.0 for low, high in zip(self.lower, self.upper, strict=True)]


def read_probes(paths: Sequence[Path], estimate: str | None) -> list[Probed]:
    """Read the reports to compare.

    Args:
        paths: reports, their directories, or outputs of a configuration, of which the newest report counts.
        estimate: soft, hard, corrected or em; None: the one that each report has chosen.

    Raises:
        UsageError: fewer than two, or no such estimate.
        DataError: no report here, other domains than the first has, or a report without this estimate.
    """
    if len(paths) < 2:
        raise UsageError(
            f"{len(paths)} probe given; expected two or more to compare. A configuration that is called 'compare' is given as ./compare"
        )
    if estimate is not None and estimate not in _KINDS:
        raise UsageError(f"--estimate is '{estimate}'; expected one of {', '.join(_KINDS)}{nearest(estimate, _KINDS)}")
    files = [_find(path) for path in paths]
    reports = [ProbeReport.load(file) for file in files]
    for file, report in zip(files, reports, strict=True):
        if report.domains != reports[0].domains:
            raise DataError(
                f"{file}: its domains are {', '.join(report.domains)}; those of {files[0]} are {', '.join(reports[0].domains)}."
                " Only probes of the same domains in the same order can be compared"
            )
    return [
        Probed(name=name, file=file, report=report, estimate=_estimate(file, report, estimate))
        for name, file, report in zip(_names(reports), files, reports, strict=True)
    ]


def compare(probes: Sequence[Probed]) -> list[Difference]:
    """Return how far every model but the first is from the first one."""
    first = probes[0].estimate
    a = (np.array(first.shares), np.array(first.lower), np.array(first.upper))
    differences = []
    for probed in probes[1:]:
        b = probed.estimate
        shares = np.array(b.shares)
        lower, upper = difference_intervals(shares, np.array(b.lower), np.array(b.upper), *a)
        differences.append(
            Difference(
                name=probed.name,
                total_variation=total_variation(a[0], shares),
                shares=(shares - a[0]).tolist(),
                lower=lower.tolist(),
                upper=upper.tolist(),
            )
        )
    return differences


def warnings(probes: Sequence[Probed]) -> list[str]:
    """Say what else differs between the reports than the model, and so may be what the shares differ by."""
    found: list[str] = []
    first = probes[0]
    for other in probes[1:]:
        a, b = first.report, other.report
        where = f"{first.name} and {other.name}"
        if a.classifier_sha256 != b.classifier_sha256:
            found.append(f"{where} were labelled by different classifiers: what differs may be the labels")
        if a.prompt_token != b.prompt_token:
            found.append(f"{where} started from different tokens, {a.prompt_token} and {b.prompt_token}")
        keys = [key for key in sorted({*a.sampling, *b.sampling}) if a.sampling.get(key) != b.sampling.get(key)]
        if keys:
            values = (
                f"{key} {a.sampling.get(key, 'not given')} and {b.sampling.get(key, 'not given')}" for key in keys
            )
            found.append(f"{where} were sampled differently: {', '.join(values)}")
        if first.estimate.name != other.estimate.name:
            found.append(
                f"{where} are estimated differently, {first.estimate.name} and {other.estimate.name}: choose one with --estimate"
            )
        if first.estimate.covers != other.estimate.covers:
            found.append(f"the intervals of {where} allow for {first.estimate.covers} and for {other.estimate.covers}")
        if a.alpha != b.alpha:
            found.append(f"the intervals of {where} hold with probability {1 - a.alpha:g} and {1 - b.alpha:g}")
        if abs(first.rejected - other.rejected) > _REJECTED_APART:
            found.append(
                f"of {where}, {first.rejected:.1%} and {other.rejected:.1%} of the samples were left out; their domains are not known"
            )
        if _same_samples(a, b):
            found.append(
                f"{where} are of the same model, sampling and seed: they share samples, and the intervals of their differences"
                " are wider than need be"
            )
    return found


def summarize_comparison(probes: Sequence[Probed], plot: Path | None) -> Summary:
    """Show shares by domain and model, and the differences from the first one."""
    differences, said = compare(probes), warnings(probes)
    domains = probes[0].report.domains
    kinds = sorted({probed.estimate.name for probed in probes})
    shares = [
        [domain, *(_interval(p.estimate.shares[j], p.estimate.lower[j], p.estimate.upper[j]) for p in probes)]
        for j, domain in enumerate(domains)
    ]
    changes = [
        [domain, *(_signed(d, j) for d in differences)] for j, domain in enumerate(domains)
    ] + [["total variation", *(f"{100 * d.total_variation:.1f}" for d in differences)]]  # fmt: skip
    tables = [
        table(f"{' and '.join(kinds)} estimate, per cent of documents", ["domain", *(p.name for p in probes)], shares),
        table(
            f"difference from {probes[0].name}, percentage points", ["domain", *(d.name for d in differences)], changes
        ),
    ]
    lines = [f"warning: {warning}" for warning in said]
    lines.append(
        "* beyond doubt: the interval of the difference, for all domains at once, does not hold 0"
        if any(any(difference.beyond_doubt) for difference in differences)
        else "no difference is beyond doubt: every interval holds 0"
    )
    if plot is not None:
        lines.append(f"plot: {plot}")
    return "\n".join(lines), Group(*tables), _result(probes, differences, said, plot)


def write_plot(probes: Sequence[Probed], file: Path) -> None:
    """Draw every model's shares with their intervals, side by side, as SVG."""
    from versatune.reporting.plots import model_bars
    from versatune.reporting.probe_page import spread

    if file.suffix != ".svg":
        raise UsageError(f"--plot is {file}; expected a name that ends in .svg")
    if not file.parent.is_dir():
        raise UsageError(f"--plot is {file}; there is no directory {file.parent}")
    figure = model_bars(probes[0].report.domains, {probed.name: spread(probed.estimate) for probed in probes})
    write_atomic(file, figure.encode() + b"\n")


def _result(
    probes: Sequence[Probed], differences: Sequence[Difference], said: list[str], plot: Path | None
) -> dict[str, Any]:
    domains = probes[0].report.domains
    return {
        "domains": domains,
        "models": [
            {
                "name": p.name,
                "report": str(p.file),
                "digest": p.report.digest,
                "samples": p.report.samples,
                "counted": p.report.counted,
                "stopped_by": p.report.stopped_by,
                "estimate": p.estimate.name,
                "covers": p.estimate.covers,
                "distribution": dict(zip(domains, p.estimate.shares, strict=True)),
                "intervals": _pairs(domains, p.estimate.lower, p.estimate.upper),
            }
            for p in probes
        ],
        "differences": [
            {
                "model": d.name,
                "from": probes[0].name,
                "total_variation": d.total_variation,
                "shares": dict(zip(domains, d.shares, strict=True)),
                "intervals": _pairs(domains, d.lower, d.upper),
                "beyond_doubt": [domain for domain, sure in zip(domains, d.beyond_doubt, strict=True) if sure],
            }
            for d in differences
        ],
        "warnings": said,
        "plot": None if plot is None else str(plot),
    }


def _find(path: Path) -> Path:
    """Find the report that a path means."""
    at_hand(
        path.parent if path.suffix == ".json" else path,
        "*.json",
        "probe/latest.json",
        "*/probe.json",
        "probe/*/probe.json",
    )
    if path.is_file():
        return path
    if not path.is_dir():
        raise DataError(
            f"{path}: no such file or directory; expected a probe.json, its directory, or a directory OUTPUT/NAME with a probe in it"
        )
    if (path / "probe.json").is_file():
        return path / "probe.json"
    for pointer in (path / "latest.json", path / "probe" / "latest.json"):
        if pointer.is_file() and pointer.parent.name == "probe":
            return read_pointer(pointer, what="probe report", command="versatune probe CONFIG")
    raise DataError(
        f"{path}: holds no probe; expected probe.json, or probe/latest.json in it. `versatune probe CONFIG` makes one"
    )


def _names(reports: Sequence[ProbeReport]) -> list[str]:
    """Tell models of one name apart by their reports' digests, and one report given twice by its place."""
    names = [printable(report.model.name) for report in reports]
    known = [
        name if names.count(name) == 1 else f"{name} ({report.digest[:6]})"
        for name, report in zip(names, reports, strict=True)
    ]
    return [name if known.count(name) == 1 else f"{name} {place}" for place, name in enumerate(known, 1)]


def _estimate(file: Path, report: ProbeReport, name: str | None) -> Estimate:
    if name is None:
        return report.estimate
    for estimate in report.estimates:
        if estimate.name == name:
            return estimate
    reason = report.refused.get(name)
    have = ", ".join(estimate.name for estimate in report.estimates)
    raise DataError(f"{file}: has no '{name}' estimate{f' ({reason})' if reason else ''}; it has {have}")


def _same_samples(a: ProbeReport, b: ProbeReport) -> bool:
    def identity(report: ProbeReport) -> tuple[Any, ...]:
        model = report.model.weights_sha256 or (report.model.endpoint, report.model.name)
        return model, report.prompt_token_id, report.sampling, report.seed

    return identity(a) == identity(b)


def _interval(share: float, lower: float, upper: float) -> str:
    return f"{100 * share:.1f} [{100 * lower:.1f}, {100 * upper:.1f}]"


def _signed(difference: Difference, j: int) -> str:
    share, low, high = (100 * vector[j] for vector in (difference.shares, difference.lower, difference.upper))
    return f"{share:+.1f} [{low:+.1f}, {high:+.1f}]{' *' if difference.beyond_doubt[j] else ''}"


def _pairs(domains: Sequence[str], lower: Sequence[float], upper: Sequence[float]) -> dict[str, list[float]]:
    return {domain: list(pair) for domain, *pair in zip(domains, lower, upper, strict=True)}
