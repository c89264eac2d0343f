"""Signatures estimate the Jaccard similarity without bias, and bands find what is similar enough."""

from __future__ import annotations

import numpy as np
import pytest

from versatune.transforms.overlap.minhash import Bands, band_keys, chance_to_meet, choose_bands, signatures_of
from versatune.transforms.overlap.shingles import Shingles

PAIRS = 400


def shingles(sets: list[np.ndarray]) -> Shingles:
    return Shingles(np.concatenate([*sets, np.zeros(0, np.uint64)]), np.cumsum([0, *(len(s) for s in sets)]))


def pairs_of(only: int, both: int, seed: int) -> tuple[Shingles, Shingles]:
    """Return pairs of random sets with ``both`` common members and ``only`` members each besides."""
    chance = np.random.default_rng(seed)
    all_members = [chance.integers(0, 2**64, 2 * only + both, dtype=np.uint64) for _ in range(PAIRS)]
    return shingles([m[: only + both] for m in all_members]), shingles([m[only:] for m in all_members])


@pytest.mark.parametrize("permutations", [64, 100, 128])
@pytest.mark.parametrize(
    ("only", "both"),
    [(1, 0), (0, 1), (1, 1), (1, 2), (3, 3), (10, 5), (5, 30), (20, 40), (50, 150), (20, 180), (300, 700), (60, 1500)],
)
def test_the_estimate_is_unbiased_and_varies_no_more_than_independent_functions(
    only: int, both: int, permutations: int
) -> None:
    true = both / (2 * only + both)
    error = np.sqrt(true * (1 - true) / permutations)
    left, right = (signatures_of(side, permutations) for side in pairs_of(only, both, seed=only * 1000 + both))
    estimates = (left == right).mean(axis=1)
    assert abs(estimates.mean() - true) <= 4 * error / np.sqrt(PAIRS)
    assert estimates.std() <= 1.1 * error  # copying places into empty ones has 1.2 times the error on three members
    assert np.abs(estimates - true).max() <= 4.5 * error


def test_a_signature_is_that_of_a_set() -> None:
    members = np.arange(1, 60, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    again = np.concatenate([members[::-1], members[:7]])
    first, second = signatures_of(shingles([members, again]), 128)
    assert (first == second).all()


def test_a_signature_does_not_depend_on_the_rows_beside_it() -> None:
    chance = np.random.default_rng(5)
    sets = [chance.integers(0, 2**64, size, dtype=np.uint64) for size in (3, 0, 200_000, 1, 50, 90, 0, 130_000, 128)]
    together = signatures_of(shingles(sets), 128)
    for row, members in zip(together, sets, strict=True):
        assert (row == signatures_of(shingles([members]), 128)[0]).all()


def test_a_row_without_shingles_has_an_empty_signature() -> None:
    nothing, something = signatures_of(shingles([np.zeros(0, np.uint64), np.ones(1, np.uint64)]), 16)
    assert (nothing == 2**32 - 1).all()
    assert (something < 2**32 - 1).all()
    assert signatures_of(shingles([]), 16).shape == (0, 16)


def test_signatures_are_the_same_in_every_version() -> None:
    row = signatures_of(shingles([np.array([1, 2, 3], np.uint64)]), 16)[0]
    assert row.tolist() == GOLDEN


GOLDEN = [
    1173561633,
    1373201252,
    76938837,
    3933593219,
    153877674,
    3803091398,
    2043318561,
    230816511,
    817563148,
    2177004059,
    3797420584,
    3822449269,
    677217030,
    3405273852,
    2945924304,
    3997930400,
]


@pytest.mark.parametrize("similarity", [0.05, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("permutations", [16, 64, 128, 256])
def test_bands_are_the_longest_that_find_a_pair_at_the_threshold(similarity: float, permutations: int) -> None:
    bands = choose_bands(similarity, permutations)
    assert bands.bands == permutations // bands.rows
    assert chance_to_meet(similarity, bands) >= 0.95 or bands.rows == 1
    longer = bands.rows + 1
    if longer <= permutations:
        assert chance_to_meet(similarity, Bands(permutations // longer, longer)) < 0.95


def test_the_usual_threshold_has_eighteen_bands_of_seven() -> None:
    assert choose_bands(0.8, 128) == Bands(18, 7)
    assert chance_to_meet(0.8, Bands(18, 7)) == pytest.approx(1 - (1 - 0.8**7) ** 18)


def test_keys_agree_where_and_only_where_bands_agree() -> None:
    chance = np.random.default_rng(1)
    first = chance.integers(0, 2**32, 10, dtype=np.uint32)
    second = first.copy()
    second[4] += 1
    keys = band_keys(np.stack([first, second]), Bands(3, 3))
    assert keys.shape == (3, 2)
    assert (keys[:, 0] == keys[:, 1]).tolist() == [True, False, True]


def test_places_of_a_band_are_told_apart() -> None:
    keys = band_keys(np.array([[1, 2], [2, 1]], np.uint32), Bands(1, 2))
    assert keys[0, 0] != keys[0, 1]
