"""Rounding by chance: what a format can say stays, and what it cannot stays on average."""

from __future__ import annotations

import pytest
import torch

from versatune.models.rounding import is_rounded, rounded

FORMATS = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", FORMATS)
def test_every_number_of_the_format_stays_what_it_is(dtype: torch.dtype) -> None:
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    numbers = every[~every.isnan()]
    for part in (numbers, numbers[1:], numbers[2:]):  # by other chances
        assert torch.equal(rounded(part.float(), dtype), part)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("scale", [1.0, 1e-3, 3e-7])  # the last is below the smallest normal number of float16
def test_a_value_becomes_one_of_its_two_neighbours_and_keeps_its_mean(dtype: torch.dtype, scale: float) -> None:
    base = (scale * torch.linspace(0.5, 1.0, 50)).to(dtype).float()
    above = torch.nextafter(base.to(dtype), torch.full((50,), torch.inf, dtype=dtype)).float()
    value = (base + 0.2 * (above - base)).expand(20_000, 50).contiguous()
    found = rounded(value, dtype).float()
    assert bool(((found == base) | (found == above)).all())
    assert ((found == above).float().mean(0) - 0.2).abs().max() < 0.02
    assert bool(is_rounded(value, found, dtype).all())
    assert not bool(is_rounded(value, found + 2 * (above - base), dtype).any())


def test_the_same_tensor_gives_the_same_bytes() -> None:
    value = torch.randn(100, 100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(rounded(value, torch.bfloat16), rounded(value.clone(), torch.bfloat16))
    assert not torch.equal(rounded(value, torch.bfloat16), value.bfloat16())


def test_what_needs_no_rounding_is_left_alone() -> None:
    whole = torch.arange(5)
    assert torch.equal(rounded(whole, torch.int64), whole)
    odd = torch.tensor([torch.inf, -torch.inf])
    assert torch.equal(rounded(odd, torch.bfloat16).float(), odd)
    value = torch.randn(4)
    assert torch.equal(rounded(value, torch.float32), value)
