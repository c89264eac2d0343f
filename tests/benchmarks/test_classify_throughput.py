from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import orjson

from benchmarks.classify_throughput import (
    BATCH_ROWS,
    figures,
    labelled_rows,
    record_batches,
    synthetic_rows,
    time_in_turn,
)
from versatune.schemas.arrow import NORMALIZED
from versatune.transforms.classifier.fasttext_classifier import bundled_model

PARTS = ("bare", "dense", "classify", "text", "predict", "columns")


def runs(**seconds: float) -> dict[str, np.ndarray]:
    """Two batches, three repeats, one of them disturbed; half of the time on the processor."""
    return {
        name: np.array([[[s, s / 2], [s, s / 2]], [[s, s / 2], [9 * s, s / 2]], [[s, s / 2]] * 2])
        for name, s in (dict.fromkeys(PARTS, 0.1) | seconds).items()
    }


def test_a_ratio_is_classifys_speed_by_the_others_and_a_disturbed_batch_does_not_count() -> None:
    found = figures(1000, runs(bare=1.0, dense=0.4, classify=0.5, text=0.05))
    assert found["ratio_to_bare"] == found["cpu_ratio_to_bare"] == 2.0
    assert found["ratio_to_dense"] == 0.8
    assert found["rows_per_s"] == {"bare": 500, "dense": 1250, "classify": 1000}
    assert found["seconds"]["bare"] == [2.0, 10.0, 2.0]
    assert found["cpu_us_per_row"]["text"] == 50.0


def test_all_systems_are_timed_and_agree_on_the_domain() -> None:
    batches = record_batches(synthetic_rows(200))
    seconds, same = time_in_turn(bundled_model(), batches, 2)
    assert set(seconds) == set(PARTS)
    for taken in seconds.values():
        assert taken.shape == (2, 1, 2)
        assert (taken > 0).all()
    np.testing.assert_allclose(seconds["text"] + seconds["predict"] + seconds["columns"], seconds["classify"])
    assert same == 1.0


def test_rows_become_batches_as_the_step_before_leaves_them() -> None:
    rows = synthetic_rows(BATCH_ROWS + 1)
    batches = record_batches(rows)
    assert [batch.num_rows for batch in batches] == [BATCH_ROWS, 1]
    assert batches[0].schema == NORMALIZED
    assert [(turn["role"], turn["content"]) for turn in batches[1]["messages"][0].as_py()] == rows[-1]


def test_labelled_rows_are_the_same_shuffled_ones_each_time(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl.gz"
    file.write_bytes(gzip.compress(b"\n".join(orjson.dumps({"text": str(i), "domain": "law"}) for i in range(50))))
    found = labelled_rows(file, 20)
    assert found == labelled_rows(file, 20)
    assert len({turns[0] for turns in found}) == 20
    assert found != [[("user", str(i))] for i in range(20)]
