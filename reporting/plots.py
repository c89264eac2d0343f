"""Figures as inline SVG: text stays text, nothing is fetched, the same data give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's palette, told apart by colour-blind readers; domains beyond it start again.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5D6570", "#B8A800")
STYLE: Any = {  # rc_context names every key as a literal; a plain dictionary reads better
    "svg.fonttype": "none",
    "svg.hashsalt": "versatune",
    "text.parse_math": False,  # a name with two dollar signs is a name
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E6EA",
    "axes.edgecolor": "#9AA2AC",
}

INK, SOFT, FAINT, ACCENT = "#1B1F24", "#5D6570", "#C9CED6", "#0072B2"
_DASHES: Any = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
_LONGEST_NAME = 28

Series = Mapping[str, Sequence[float | None]]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Shares by domain and the ends of their intervals."""

    shares: Sequence[float]
    lower: Sequence[float]
    upper: Sequence[float]

    @property
    def errors(self) -> Any:
        """What matplotlib draws: (2, k) distances to both ends; an interval need not hold its share."""
        centre = np.asarray(self.shares)
        return np.vstack([centre - np.asarray(self.lower), np.asarray(self.upper) - centre]).clip(min=0.0)


def colour(position: int) -> str:
    """Return the colour of the domain at this position."""
    return PALETTE[position % len(PALETTE)]


