"""Draw what probe_recovery.py found.

    python benchmarks/support/recovery_plot.py benchmarks/results/<date>-probe_recovery.json docs/images

``probe-recovery.svg``: true against estimated share, a panel for each estimator. ``probe-recovery-causes.svg``: where the error comes from.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from versatune.reporting.plots import FAINT, INK, SOFT, STYLE, colour, svg

_ORDER = ("soft", "hard", "corrected", "em")
_STEPS = {
    "written": "what the model wrote, by a classifier that knows its sources",
    "documents": "labels of its training documents",
    "probe": "the probe: labels of what it wrote",
}


def estimators(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the estimators that some run has, in the usual order."""
    return [name for name in _ORDER if any(name in run["estimates"] for run in runs)]


def bias_curve(result: Mapping[str, Any]) -> Figure:
    """Draw every share of every run against its truth, with its interval; a line joins the means of a domain."""
    runs, domains, names = result["runs"], result["domains"], estimators(result["runs"])
    figure = Figure(figsize=(9.4, 4.5 * -(-len(names) // 2)), layout="constrained")
    panels = figure.subplots(-(-len(names) // 2), 2, sharex=True, sharey=True, squeeze=False).ravel()
    top = max(max(run["true_shares"]) for run in runs) * 1.3
    for axes, name in zip(panels, names, strict=False):
        own = [run for run in runs if name in run["estimates"]]
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)))
        for j, domain in enumerate(domains):
            points: dict[float, list[float]] = {}
            for run in own:
                true, estimate = run["true_shares"][j], run["estimates"][name]
                x = true + (j - 2.5) * 0.003 + (run["seed"] - 1) * 0.001
                axes.vlines(x, estimate["lower"][j], estimate["upper"][j], color=colour(j), linewidth=0.8, alpha=0.35)
                axes.plot([x], [estimate["shares"][j]], marker="o", markersize=4.5, color=colour(j), linestyle="")
                points.setdefault(true, []).append(estimate["shares"][j])
            line = sorted((true, float(np.mean(found))) for true, found in points.items())
            axes.plot(*zip(*line, strict=True), color=colour(j), linewidth=1.4, alpha=0.8, label=domain)
        distances = [run["estimates"][name]["tv"] for run in own]
        title = f"{name}: total variation {np.mean(distances):.3f} (at most {max(distances):.3f})"
        axes.set_title(title, loc="left", fontsize=11, color=INK)
        axes.set_xlim(0, top)
        axes.set_ylim(0, top)
    for axes in panels[len(names) :]:
        axes.remove()
    figure.supxlabel("true share of the training documents", fontsize=11)
    figure.supylabel("estimated share", fontsize=11)
    panels[0].legend(frameon=False, fontsize=9.5, loc="upper left")
    return figure


def causes(result: Mapping[str, Any]) -> Figure:
    """Draw, for each mixture and estimator, the distance from the truth at each step from the documents to the probe."""
    runs, names = result["runs"], estimators(result["runs"])
    mixtures = list(dict.fromkeys(run["mixture"] for run in runs))
    figure = Figure(figsize=(9.4, 1.1 + 0.34 * len(names) * len(mixtures)), layout="constrained")
    axes = figure.add_subplot()
    marks = {"written": ("|", SOFT), "documents": ("s", "#56B4E9"), "probe": ("o", "#D55E00")}
    rows = [(mixture, name) for mixture in mixtures for name in names]
    for y, (mixture, name) in enumerate(rows):
        own = [run for run in runs if run["mixture"] == mixture and name in run["estimates"]]
        values = {
            "written": [run["written_according_to_insider"]["tv"] for run in own],
            "documents": [run["documents"][name]["tv"] for run in own if name in run["documents"]],
            "probe": [run["estimates"][name]["tv"] for run in own],
        }
        for step, (marker, shade) in marks.items():
            label = _STEPS[step] if y == 0 else None
            axes.plot(values[step], [y] * len(values[step]), marker, color=shade, markersize=7, alpha=0.8, label=label)
    axes.axvline(0.05, color=INK, linewidth=1, linestyle=":")
    axes.set_yticks(range(len(rows)), [f"{mixture}, {name}" for mixture, name in rows])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("total variation distance from the true shares (dotted: 0.05)")
    figure.legend(frameon=False, fontsize=9.5, loc="outside upper left", ncols=1)
    return figure


def main() -> None:
    """Draw both."""
    flags = argparse.ArgumentParser(description="Draw what probe_recovery.py found.")
    flags.add_argument("result", type=Path)
    flags.add_argument("folder", type=Path)
    arguments = flags.parse_args()
    result = json.loads(arguments.result.read_text())
    with mpl.rc_context(STYLE):
        for name, figure in {"probe-recovery": bias_curve(result), "probe-recovery-causes": causes(result)}.items():
            (arguments.folder / f"{name}.svg").write_text(svg(figure, transparent=False) + "\n")


if __name__ == "__main__":
    main()
