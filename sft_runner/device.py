"""Where training runs, and what that machine can do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from versatune.schemas.errors import ConfigError

if TYPE_CHECKING:
    import torch

_GPU_SIGNS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # Linux, its subsystem on Windows, ROCm
# Instructions that multiply bfloat16, by their names in /proc/cpuinfo: AVX-512, AMX, AArch64.
_BFLOAT16_INSTRUCTIONS = re.compile(r"\b(avx512_bf16|amx_bf16|bf16)\b")


def gpu_visible() -> bool:
    """Say whether there is a sign of a GPU; only then is it worth the seconds that importing torch takes to ask it."""
    return any(Path(sign).exists() for sign in _GPU_SIGNS)


def choose_device(name: str) -> torch.device:
    """The device of ``train.device``; ConfigError where it is not there."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "train.device is 'cuda' but torch sees no GPU; use 'auto' or 'cpu', or install torch with CUDA"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def slow_dtype(device: str, dtype: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """Say that a device, cpu or cuda, has no instructions for ``train.dtype``; None where it has, or where the system does not tell."""
    if dtype != "bfloat16":
        return None
    if device == "cuda":
        import torch

        if torch.cuda.is_bf16_supported(including_emulation=False):
            return None
        where = f"{torch.cuda.get_device_name()} computes it slowly, if at all"
    else:
        try:
            known = cpuinfo.read_text()
        except OSError:
            return None
        if _BFLOAT16_INSTRUCTIONS.search(known):
            return None
        where = "this CPU has no instructions for it, and training takes about thirty times as long"
    return f"train.dtype is bfloat16; {where}. Set train.dtype: float32"
