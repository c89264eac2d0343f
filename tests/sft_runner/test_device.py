"""Which device is taken, and what is said of its number formats."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from versatune.schemas.errors import ConfigError
from versatune.sft_runner.device import choose_device, slow_dtype


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"train.device is 'cuda'"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("flags", "dtype", "slow"),
    [
        ("flags : sse2 avx512f avx512_bf16 avx512vl", "bfloat16", False),
        ("flags : sse2 amx_tile amx_bf16", "bfloat16", False),
        ("Features : fp asimd bf16 i8mm", "bfloat16", False),
        ("flags : sse2 avx2 avx512f", "bfloat16", True),
        ("flags : sse2 avx2", "float32", False),
    ],
)
def test_bfloat16_without_instructions_for_it_is_said_to_be_slow(
    tmp_path: Path, flags: str, dtype: str, slow: bool
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(flags)
    said = slow_dtype("cpu", dtype, file)
    assert (said is not None) == slow
    assert said is None or "train.dtype: float32" in said


def test_a_system_that_does_not_tell_is_not_warned_of(tmp_path: Path) -> None:
    assert slow_dtype("cpu", "bfloat16", tmp_path / "absent") is None
