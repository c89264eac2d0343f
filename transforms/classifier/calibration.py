"""Make a classifier's probabilities mean what they say, by rows of sources that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from versatune.schemas.taxonomy import Taxonomy
from versatune.transforms.classifier.fasttext_classifier import Temperatures, in_other_script, soften, text_view
from versatune.transforms.classifier.labelled_rows import LabelledRow
from versatune.transforms.classifier.metrics import Floats, negative_log_likelihood, source_weights

_SMALLEST = 1e-7
_GRID = np.geomspace(0.25, 8.0, 401)


def fit_temperatures(rows: Sequence[LabelledRow], probs: Floats, taxonomy: Taxonomy) -> Temperatures:
    """Find, for each script, the temperature that gives the rows' domains the highest likelihood, sources counting alike.

    Guo et al. 2017, between 1/4 and 8. A script without rows gets the temperature of all rows.

    Args:
        probs: (n, k) probabilities, not calibrated.
    """
    other = scripts(rows)
    return Temperatures(*(_fit(rows, probs, own if own.any() else ~own, taxonomy) for own in (~other, other)))


def cross_calibrated(rows: Sequence[LabelledRow], probs: Floats, taxonomy: Taxonomy) -> Floats:
    """Calibrate each source's probabilities with temperatures fitted on the other sources, so that it can be judged on them.

    With a single source there are no others: its rows are calibrated by themselves, which is slightly favourable.
    """
    sources = np.array([row["source"] for row in rows])
    other = scripts(rows)
    out = np.clip(probs, _SMALLEST, 1.0)
    for source in np.unique(sources):
        own = sources == source
        rest = np.flatnonzero(~own if not own.all() else own)
        found = fit_temperatures([rows[i] for i in rest], probs[rest], taxonomy)
        out[own] = soften(out[own], np.where(other[own], found.other, found.latin)[:, None])
    return out


def scripts(rows: Sequence[LabelledRow]) -> NDArray[np.bool_]:
    """Say of each row whether it is in another script than Latin."""
    return np.array([in_other_script(text_view([row["text"]])) for row in rows], dtype=bool)


def _fit(rows: Sequence[LabelledRow], probs: Floats, chosen: NDArray[np.bool_], taxonomy: Taxonomy) -> float:
    part = [row for row, wanted in zip(rows, chosen, strict=True) if wanted]
    truth = np.array([taxonomy.index(row["domain"]) for row in part])
    weights, clipped = source_weights(part), np.clip(probs[chosen], _SMALLEST, 1.0)
    losses = [negative_log_likelihood(soften(clipped, t), truth, weights) for t in _GRID]
    return float(_GRID[int(np.argmin(losses))])
