"""The engine's own process: the only file that imports vllm.

It reads settings and requests from standard input, one JSON value a line, and says on standard output what it has finished. vLLM runs inside this
one process, without worker processes of its own for the engine, which outlive a killed parent. It ends when its standard input does, however the
other side ends. Of this package it imports only what needs no Beam: that would be two seconds and 200 MB more.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from versatune.schemas.errors import VersatuneError
from versatune.transforms.engines.memory_fit import Room, check_memory_fit, engine_need, machine_room

END_SECONDS = 5.0
_TELL_SECONDS = 0.5
_WARM_UP_TOKENS = 4
_ERROR_CHARS = 500


@dataclass(frozen=True, kw_only=True)
class VllmSettings:
    """What the engine is told: plain values, the same on every worker."""

    model: str
    """A model folder, at this path on every worker, or its address on an object store (gs://bucket/model), from where each machine fetches it."""
    model_digest: str = ""
    """What :func:`versatune.models.files.model_digest` says of the model; checked where it is fetched."""
    trust_remote_code: bool
    dtype: str
    max_model_len: int
    max_num_seqs: int
    gpu_memory_utilization: float
    cpu_kv_cache_gib: int
    tensor_parallel_size: int
    enforce_eager: bool
    float32_logits: bool = False
    """Compute the logits in float32 whatever the model is in: with bfloat16 neighbouring logits of 20 are 0.125 apart."""
    prompt_token_ids: tuple[int, ...] = ()
    """This and what follows is for generating; scoring has nothing to sample."""
    temperature: float = 1.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    max_new_tokens: int = 1


def serve() -> None:
    """Load the model, then answer requests until the input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever vLLM prints goes to the log

    def tell(**message: object) -> None:
        answers.write(json.dumps(message) + "\n")

    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    try:
        settings = VllmSettings(**json.loads(lines.get()))
        _check_memory(settings)
        llm = _load(settings)
        warmed_in = _warm_up(llm, settings)
        tell(ready={**_about(), "warm_up_seconds": warmed_in})
        while line := lines.get():
            _answer(llm, settings, json.loads(line), tell, lambda: not lines.empty())
        llm.llm_engine.engine_core.shutdown()
    except VersatuneError as error:
        with contextlib.suppress(OSError):
            tell(refused=[type(error).__name__, str(error)])
    except Exception as error:  # noqa: BLE001  # whatever it is, the other side must hear of it
        traceback.print_exc()
        with contextlib.suppress(OSError):
            tell(error=" ".join(f"{type(error).__name__}: {error}".split())[:_ERROR_CHARS])
    sys.stderr.flush()
    os._exit(0)  # the interpreter's own way out would wait for vLLM's threads


def _read(lines: queue.Queue[str]) -> None:
    """Pass lines on; at the end of the input give the engine a moment, then end it and everything it started."""
    for line in sys.stdin:
        lines.put(line)
    lines.put("")
    time.sleep(END_SECONDS)
    os.killpg(os.getpid(), signal.SIGKILL)


def _load(settings: VllmSettings) -> Any:
    from vllm import LLM

    return LLM(
        model=settings.model,
        trust_remote_code=settings.trust_remote_code,
        dtype=settings.dtype,  # type: ignore[arg-type]  # checked by the configuration
        max_model_len=settings.max_model_len,
        max_num_seqs=settings.max_num_seqs,
        gpu_memory_utilization=settings.gpu_memory_utilization,
        tensor_parallel_size=settings.tensor_parallel_size,
        enforce_eager=settings.enforce_eager,
        hf_overrides={"head_dtype": "float32"} if settings.float32_logits else None,
        disable_log_stats=True,
    )


def _warm_up(llm: Any, settings: VllmSettings) -> float:
    """Generate a few tokens and throw them away: a broken engine is found now, and the first batch is as fast as the others; return the seconds."""
    from vllm import SamplingParams

    begun = time.monotonic()
    prompt = list(settings.prompt_token_ids) or [0]
    params = SamplingParams(max_tokens=min(settings.max_new_tokens, _WARM_UP_TOKENS), seed=0, ignore_eos=True)
    for _ in _steps(llm.llm_engine, [prompt], [params]):
        pass
    llm.reset_prefix_cache()
    return round(time.monotonic() - begun, 2)


def _answer(
    llm: Any, settings: VllmSettings, request: dict[str, Any], tell: Callable[..., None], gone: Callable[[], bool]
) -> None:
    """Do a request: tell twice a second what is finished and how far the rest is; stop as soon as the other side says anything."""
    if "generate" in request:
        _generate(llm, settings, request["number"], request["generate"], tell, gone)
    elif "score" in request:
        _score(llm, request["number"], request["score"], request["token_ids"], tell, gone)


def _generate(
    llm: Any,
    settings: VllmSettings,
    number: int,
    seeds: Sequence[int],
    tell: Callable[..., None],
    gone: Callable[[], bool],
) -> None:
    """Tell (position, text, tokens, finish reason) of each seed."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    prompts = [list(settings.prompt_token_ids)] * len(seeds)
    params = [
        SamplingParams(
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=0,
            repetition_penalty=settings.repetition_penalty,
            max_tokens=settings.max_new_tokens,
            seed=seed,
            skip_special_tokens=True,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        for seed in seeds
    ]
    rows: list[tuple[int, str, int, str]] = []
    told = begun = time.monotonic()
    drawn = in_finished = 0
    with contextlib.closing(_steps(llm.llm_engine, prompts, params)) as steps:
        for running, outputs in steps:
            drawn += running + len(outputs)
            for output in outputs:
                text = output.outputs[0]
                rows.append((int(output.request_id), text.text, len(text.token_ids), str(text.finish_reason)))
                in_finished += len(text.token_ids)
            now = time.monotonic()
            if now - told >= _TELL_SECONDS:
                open_samples = (drawn - in_finished) / settings.max_new_tokens
                tell(number=number, rows=rows, open=round(open_samples, 2), rate=round(drawn / (now - begun), 1))
                rows, told = [], now
            if gone():
                return
    tell(number=number, rows=rows, open=0.0, rate=round(in_finished / (time.monotonic() - begun), 1), end=True)


def _score(
    llm: Any,
    number: int,
    prompts: Sequence[list[int]],
    token_ids: list[int],
    tell: Callable[..., None],
    gone: Callable[[], bool],
) -> None:
    """Tell (position, log-probability of each token) of all prompts in the end, and until then how many are finished.

    ``logprob_token_ids`` gives exactly these tokens (``logprobs=n`` would give the n most probable ones), and vLLM's default
    ``logprobs_mode``, raw, the numbers before ``allowed_token_ids`` and temperature.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    params = SamplingParams(
        temperature=0.0,
        max_tokens=1,
        allowed_token_ids=token_ids,
        logprob_token_ids=token_ids,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
    llm.reset_prefix_cache()  # within a batch prompts share their beginning; between batches it would leave traces in the last digits
    rows = []
    told = time.monotonic()
    with contextlib.closing(_steps(llm.llm_engine, prompts, [params] * len(prompts))) as steps:
        for _, outputs in steps:
            for output in outputs:
                found = output.outputs[0].logprobs[0]
                rows.append((int(output.request_id), [float(found[token_id].logprob) for token_id in token_ids]))
            if time.monotonic() - told >= _TELL_SECONDS:
                told = time.monotonic()
                tell(number=number, rows=[], open=float(len(rows)), rate=0.0)
            if gone():
                return
    tell(number=number, rows=rows, open=0.0, rate=0.0, end=True)


def _steps(engine: Any, prompts: Sequence[list[int]], params: Sequence[Any]) -> Generator[tuple[int, list[Any]]]:
    """Complete prompts, all at once, as ``LLM.generate`` does; closed early, it drops what is not finished.

    Yields:
        After each step of the engine, how many go on, each with a token more, and the outputs that are finished, their position as ``request_id``.
    """
    from vllm.inputs import tokens_input

    names = [str(position) for position in range(len(prompts))]
    scheduler = engine.engine_core.engine_core.scheduler
    try:
        for name, prompt, one in zip(names, prompts, params, strict=True):
            engine.add_request(name, tokens_input(prompt), one)
        while engine.has_unfinished_requests():
            finished = [output for output in engine.step() if output.finished]
            yield scheduler.get_request_counts()[0], finished
    finally:
        if engine.has_unfinished_requests():
            engine.abort_request(names)


def _check_memory(settings: VllmSettings) -> None:
    """Refuse an engine that cannot fit, before minutes are spent on loading it."""
    from vllm.platforms import current_platform

    on_cpu = current_platform.is_cpu()
    room = machine_room() if on_cpu else _gpu_room(settings)
    need = engine_need(
        settings.model,
        dtype=settings.dtype,
        max_model_len=settings.max_model_len,
        max_num_seqs=settings.max_num_seqs,
        tensor_parallel_size=settings.tensor_parallel_size,
        cpu_kv_cache_gib=settings.cpu_kv_cache_gib if on_cpu else None,
    )
    check_memory_fit(need, room)


def _gpu_room(settings: VllmSettings) -> Room | None:
    """Return what the fullest of the GPUs has for the engine; None where the driver does not say. It leaves CUDA asleep, as vLLM wants it."""
    from vllm.platforms import current_platform
    from vllm.third_party import pynvml

    rooms = []
    try:
        pynvml.nvmlInit()
        for device in range(settings.tensor_parallel_size):
            handle = pynvml.nvmlDeviceGetHandleByIndex(current_platform.device_id_to_physical_device_id(device))
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            share = settings.gpu_memory_utilization
            rooms.append(
                Room(
                    free=min(int(memory.free), int(memory.total * share)),
                    total=int(memory.total),
                    place=f"GPU {device}",
                    share=share,
                )
            )
    except Exception:  # noqa: BLE001  # another make, a slice of a GPU, no driver library: then vLLM finds out by itself
        return None
    return min(rooms, key=lambda room: room.free)


def _about() -> dict[str, Any]:
    import vllm
    from vllm.platforms import current_platform

    device = "cpu" if current_platform.is_cpu() else current_platform.get_device_name()
    return {"engine": f"vllm {vllm.__version__}", "torch": importlib.metadata.version("torch"), "device": device}
