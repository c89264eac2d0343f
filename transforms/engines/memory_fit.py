"""Whether an engine fits into memory: counted from the model's files before anything is loaded.

Every part is a lower bound, and what is not known is left out: an engine that would have run is not refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from versatune.models.files import tensors_of
from versatune.schemas.errors import DataError, RunError

_GIB = 2**30
_FLOAT_BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2}
# Libraries and the work space of a step; three arrays of logits are alive while tokens are drawn.
_SPARE_BYTES = _GIB // 2
_LOGIT_BYTES = 3 * 4


@dataclass(frozen=True, kw_only=True)
class Need:
    """Bytes that an engine needs on each of its devices."""

    weights: int
    cache: int
    """Keys and values of earlier tokens."""
    spare: int
    cache_by_setting: bool
    """The cache's size is a setting, and not what one sample takes."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.cache + self.spare


@dataclass(frozen=True, kw_only=True)
class Room:
    """Bytes that a machine or a GPU has."""

    free: int
    """What the engine could take now."""
    total: int
    place: str
    share: float = 1.0
    """The share of the total that the engine may take."""


def check_memory_fit(need: Need | None, room: Room | None) -> None:
    """Refuse an engine that needs more than there is; what is unknown refuses nothing.

    Raises:
        RunError: it does not fit; the message says what takes how much and what to change.
    """
    if need is None or room is None or need.total <= room.free:
        return
    allowed = f" ({room.share:.0%} of it may be used)" if room.share < 1.0 else ""
    if need.cache_by_setting:
        cache, change = "cpu_kv_cache_gib", "Lower cpu_kv_cache_gib of the engine"
    else:
        cache, change = "one sample", "Raise tensor_parallel_size or gpu_memory_utilization of the engine"
    raise RunError(
        f"the engine needs {_gib(need.total)} of memory: weights {_gib(need.weights)} + cache {_gib(need.cache)} ({cache}) + spare"
        f" {_gib(need.spare)}; {room.place} has {_gib(room.free)} free of {_gib(room.total)}{allowed}. {change}, take a smaller model or"
        f" dtype bfloat16, or end what else uses the memory of {room.place}"
    )


def engine_need(
    folder: str | Path,
    *,
    dtype: str,
    max_model_len: int,
    max_num_seqs: int,
    tensor_parallel_size: int,
    cpu_kv_cache_gib: int | None,
) -> Need | None:
    """Return what an engine needs on each device; None if the model's files do not say.

    Args:
        folder: the model.
        dtype: auto, bfloat16, float16 or float32; auto loads float32 models as bfloat16.
        max_model_len: tokens of the longest sample.
        max_num_seqs: samples at a time.
        tensor_parallel_size: devices that share one copy.
        cpu_kv_cache_gib: the cache of the CPU engine, GiB; None on a GPU, which takes what is left, but at least one sample's.
    """
    width = 4 if dtype == "float32" else 2
    try:
        config = json.loads((Path(folder) / "config.json").read_bytes())
        text = config.get("text_config") or config
        weights = weight_bytes(Path(folder), None if "quantization_config" in config else width)
        cache = sample_cache_bytes(text, width) * max_model_len if cpu_kv_cache_gib is None else cpu_kv_cache_gib * _GIB
        logits = _LOGIT_BYTES * max_num_seqs * int(text.get("vocab_size", 0))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError):
        return None
    return Need(
        weights=weights // tensor_parallel_size,
        cache=cache // tensor_parallel_size if cpu_kv_cache_gib is None else cache,
        spare=_SPARE_BYTES + logits // tensor_parallel_size,
        cache_by_setting=cpu_kv_cache_gib is not None,
    )


def weight_bytes(folder: Path, width: int | None) -> int:
    """Return the bytes of a model's weights when they are loaded.

    Args:
        folder: with one file of weights, or several and their index.
        width: bytes of a floating-point number once it is loaded; None for as it is stored.
    """
    indices = sorted(folder.glob("*.safetensors.index.json"))
    if indices:
        names = sorted(set(json.loads(indices[0].read_bytes())["weight_map"].values()))
    else:
        names = [file.name for file in folder.glob("model.safetensors")] or [
            file.name for file in sorted(folder.glob("*.safetensors"))[:1]
        ]
    return sum(_tensor_bytes(tensor, width) for name in names for tensor in tensors_of(folder / name).values())


def _tensor_bytes(tensor: dict[str, Any], width: int | None) -> int:
    start, end = tensor["data_offsets"]
    if width is None or tensor["dtype"] not in _FLOAT_BYTES:
        return int(end) - int(start)
    return prod(tensor["shape"]) * width


def sample_cache_bytes(config: dict[str, Any], width: int) -> int:
    """Return the cache's bytes for each token of a sample; 0 for attention that keeps less than all keys and values of all tokens.

    Args:
        config: of the text model: layers, heads, size.
        width: bytes of a number.
    """
    kinds = set(config.get("layer_types") or ["full_attention"])
    if kinds != {"full_attention"} or config.get("sliding_window") or config.get("kv_lora_rank"):
        return 0
    layers, heads = int(config["num_hidden_layers"]), int(config["num_attention_heads"])
    head_size = int(config.get("head_dim") or config["hidden_size"] // heads)
    return layers * 2 * int(config.get("num_key_value_heads") or heads) * head_size * width


def machine_room(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> Room | None:
    """Return the memory of this machine, or of the container it is; None where the system does not say."""
    try:
        lines = (line.split() for line in (proc / "meminfo").read_text().splitlines())
        memory = {line[0]: int(line[1]) * 1024 for line in lines}
        room = Room(free=memory["MemAvailable:"], total=memory["MemTotal:"], place="this machine")
    except (OSError, ValueError, KeyError, IndexError):
        return None
    for limit in _container_limits(proc, cgroups):
        if limit.free < room.free:
            room = limit
    return room


def _container_limits(proc: Path, cgroups: Path) -> list[Room]:
    """Return the limits of the control groups that this process is in, and of those that they are in, of versions 1 and 2."""
    try:
        entries = [line.split(":", 2) for line in (proc / "self" / "cgroup").read_text().splitlines()]
    except OSError:
        entries = []
    limits = []
    for _, controllers, path in (entry for entry in entries if len(entry) == 3):
        if controllers and "memory" not in controllers.split(","):
            continue
        version_1 = bool(controllers)
        home = cgroups / "memory" if version_1 else cgroups
        group = home / path.strip("/")
        while True:  # in a container the path may be the host's: then only the uppermost is there
            limits.append(_limit(group, version_1=version_1))
            if group == home or home not in group.parents:
                break
            group = group.parent
    return [limit for limit in limits if limit is not None]


def _limit(group: Path, *, version_1: bool) -> Room | None:
    """Return one group's limit; files that it has read and could forget count as free."""
    names = (
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        if version_1
        else ("memory.max", "memory.current", "inactive_file")
    )
    try:
        limit, used = (int((group / name).read_text()) for name in names[:2])  # "max" is no number: no limit
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return Room(free=max(0, limit - used + int(stat[names[2]])), total=limit, place="this container")
    except (OSError, ValueError, KeyError):
        return None


def _gib(count: int) -> str:
    return f"{count / _GIB:,.1f} GiB"
