"""Plots of a classifier's evaluation, as SVG files for its card: are its probabilities true, what does it mix up, where does it fail?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from versatune.reporting.plots import STYLE, as_percent, colour, new_figure, svg
from versatune.schemas.files import write_atomic

MOST_DOTS = 100
"""Recalls that fit into a picture; of more, the lowest are drawn."""
_STYLE = {
    **STYLE,
    "figure.constrained_layout.w_pad": 0.12,
    "figure.constrained_layout.h_pad": 0.08,
}  # the reader's font may be wider
_INK, _LINE, _FAINT = "#1B1F24", "#0072B2", "#9AA2AC"
_CURVE_FROM = 0.01  # of the rows: the precision of fewer is noise

Evaluation = Mapping[str, Any]


def write_classifier_plots(evaluation: Evaluation, labels: Sequence[str], directory: Path) -> list[Path]:
    """Draw an evaluation; the same numbers give the same bytes.

    Args:
        evaluation: what ``versatune classifier evaluate --json`` gives, or ``unseen`` of a card, whose ``label_errors`` (every
            source counts alike) go before its counts and whose ``never_trained_on`` sources get a mark of their own.
        labels: the domains, in the order of the confusion matrix.
        directory: where the files go; made if it is not there.

    Returns:
        The files: ``classifier-reliability.svg``, ``classifier-risk-coverage.svg``, ``classifier-confusion.svg`` and
        ``classifier-sources.svg``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    files = []
    with mpl.rc_context(_STYLE):
        figures = {
            "reliability": reliability_diagram(evaluation),
            "risk-coverage": risk_coverage_curve(evaluation),
            "confusion": confusion_map(evaluation, labels),
            "sources": source_dots(evaluation, labels),
        }
        for name, figure in figures.items():
            file = directory / f"classifier-{name}.svg"
            write_atomic(file, svg(figure, transparent=False).encode() + b"\n")  # opaque: a page may be dark
            files.append(file)
    return files


def reliability_diagram(evaluation: Evaluation) -> Figure:
    """How often the classifier is right where it says how sure it is, above how many rows there are."""
    bins = evaluation["reliability"]
    figure = Figure(figsize=(6.0, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.6, 1])
    upper.plot([0, 1], [0, 1], color=_FAINT, linewidth=1.2, linestyle=(0, (4, 3)))
    upper.annotate(
        "as sure as right",
        (0.25, 0.25),
        xytext=(-7, 0),
        textcoords="offset points",
        fontsize=9,
        color="#5D6570",
        ha="right",
    )
    confidence, accuracy = ([b[key] for b in bins] for key in ("confidence", "accuracy"))
    upper.vlines(confidence, confidence, accuracy, color="#D55E00", linewidth=2.2, alpha=0.55)
    upper.plot(confidence, accuracy, color=_LINE, marker="o", markersize=5, linewidth=1.8)
    upper.set_ylim(0, 1.02)
    upper.set_ylabel("share that is right")
    upper.set_title(f"expected calibration error {evaluation['ece']:.3f}", loc="left", fontsize=11, color=_INK)
    total = sum(b["rows"] for b in bins)
    lower.bar(
        [b["from"] for b in bins],
        [b["rows"] / total for b in bins],
        [b["to"] - b["from"] for b in bins],
        align="edge",
        color=_LINE,
        edgecolor="white",
    )
    lower.set_xlim(0, 1)
    lower.set_ylabel("share of rows")
    lower.set_xlabel("highest probability of a row")
    for axes in (upper, lower):
        axes.axvline(evaluation["threshold"], color=_INK, linewidth=1, linestyle=":")
        axes.xaxis.set_major_formatter(as_percent)
        axes.yaxis.set_major_formatter(as_percent)
    _label_threshold(upper, evaluation["threshold"])
    return figure


