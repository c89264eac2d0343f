"""Figures are plain, safe, repeatable SVG."""

import itertools
import re

import pytest

from versatune.reporting import plots


def test_a_name_from_the_data_cannot_become_markup() -> None:
    figure = plots.stacked_rows(["<script>alert(1)</script>"], {"law": [3], "rejected": [1]}, ["#000", "#fff"])
    assert "<script" not in figure
    assert "&lt;script&gt;" in figure


def test_the_same_numbers_give_the_same_bytes() -> None:
    spread = plots.Spread(shares=[0.25, 0.75], lower=[0.2, 0.7], upper=[0.3, 0.8])
    one, two = (plots.intervals(["law", "code"], spread) for _ in range(2))
    assert one == two
    assert "25.0%" in one


def test_a_missing_loss_leaves_a_gap_not_an_error() -> None:
    assert plots.lines([0, 1, 2], {"law": [2.0, None, 1.0], "code": [None, None, None]}, "step", "loss").startswith(
        "<svg"
    )


def test_a_taxonomy_larger_than_the_palette_has_colours() -> None:
    assert plots.colour(len(plots.PALETTE)) == plots.colour(0)


def test_an_interval_that_does_not_hold_its_share_is_drawn_to_the_end_it_has() -> None:
    spread = plots.Spread(shares=[0.5], lower=[0.6], upper=[0.7])
    assert spread.errors.T.tolist() == [[0.0, pytest.approx(0.2)]]


def test_a_long_name_is_cut_in_a_figure_and_dollars_are_no_formula() -> None:
    spread = plots.Spread(shares=[0.5], lower=[0.4], upper=[0.6])
    figure = plots.model_bars(["d" * 99], {"$a$ _b_": spread, "_c": spread})
    assert "d" * 27 + "…" in figure
    assert "d" * 28 not in figure
    assert "$a$ _b_" in figure
    assert "_c" in figure


def test_names_at_the_ends_of_lines_do_not_overlap() -> None:
    names = [f"domain{j}" for j in range(12)]
    figure = plots.stability(names, [10, 20], [[1 / 12] * 12] * 2, [[0.01] * 12] * 2, None)
    heights = sorted(float(y) for y in re.findall(r' y="([0-9.]+)"[^>]*>domain', figure))
    assert len(heights) == 12
    assert min(b - a for a, b in itertools.pairwise(heights)) > 9  # the letters' height
