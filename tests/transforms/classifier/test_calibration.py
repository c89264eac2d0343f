from __future__ import annotations

import numpy as np
import pytest

from versatune.schemas.taxonomy import Taxonomy
from versatune.transforms.classifier.calibration import cross_calibrated, fit_temperatures
from versatune.transforms.classifier.fasttext_classifier import soften
from versatune.transforms.classifier.labelled_rows import LabelledRow

THREE = Taxonomy(domains=("law", "code", "general"))


def sharpened(temperature: float, text: str, source: str, seed: int) -> tuple[list[LabelledRow], np.ndarray]:
    """Make rows whose domains are drawn from honest probabilities, and those probabilities made too sharp."""
    rng = np.random.default_rng(seed)
    honest = rng.dirichlet([1.0, 1.0, 1.0], size=6000)
    truth = [THREE.domains[rng.choice(3, p=p)] for p in honest]
    rows = [LabelledRow(text=text, domain=domain, source=source) for domain in truth]
    return rows, soften(np.clip(honest, 1e-7, 1.0), 1 / temperature)


def test_the_temperature_that_made_the_probabilities_sharp_is_found_for_each_script() -> None:
    (latin, p), (chinese, q) = sharpened(2.0, "plain words", "a", 0), sharpened(4.0, "什么是债券", "b", 1)
    found = fit_temperatures(latin + chinese, np.concatenate([p, q]), THREE)
    assert found.latin == pytest.approx(2.0, rel=0.07)
    assert found.other == pytest.approx(4.0, rel=0.07)


def test_a_script_without_rows_gets_the_temperature_of_the_other() -> None:
    rows, probs = sharpened(2.0, "plain words", "a", 0)
    found = fit_temperatures(rows, probs, THREE)
    assert found.other == found.latin


def test_a_source_is_calibrated_by_the_others() -> None:
    """One source is much too sharp: its own temperature would mend that, the others' cannot."""
    (one, p), (two, q) = sharpened(1.0, "plain words", "a", 0), sharpened(4.0, "plain words", "b", 1)
    out = cross_calibrated(one + two, np.concatenate([p, q]), THREE)
    np.testing.assert_allclose(out[6000:], soften(q, fit_temperatures(one, p, THREE).latin), atol=1e-6)
    np.testing.assert_allclose(out[:6000], soften(p, fit_temperatures(two, q, THREE).latin), atol=1e-6)
