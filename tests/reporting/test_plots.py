"""Figures are plain, safe, repeatable SVG."""

from reporting import plots


def test_a_name_from_the_data_cannot_become_markup() -> None:
    figure = plots.stacked_rows(["<script>alert(1)</script>"], {"law": [3], "rejected": [1]}, ["#000", "#fff"])
    assert "<script" not in figure
    assert "&lt;script&gt;" in figure


def test_the_same_numbers_give_the_same_bytes() -> None:
    one, two = (plots.intervals(["law", "code"], [0.25, 0.75], [0.2, 0.7], [0.3, 0.8]) for _ in range(2))
    assert one == two
    assert "25.0%" in one


def test_a_missing_loss_leaves_a_gap_not_an_error() -> None:
    assert plots.lines([0, 1, 2], {"law": [2.0, None, 1.0], "code": [None, None, None]}, "step", "loss").startswith(
        "<svg"
    )


def test_a_taxonomy_larger_than_the_palette_has_colours() -> None:
    assert plots.colour(len(plots.PALETTE)) == plots.colour(0)
