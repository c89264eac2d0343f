"""Make a classifier's probabilities mean what they say, by rows of sources that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from schemas.taxonomy import Taxonomy
from transforms.classifier_metrics import Floats, negative_log_likelihood, source_weights
from transforms.fasttext_classifier import soften
from transforms.labelled_rows import LabelledRow

_SMALLEST = 1e-7


def fit_temperature(rows: Sequence[LabelledRow], probs: Floats, taxonomy: Taxonomy) -> float:
    """Find the temperature in [1/4, 8] (Guo et al. 2017) that gives the rows' domains the highest likelihood, sources counting alike.

    Args:
        probs: (n, k) probabilities, not calibrated.
    """
    truth = np.array([taxonomy.index(row["domain"]) for row in rows])
    weights, clipped = source_weights(rows), np.clip(probs, _SMALLEST, 1.0)
    grid = np.geomspace(0.25, 8.0, 401)
    losses = [negative_log_likelihood(soften(clipped, t), truth, weights) for t in grid]
    return float(grid[int(np.argmin(losses))])


def cross_calibrated(rows: Sequence[LabelledRow], probs: Floats, taxonomy: Taxonomy) -> Floats:
    """Calibrate each source's probabilities with a temperature fitted on the other sources, so that it can be judged on them.

    With a single source there are no others: its rows are calibrated by themselves, which is slightly favourable.
    """
    sources = np.array([row["source"] for row in rows])
    out = np.clip(probs, _SMALLEST, 1.0)
    for source in np.unique(sources):
        own = sources == source
        others = np.flatnonzero(~own if not own.all() else own)
        temperature = fit_temperature([rows[i] for i in others], probs[others], taxonomy)
        out[own] = soften(out[own], temperature)
    return out
