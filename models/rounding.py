"""Trained values in a format of 16 bits: up or down by chance, so that small steps are not lost.

A step of training is often smaller than half the distance between two numbers of the format. Rounding to the nearest then gives the base
model's value back, and most of what was learned is gone: SmolLM2, fine-tuned for twelve steps at 3e-5 and rounded to bfloat16, lost 0.11 to
0.18 nats per token of a gain of that size. Up with a probability of how far the value is on its way to the next number (stochastic rounding),
each weight keeps its step on average; the same run lost 0.002. A value that is a number of the format stays what it is.
"""

from __future__ import annotations

import torch

from versatune.schemas.files import sha256_bytes

_SHAPES = {torch.bfloat16: (8, -126), torch.float16: (11, -14)}
"""Of a format: significant bits, and the exponent of its smallest normal number."""
_FLOAT32_BITS = 24
_SEEDS = 4096
"""How many of a tensor's values seed its chance."""


def rounded(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return a tensor in another number format, on the CPU.

    The chance is seeded with the values: the same model gives the same bytes, and two names of one weight the same values.

    Args:
        value: as trained; float32 where there is anything to round.
        dtype: the format of its file.
    """
    if value.dtype != torch.float32 or dtype not in _SHAPES:
        return value.detach().to("cpu", dtype)
    exact = value.detach().cpu()
    spacing = _spacing(exact, dtype)
    # As many bits of chance as float32 has beyond the format: their sum with the value is exact.
    grain = 1 << (_FLOAT32_BITS - _SHAPES[dtype][0])
    sample = exact.flatten()[:_SEEDS].numpy().tobytes()
    generator = torch.Generator().manual_seed(int(sha256_bytes(sample)[:15], 16))
    chance = torch.randint(0, grain, exact.shape, generator=generator, dtype=torch.int32).float() / grain
    chosen = (exact / spacing + chance).floor() * spacing
    return torch.where(torch.isfinite(exact), chosen, exact).to(dtype)


def is_rounded(value: torch.Tensor, found: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Tell of each value whether what was found in its place is it, or one of its two neighbours in the format. Returns booleans."""
    if dtype not in _SHAPES:
        return value == found
    spacing = _spacing(value, dtype)
    position, where = value / spacing, found / spacing
    return (value == found) | (position.floor() == where) | (position.ceil() == where)


def _spacing(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Distance of the format's numbers around each value."""
    bits, least = _SHAPES[dtype]
    _, exponent = torch.frexp(
        torch.where(torch.isfinite(value), value, 1.0)
    )  # |value| = m * 2**exponent, m in [0.5, 1)
    return torch.ldexp(torch.ones_like(value), exponent.clamp(min=least + 1) - bits)