def _label_threshold(axes: Any, threshold: float) -> None:
    left = threshold > 0.5
    axes.annotate(
        f"threshold {threshold:.2f}",
        (threshold, 0.02),
        xytext=(-5 if left else 5, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        fontsize=9,
        color=_INK,
    )


def risk_coverage_curve(evaluation: Evaluation) -> Figure:
    """How precise the determined rows are, against how many are determined, from the highest threshold to none."""
    points = [point for point in evaluation["risk_coverage"] if point["coverage"] >= _CURVE_FROM]
    figure, axes = new_figure(6.4, 4.0)
    axes.plot([p["coverage"] for p in points], [p["precision"] for p in points], color=_LINE, linewidth=2)
    precision, coverage = evaluation["precision_determined"], evaluation["coverage"]
    lowest = min((p["precision"] for p in points), default=0.0)
    if precision is not None:
        below = coverage > 0.4  # the curve falls: there is room below it on its left, above it on its right
        lowest = min(lowest, precision)
        axes.plot([coverage], [precision], marker="o", markersize=8, color="#D55E00")
        axes.annotate(
            f"threshold {evaluation['threshold']:.2f}:\n{coverage:.1%} determined,\n{precision:.1%} of them right",
            (coverage, precision),
            xytext=(-10, -10) if below else (10, 4),
            textcoords="offset points",
            ha="right" if below else "left",
            va="top" if below else "bottom",
            fontsize=10,
        )
    axes.set_xlim(0, 1.02)
    axes.yaxis.get_major_locator().set_params(steps=[1, 2, 5, 10])
    axes.set_ylim(max(0.0, np.floor(lowest * 10 - 1) / 10), 1.01)
    axes.xaxis.set_major_formatter(as_percent)
    axes.yaxis.set_major_formatter(as_percent)
    axes.set_xlabel("share of rows that are determined")
    axes.set_ylabel("share of them that is right")
    return figure


def confusion_map(evaluation: Evaluation, labels: Sequence[str]) -> Figure:
    """What becomes of the rows of each domain; a column sums to 100%, a domain without rows stays empty."""
    rates = _rates(evaluation)
    size = max(3.2, len(labels) * min(0.82, max(0.5, 8 / len(labels))))
    figure, axes = new_figure(size + 1.6, size + 1.0)
    axes.imshow(rates, cmap="Blues", vmin=0, vmax=1)
    for predicted, row in enumerate(rates):
        for true, rate in enumerate(row):
            text, shade = ("", _INK) if np.isnan(rate) else (_cell(rate), "white" if rate > 0.68 else _INK)
            axes.text(true, predicted, text, ha="center", va="center", fontsize=10, color=shade)
    positions = range(len(labels))
    long = max(map(len, labels)) > 9
    axes.set_xticks(positions, labels, rotation=35 if long else 0, ha="right" if long else "center")
    axes.set_yticks(positions, labels)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("true domain (a column is 100%)")
    axes.set_ylabel("predicted domain")
    return figure


def _rates(evaluation: Evaluation) -> NDArray[np.float64]:
    measured = evaluation.get("label_errors")
    counts = np.array(measured["hard"]["rates"] if measured else evaluation["confusion"], dtype=np.float64)
    totals = counts.sum(axis=0)
    shares: NDArray[np.float64] = counts / np.where(totals > 0, totals, np.nan)
    return shares


def _cell(rate: float) -> str:
    """Whole per cents; a trace is told from nothing."""
    return "0" if rate == 0 else "<1%" if rate < 0.005 else f"{rate:.0%}"


def source_dots(evaluation: Evaluation, labels: Sequence[str]) -> Figure:
    """Recall of every source, sources grouped by domain, the worst first in each."""
    found = [
        (recall, source, domain)
        for source, entry in evaluation["per_source"].items()
        for domain, recall in entry["recall_by_domain"].items()
    ]
    drawn = sorted(found)[:MOST_DOTS]
    groups = {label: [(recall, source) for recall, source, domain in drawn if domain == label] for label in labels}
    groups = {label: dots for label, dots in groups.items() if dots}
    unseen = set(evaluation.get("never_trained_on", ()))
    figure, axes = new_figure(7.6, 0.215 * (len(drawn) + 1.6 * len(groups)) + 1.0)
    names: list[str] = []
    heads: list[int] = []
    for label, dots in groups.items():
        shade = colour(labels.index(label))
        heads.append(len(names))
        names.append(label)
        for recall, source in dots:
            y = len(names)
            axes.hlines(y, 0, recall, color=shade, linewidth=1.4, alpha=0.45)
            axes.plot([recall], [y], marker="o", markersize=6, color=shade, mfc="white" if source in unseen else shade)
            axes.annotate(
                f"{recall:.0%}", (recall, y), xytext=(7, 0), textcoords="offset points", va="center", fontsize=8
            )
            names.append(source)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    for head in heads:
        tick = axes.get_yticklabels()[head]
        tick.set_fontweight("bold")
        tick.set_color(colour(labels.index(names[head])))
    axes.set_ylim(len(names) - 0.4, -0.8)
    axes.set_xlim(0, 1.08)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.xaxis.set_major_formatter(as_percent)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    notes = ["share of a source's rows that get their domain"]
    notes += ["hollow: never trained on"] if unseen & {source for _, source, _ in drawn} else []
    notes += [f"the {len(drawn)} lowest of {len(found)}"] if len(drawn) < len(found) else []
    axes.set_xlabel("; ".join(notes))
    return figure