def short(name: str, longest: int = _LONGEST_NAME) -> str:
    """Cut a name that would leave no room for the figure; tables have it whole."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def intervals(domains: Sequence[str], spread: Spread) -> Markup:
    """Horizontal bars, one per domain, with the ends of its interval."""
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(6.6, 0.44 * len(domains) + 0.9)
        positions = np.arange(len(domains))
        axes.barh(positions, spread.shares, color=[colour(j) for j in range(len(domains))], height=0.62)
        axes.errorbar(spread.shares, positions, xerr=spread.errors, fmt="none", ecolor=INK, elinewidth=1.3, capsize=4)
        for position, (share, low, high) in enumerate(zip(spread.shares, spread.lower, spread.upper, strict=True)):
            text = f"{share:.1%}  [{low:.1%}, {high:.1%}]"
            axes.annotate(text, (high, position), xytext=(8, 0), textcoords="offset points", va="center", fontsize=10)
        _rows(axes, domains)
        axes.set_xlim(0, max(spread.upper) * 1.45 + 0.02)  # room for the text behind the bars, not for more than 100%
        axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= min(1.0, axes.get_xlim()[1])])
        axes.set_xlabel("share of the model's own documents")
        return svg(figure)


def estimate_dots(domains: Sequence[str], spreads: Mapping[str, Spread], chosen: str, bounds: Spread) -> Markup:
    """One row per domain: every estimate as a dot with its interval, the chosen one filled; behind them a band of bounds."""
    marks = dict(zip(spreads, "osD^vP", strict=False))
    with mpl.rc_context(STYLE):
        step = 0.17
        height = step * (len(spreads) + 1.6)
        figure, axes = new_figure(6.6, height * len(domains) + 1.2)
        rows = np.arange(len(domains))
        axes.barh(
            rows, np.asarray(bounds.upper) - bounds.lower, left=bounds.lower, height=0.8, color="#EDF0F3", zorder=0.5
        )
        for position, (name, spread) in enumerate(spreads.items()):
            y = rows + (position - (len(spreads) - 1) / 2) * step / height
            main = name == chosen
            axes.errorbar(
                spread.shares, y, xerr=spread.errors, fmt=marks[name], markersize=6,
                color=ACCENT if main else SOFT, mfc=ACCENT if main else "white",
                elinewidth=1.8 if main else 1.1, capsize=3, label=f"{name} (chosen)" if main else name, clip_on=False,
            )  # fmt: skip
        axes.set_xlim(left=0)
        _rows(axes, domains)
        axes.set_xlabel("share of the model's own documents")
        _legend_above(figure, len(spreads))
        return svg(figure)


def model_bars(domains: Sequence[str], spreads: Mapping[str, Spread]) -> Markup:
    """One cluster of horizontal bars per domain, one bar with its interval per model."""
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(7.2, (0.22 * len(spreads) + 0.18) * len(domains) + 1.2)
        width = 0.82 / len(spreads)
        for position, (name, spread) in enumerate(spreads.items()):
            y = np.arange(len(domains)) + (position - (len(spreads) - 1) / 2) * width
            axes.barh(y, spread.shares, width * 0.9, color=colour(position), label=f" {short(name, 44)}")
            axes.errorbar(spread.shares, y, xerr=spread.errors, fmt="none", ecolor=INK, elinewidth=1.1, capsize=2.5)
        _rows(axes, domains)
        axes.set_xlim(left=0)
        axes.set_xlabel("share of the model's own documents")
        _legend_above(figure, min(len(spreads), 2))
        return svg(figure, transparent=False)


def stability(
    domains: Sequence[str], samples: Sequence[int], shares: Any, half_widths: Any, target: float | None
) -> Markup:
    """Shares by domain after each round with bands of their half-widths, above the largest half-width.

    Args:
        domains: names.
        samples: drawn so far, one for each round.
        shares: (rounds, k).
        half_widths: (rounds, k).
        target: half-width to stop at.
    """
    shares, half_widths = np.asarray(shares), np.asarray(half_widths)
    with mpl.rc_context(STYLE):
        top = max(2.9, 0.2 * len(domains) + 0.6)
        figure = Figure(figsize=(6.6, top + 1.5), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[top, 1.3])
        mark = "o" if len(samples) <= 30 else ""
        for j in range(len(domains)):
            look: Any = {"color": colour(j), "linestyle": _DASHES[j // len(PALETTE) % len(_DASHES)]}
            band = (shares[:, j] - half_widths[:, j]).clip(0), (shares[:, j] + half_widths[:, j]).clip(max=1)
            upper.fill_between(samples, *band, color=colour(j), alpha=0.13, linewidth=0)
            upper.plot(samples, shares[:, j], marker=mark, markersize=3.5, linewidth=1.8, **look)
            if len(samples) == 1:  # a band without length shows nothing
                upper.errorbar(samples, shares[:, j], yerr=half_widths[:, j], color=colour(j), capsize=3)
        upper.set_ylim(bottom=0)
        upper.yaxis.set_major_formatter(as_percent)
        upper.set_ylabel("share")
        _name_ends(upper, domains, samples[-1], shares[-1], top)
        lower.plot(samples, half_widths.max(axis=1), color=INK, marker=mark, markersize=3.5, linewidth=1.6)
        if target is not None:
            lower.axhline(target, color="#D55E00", linestyle="--", linewidth=1.4)
            lower.annotate(
                f"target {target:.2%}", (1, target), xycoords=("axes fraction", "data"), xytext=(6, 0),
                textcoords="offset points", va="center", fontsize=9, color="#B34700",
            )  # fmt: skip
        lower.set_ylim(bottom=0, top=1.15 * max(half_widths.max(), target or 0.0) or 1.0)
        lower.yaxis.set_major_formatter(as_percent)
        lower.set_ylabel("largest ±")
        lower.set_xlim(left=0)
        lower.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        lower.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        lower.set_xlabel("samples drawn")
        return svg(figure)


def _name_ends(axes: Any, domains: Sequence[str], x: float, ends: Any, inches: float) -> None:
    """Write each line's name at its end, moved apart where ends are close."""
    low, high = axes.get_ylim()
    apart = 0.2 / inches * (high - low) * 1.15
    order = np.argsort(ends, kind="stable")
    places = np.array(ends, dtype=float)[order]
    for i in range(1, len(places)):  # up from the lowest, then down from the top if that went beyond
        places[i] = max(places[i], places[i - 1] + apart)
    places[-1] = min(places[-1], high)
    for i in range(len(places) - 2, -1, -1):
        places[i] = min(places[i], places[i + 1] - apart)
    for j, place in zip(order, places, strict=True):
        axes.annotate(
            short(domains[j]), (x, ends[j]), xytext=(1.04, place), textcoords=("axes fraction", "data"), va="center",
            fontsize=9.5, color=colour(j), annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour(j), "linewidth": 0.6, "alpha": 0.6, "shrinkA": 0, "shrinkB": 3},
        )  # fmt: skip


def _rows(axes: Any, domains: Sequence[str]) -> None:
    axes.set_yticks(np.arange(len(domains)), [short(domain) for domain in domains])
    axes.set_ylim(len(domains) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(as_percent)
    axes.grid(visible=False, axis="y")


def _legend_above(figure: Figure, columns: int) -> None:
    figure.legend(loc="outside upper left", ncols=columns, frameon=False, handletextpad=0.3, columnspacing=1.4)


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
