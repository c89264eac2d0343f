"""Whether an engine fits, by made-up models and machines."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from versatune.schemas.errors import RunError
from versatune.transforms.engines.memory_fit import (
    Need,
    Room,
    check_memory_fit,
    engine_need,
    machine_room,
    sample_cache_bytes,
)

_GIB = 2**30
_CONFIG = {
    "num_hidden_layers": 10,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "hidden_size": 64,
    "vocab_size": 1000,
}


def _model(folder: Path, *shards: dict[str, tuple[str, list[int], int]], **config: object) -> Path:
    """Write a model of which only the headers are there: name -> (dtype, shape, bytes)."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(_CONFIG | config))
    names = {}
    for number, tensors in enumerate(shards):
        file, at, header = f"model-{number}.safetensors", 0, {"__metadata__": {"format": "pt"}}
        for name, (dtype, shape, size) in tensors.items():
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
            names[name], at = file, at + size
        data = json.dumps(header).encode()
        (folder / file).write_bytes(struct.pack("<Q", len(data)) + data)
    if len(shards) > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    return folder


def _need(folder: Path, *, dtype: str = "auto", tensor_parallel_size: int = 1, cpu: int | None = None) -> Need | None:
    return engine_need(
        folder,
        dtype=dtype,
        max_model_len=100,
        max_num_seqs=50,
        tensor_parallel_size=tensor_parallel_size,
        cpu_kv_cache_gib=cpu,
    )


def test_weights_count_in_the_numbers_they_are_loaded_as(tmp_path: Path) -> None:
    shards = {"a": ("F32", [10, 5], 200), "b": ("I8", [7], 7)}, {"c": ("BF16", [3], 6)}
    folder = _model(tmp_path / "m", *shards)
    (folder / "consolidated.safetensors").write_bytes(b"the same weights once more, which nothing loads")
    assert [_need(folder, dtype=dtype).weights for dtype in ("auto", "float16", "float32")] == [
        100 + 7 + 6,
        100 + 7 + 6,
        200 + 7 + 12,
    ]
    quantized = _model(tmp_path / "q", *shards, quantization_config={"bits": 8})
    assert _need(quantized).weights == 213


def test_a_gpu_holds_at_least_one_sample_and_a_cpu_what_is_set(tmp_path: Path) -> None:
    folder = _model(tmp_path / "m", {"a": ("F16", [50], 100)})
    per_token = 10 * 2 * 2 * 8 * 2  # layers, keys and values, their heads, their size, bytes
    one = _need(folder)
    assert (one.weights, one.cache) == (100, 100 * per_token)
    halves = _need(folder, tensor_parallel_size=2)
    assert (halves.weights, halves.cache) == (50, 50 * per_token)
    assert _need(folder, cpu=3).cache == 3 * _GIB
    assert one.spare == _GIB // 2 + 12 * 50 * 1000


def test_attention_that_keeps_less_counts_as_nothing() -> None:
    assert sample_cache_bytes(_CONFIG, 2) == 640
    assert sample_cache_bytes(_CONFIG | {"head_dim": 16}, 2) == 1280
    for kind in (
        {"sliding_window": 8},
        {"kv_lora_rank": 4},
        {"layer_types": ["full_attention", "linear_attention"]},
    ):
        assert sample_cache_bytes(_CONFIG | kind, 2) == 0


def test_a_model_that_cannot_be_read_is_not_refused_here(tmp_path: Path) -> None:
    assert _need(tmp_path / "absent") is None
    folder = _model(tmp_path / "m", {"a": ("F16", [50], 100)}, num_hidden_layers=None)
    assert _need(folder) is None
    (folder / "model-0.safetensors").write_bytes(b"not weights")
    assert _need(folder, cpu=1) is None
    check_memory_fit(None, Room(free=0, total=1, place="this machine"))
    check_memory_fit(Need(weights=9, cache=9, spare=9, cache_by_setting=True), None)


def test_the_refusal_says_what_takes_how_much_and_what_to_change() -> None:
    need = Need(weights=3 * _GIB, cache=8 * _GIB, spare=_GIB, cache_by_setting=True)
    check_memory_fit(need, Room(free=12 * _GIB, total=16 * _GIB, place="this machine"))
    with pytest.raises(RunError) as cpu:
        check_memory_fit(need, Room(free=12 * _GIB - 1, total=16 * _GIB, place="this machine"))
    assert str(cpu.value) == (
        "the engine needs 12.0 GiB of memory: weights 3.0 GiB + cache 8.0 GiB (cpu_kv_cache_gib) + spare 1.0 GiB; this machine has 12.0 GiB"
        " free of 16.0 GiB. Lower cpu_kv_cache_gib of the engine, take a smaller model or dtype bfloat16, or end what else uses the memory of"
        " this machine"
    )
    with pytest.raises(
        RunError, match=r"one sample.*GPU 1 has 0\.0 GiB free of 16\.0 GiB \(90% of it may be used\)\. Raise tensor_par"
    ):
        check_memory_fit(
            Need(weights=1, cache=1, spare=1, cache_by_setting=False),
            Room(free=2, total=16 * _GIB, place="GPU 1", share=0.9),
        )


def _machine(home: Path, *groups: str) -> tuple[Path, Path]:
    proc, cgroups = home / "proc", home / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 600 kB\n")
    (proc / "self" / "cgroup").write_text("".join(f"{line}\n" for line in groups))
    cgroups.mkdir()
    return proc, cgroups


def _group(folder: Path, names: tuple[str, str, str], limit: str, used: int, forgettable: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {forgettable}\n")


_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = ("memory.max", "memory.current", "inactive_file")


def test_a_machine_has_what_the_system_calls_available(tmp_path: Path) -> None:
    proc, cgroups = _machine(tmp_path, "0::/")
    assert machine_room(proc, cgroups) == Room(free=600 * 1024, total=1000 * 1024, place="this machine")
    assert machine_room(tmp_path / "absent", cgroups) is None


def test_the_tightest_container_counts_with_what_it_can_forget(tmp_path: Path) -> None:
    proc, cgroups = _machine(tmp_path, "0::/outer/inner")
    _group(cgroups / "outer" / "inner", _V2, "max", 900, 0)
    _group(cgroups / "outer", _V2, "500", 300, 100)
    assert machine_room(proc, cgroups) == Room(free=300, total=500, place="this container")


def test_control_groups_of_version_1_count_too(tmp_path: Path) -> None:
    proc, cgroups = _machine(tmp_path, "4:memory:/of/the/host", "2:cpu,cpuacct:/", "0::/")
    _group(cgroups / "memory", _V1, "700", 650, 30)  # a container sees its own group as the uppermost
    assert machine_room(proc, cgroups) == Room(free=80, total=700, place="this container")
