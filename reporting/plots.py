"""Figures as inline SVG: text stays text, nothing is fetched, the same data give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart by colour-blind readers; domains beyond it start again.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5D6570", "#B8A800")
STYLE: Any = {  # rc_context names every key as a literal; a plain dictionary reads better
    "svg.fonttype": "none",
    "svg.hashsalt": "versatune",
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E6EA",
    "axes.edgecolor": "#9AA2AC",
}

Series = Mapping[str, Sequence[float | None]]


def colour(position: int) -> str:
    """Return the colour of the domain at this position."""
    return PALETTE[position % len(PALETTE)]


def intervals(
    domains: Sequence[str], shares: Sequence[float], lower: Sequence[float], upper: Sequence[float]
) -> Markup:
    """Horizontal bars, one per domain, with the ends of its interval."""
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(7.2, 0.48 * len(domains) + 0.9)
        positions = np.arange(len(domains))
        centre = np.asarray(shares)
        errors = np.vstack([centre - np.asarray(lower), np.asarray(upper) - centre]).clip(min=0.0)
        axes.barh(positions, centre, color=[colour(j) for j in range(len(domains))], height=0.62)
        axes.errorbar(centre, positions, xerr=errors, fmt="none", ecolor="#1B1F24", elinewidth=1.3, capsize=4)
        for position, (share, low, high) in enumerate(zip(shares, lower, upper, strict=True)):
            text = f"{share:.1%}  [{low:.1%}, {high:.1%}]"
            axes.annotate(text, (high, position), xytext=(8, 0), textcoords="offset points", va="center", fontsize=10)
        axes.set_yticks(positions, domains)
        axes.invert_yaxis()
        axes.set_xlim(0, max(upper) * 1.45 + 0.02)
        axes.xaxis.set_major_formatter(as_percent)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("share of the model's own documents")
        return svg(figure)


def grouped_bars(domains: Sequence[str], groups: Mapping[str, Sequence[float]], label: str) -> Markup:
    """One cluster of bars per domain, one bar per group; values are shares."""
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(8.6, 3.4)
        width = 0.82 / max(len(groups), 1)
        for position, (name, values) in enumerate(groups.items()):
            offset = (position - (len(groups) - 1) / 2) * width
            shade = str(0.86 - 0.72 * position / max(len(groups) - 1, 1))
            axes.bar(np.arange(len(domains)) + offset, values, width * 0.92, label=name, color=shade)
        axes.set_xticks(np.arange(len(domains)), domains)
        axes.yaxis.set_major_formatter(as_percent)
        axes.grid(visible=False, axis="x")
        axes.set_ylabel(label)
        _legend(axes)
        return svg(figure)


def lines(x: Sequence[float], series: Series, x_label: str, y_label: str, *, percent: bool = False) -> Markup:
    """One line per domain, its name at the line's end; missing values leave gaps."""
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(8.6, 3.8)
        for position, (name, values) in enumerate(series.items()):
            y = np.array([np.nan if value is None else value for value in values], dtype=float)
            axes.plot(x, y, marker="o", markersize=4, linewidth=1.8, color=colour(position), label=name)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.set_xticks(sorted(set(x))) if len(set(x)) <= 12 else None
        if percent:
            axes.yaxis.set_major_formatter(as_percent)
            axes.set_ylim(bottom=0)
        _legend(axes)
        return svg(figure)


def stacked_rows(sources: Sequence[str], parts: Mapping[str, Sequence[int]], colours: Sequence[str]) -> Markup:
    """One horizontal bar per source, its rows cut into parts."""
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(8.6, 0.4 * len(sources) + 1.2)
        left = np.zeros(len(sources))
        for (name, counts), shade in zip(parts.items(), colours, strict=True):
            axes.barh(np.arange(len(sources)), counts, left=left, label=name, color=shade, height=0.62)
            left += np.asarray(counts)
        axes.set_yticks(np.arange(len(sources)), sources)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("rows")
        _legend(axes)
        return svg(figure)


def new_figure(width: float, height: float) -> tuple[Figure, Any]:
    """Return a figure of this size in inches, and its axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _legend(axes: Any) -> None:
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def as_percent(value: float, _position: int) -> str:
    """Label a share on an axis."""
    return f"{value:.0%}" if abs(value * 100 - round(value * 100)) < 1e-9 else f"{value:.1%}"


def svg(figure: Figure, *, transparent: bool = True) -> Markup:
    """Serialise; matplotlib escapes all text, so the result is safe to inline."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None}, transparent=transparent)
    text = stream.getvalue()
    return Markup(text[text.index("<svg") :])  # noqa: S704  # matplotlib's own, escaped output
