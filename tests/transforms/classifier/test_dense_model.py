"""A model made dense gives the very probabilities of the quantised one, and what cannot be made dense is left to fastText."""

from __future__ import annotations

import random
from pathlib import Path

import fasttext
import numpy as np
import pytest

from versatune.transforms.classifier.dense_model import dense_model
from versatune.transforms.classifier.fasttext_classifier import _zeroed_allocations, bundled_model, text_view

WORDS = [
    "court",
    "tenant",
    "fever",
    "patient",
    "bond",
    "yield",
    "cell",
    "enzyme",
    "list",
    "return",
    "story",
    "garden",
    "法院",
    "患者",
    "债券",
    "细胞",
    "42",
    "the",
    "of",
    "and",
]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    chance = random.Random(7)
    return [text_view([" ".join(chance.choices(WORDS, k=chance.randint(1, 60)))]) for _ in range(500)]


def predicted(file: Path, texts: list[str]) -> tuple[list[list[str]], np.ndarray]:
    labels, probabilities = fasttext.load_model(str(file)).predict(texts, k=6)
    return labels, np.array(probabilities)


def test_the_bundled_model_answers_the_same(texts: list[str], tmp_path: Path) -> None:
    dense = dense_model(bundled_model().read_bytes())
    assert dense is not None
    (tmp_path / "dense.bin").write_bytes(dense)
    labels, probabilities = predicted(bundled_model(), texts)
    dense_labels, dense_probabilities = predicted(tmp_path / "dense.bin", texts)
    assert dense_labels == labels
    assert np.array_equal(dense_probabilities, probabilities)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    # 300 labels, since an output matrix is quantised from 256 rows on
    lines = [f"__label__{i % 300} {WORDS[i % len(WORDS)]} {WORDS[i * 7 % len(WORDS)]}" for i in range(900)]
    (folder / "lines.txt").write_text("\n".join(lines))
    return folder


def quantised(folder: Path, name: str, **settings: object) -> Path:
    with _zeroed_allocations():
        model = fasttext.train_supervised(
            str(folder / "lines.txt"), dim=10, thread=1, verbose=0, minn=2, maxn=3, bucket=500
        )
    if settings.pop("quantise", True):
        model.quantize(input=str(folder / "lines.txt"), verbose=0, thread=1, **settings)
    model.save_model(str(folder / name))
    return folder / name


def test_a_last_part_of_another_width_is_no_difference(trained: Path, texts: list[str]) -> None:
    file = quantised(trained, "uneven.ftz", dsub=3)  # 10 columns in parts of 3, 3, 3 and 1
    dense = dense_model(file.read_bytes())
    assert dense is not None
    (trained / "uneven.bin").write_bytes(dense)
    assert np.array_equal(predicted(trained / "uneven.bin", texts)[1], predicted(file, texts)[1])


@pytest.mark.parametrize(
    "settings", [{"quantise": False}, {"qnorm": True}, {"qout": True}, {"cutoff": 300, "retrain": False}], ids=str
)
def test_other_models_are_left_to_fasttext(trained: Path, settings: dict[str, object]) -> None:
    assert dense_model(quantised(trained, "other.bin", **settings).read_bytes()) is None


def test_damaged_files_are_left_to_fasttext() -> None:
    data = bundled_model().read_bytes()
    for end in (0, 7, 60, 100, 5_000, len(data) // 2):
        assert dense_model(data[:end]) is None
    assert dense_model(b"not a model" * 100) is None
