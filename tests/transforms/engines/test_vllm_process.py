"""What the engine's process asks of a GPU's driver, with a stand-in for it; the rest is tested through the engine."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from versatune.transforms.engines.memory_fit import Room
from versatune.transforms.engines.vllm_process import VllmSettings, _gpu_room

_GIB = 2**30


def _settings(tmp_path: Path, devices: int) -> VllmSettings:
    return VllmSettings(
        model=str(tmp_path),
        trust_remote_code=False,
        dtype="auto",
        max_model_len=8,
        max_num_seqs=1,
        gpu_memory_utilization=0.5,
        cpu_kv_cache_gib=1,
        tensor_parallel_size=devices,
        enforce_eager=True,
    )


def _driver(monkeypatch: pytest.MonkeyPatch, free: dict[int, int]) -> None:
    """Stand in for vLLM's view of GPUs of 10 GiB, of which this process sees those from number 4 on."""

    def memory(handle: int) -> Any:
        if handle not in free:
            raise RuntimeError("no such device")
        return SimpleNamespace(free=free[handle], total=10 * _GIB)

    driver = SimpleNamespace(
        nvmlInit=lambda: None, nvmlDeviceGetHandleByIndex=lambda number: number, nvmlDeviceGetMemoryInfo=memory
    )
    platform = SimpleNamespace(device_id_to_physical_device_id=lambda number: number + 4)
    for name, content in {
        "vllm": {},
        "vllm.platforms": {"current_platform": platform},
        "vllm.third_party": {"pynvml": driver},
    }.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)


def test_the_fullest_gpu_counts_and_no_more_than_the_share_that_may_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _driver(monkeypatch, {4: 9 * _GIB, 5: 2 * _GIB})
    assert _gpu_room(_settings(tmp_path, 1)) == Room(free=5 * _GIB, total=10 * _GIB, place="GPU 0", share=0.5)
    assert _gpu_room(_settings(tmp_path, 2)) == Room(free=2 * _GIB, total=10 * _GIB, place="GPU 1", share=0.5)


def test_a_gpu_whose_driver_says_nothing_is_left_to_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _driver(monkeypatch, {})
    assert _gpu_room(_settings(tmp_path, 1)) is None
