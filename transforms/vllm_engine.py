"""The vLLM engine in a process of its own: the only file that imports vllm.

Why a process: the CPU build pins threads, replaces ``torch.set_num_threads`` and keeps half a gigabyte after it is
deleted, and a GPU stays partly taken, all of which a training stage after the probe would inherit; its messages go to
standard output, which is ours; and its OpenMP library is chosen when a process starts (Intel's copes better with a
busy machine than torch's). The engine itself runs inside that one process, without vLLM's own worker processes, which
outlive a killed parent. The process ends when its standard input does, however we end.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from schemas.errors import RunError
from transforms.generate import Generation, Sample

_TELL_SECONDS = 1.0
_END_SECONDS = 5.0
_ERROR_CHARS = 500


@dataclass(frozen=True, kw_only=True)
class VllmSettings:
    """What the engine is told: plain values, the same on every worker."""

    model: str
    """A model folder, at this path on every worker."""
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


class EngineProgress(NamedTuple):
    """How far engines are with what they are generating or scoring."""

    samples: float
    """About how many samples or prompts are done: 100 half-done samples are 50."""
    tokens_per_second: float


class VllmEngine:
    """An engine that is ready.

    Attributes:
        about: engine, versions, device and seconds of the start; kept with every generation.
    """

    def __init__(self, settings: VllmSettings) -> None:
        """Start the process and wait until it has loaded the model.

        Raises:
            RunError: vLLM is not installed, or the engine does not start; the message names its log.
        """
        if importlib.util.find_spec("vllm") is None:
            raise RunError(
                "vLLM is not installed; install versatune[gpu] on a machine with a GPU, versatune[cpu] on any other"
            )
        started = time.monotonic()
        self._settings = settings
        self._progress = EngineProgress(0.0, 0.0)
        self._log = Path(tempfile.mkstemp(prefix="versatune-vllm-", suffix=".log")[1])
        self._process = _launch(self._log, settings)
        _running.add(self)
        self._send(asdict(settings))
        self.about: dict[str, Any] = self._receive("ready", "did not start")
        self.about["start_seconds"] = round(time.monotonic() - started, 1)

    @property
    def progress(self) -> EngineProgress:
        """How far the batch is that is being generated."""
        return self._progress

    def generate(self, samples: Sequence[Sample]) -> list[Generation]:
        """Generate one text per sample, in order, all at once; a sample's own seed decides its text.

        Raises:
            RunError: the engine failed or ended; the message names its log.
        """
        rows = self._ask("generate", [sample.seed for sample in samples], of=len(samples))
        return [Generation(sample.index, sample.seed, *row) for sample, row in zip(samples, rows, strict=True)]

    def score(self, prompts: Sequence[Sequence[int]], token_ids: Sequence[int]) -> list[list[float]]:
        """Return the log-probabilities of some tokens as the first one after each prompt.

        They are the logarithm of the softmax over the whole vocabulary, before any sampling setting, of exactly these tokens however
        improbable. Equal calls give equal numbers on one machine: what an earlier call left in the engine's cache is not used.

        Args:
            prompts: token ids of n prompts.
            token_ids: m tokens, at most 128, all different.

        Returns:
            n lists of m.

        Raises:
            RunError: the engine failed or ended; the message names its log.
        """
        ids = [list(prompt) for prompt in prompts]
        scores: list[list[float]] = self._ask("score", [ids, list(token_ids)], of=len(ids))
        return scores

    def stop(self) -> None:
        """End the process and free its memory; a second call does nothing."""
        _running.discard(self)
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                _pipe(self._process.stdin).close()
            try:
                self._process.wait(2 * _END_SECONDS)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._log.unlink(missing_ok=True)

    def _ask(self, what: str, value: object, *, of: int) -> Any:
        self._send({what: value})
        try:
            return self._receive("answers", "failed", of)
        finally:
            self._progress = EngineProgress(0.0, self._progress.tokens_per_second)

    def _send(self, value: object) -> None:
        with contextlib.suppress(BrokenPipeError):  # _receive() says why
            pipe = _pipe(self._process.stdin)
            pipe.write(json.dumps(value) + "\n")
            pipe.flush()

    def _receive(self, key: str, what: str, samples: int = 0) -> Any:
        for line in _pipe(self._process.stdout):
            message = json.loads(line)
            if key in message:
                return message[key]
            if "error" in message:
                raise RunError(f"vLLM {what}: {message['error']}; its log is {self._keep_log()}")
            self._progress = EngineProgress(samples * message["done"], message["rate"])
        code = self._process.wait()
        raise RunError(f"vLLM {what}: its process ended with code {code}; its log is {self._keep_log()}")

    def _keep_log(self) -> Path:
        kept = self._log.with_suffix(".failed.log")
        with contextlib.suppress(FileNotFoundError):
            self._log.rename(kept)
        return kept


_running: set[VllmEngine] = set()


def stop_engines() -> None:
    """Stop every engine of this process: Beam keeps a model alive after its pipeline has ended."""
    for engine in list(_running):
        engine.stop()


def engine_progress() -> EngineProgress:
    """Return how far all engines of this process are with their present batches."""
    each = [engine.progress for engine in list(_running)]
    return EngineProgress(sum(one.samples for one in each), sum(one.tokens_per_second for one in each))


def _launch(log: Path, settings: VllmSettings) -> subprocess.Popen[str]:
    with open(log, "wb") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "transforms.vllm_engine"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
            env=_environment(settings),
            start_new_session=True,  # a group of its own, so that it can be ended with everything it started
        )


def _environment(settings: VllmSettings) -> dict[str, str]:
    """Return the environment of the engine's process; what the user has set stays."""
    package_root = str(Path(__file__).resolve().parents[1])
    ours = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_WAIT_POLICY": "passive",  # threads that spin between two operations starve each other on a busy machine
        "KMP_BLOCKTIME": "1",
    }
    environment = {**ours, **os.environ, "VLLM_CPU_KVCACHE_SPACE": str(settings.cpu_kv_cache_gib)}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
    library = _intel_openmp()
    if library is not None and "omp" not in os.environ.get("LD_PRELOAD", ""):
        environment["LD_PRELOAD"] = " ".join(filter(None, [library, os.environ.get("LD_PRELOAD")]))
    return environment


def _intel_openmp() -> str | None:
    """Return the path of Intel's OpenMP library, which the CPU build for x86 brings along; None elsewhere."""
    try:
        importlib.metadata.version("vllm-cpu")
        files = importlib.metadata.files("intel-openmp") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = [Path(str(file.locate())).resolve() for file in files if file.name == "libiomp5.so"]
    return next((str(file) for file in found if file.is_file()), None)


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # both pipes are asked for
    return stream


def _serve() -> None:
    """Be the engine's process: read settings and batches from standard input, one JSON value a line, and answer each."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever vLLM prints goes to the log

    def answer(**message: object) -> None:
        answers.write(json.dumps(message) + "\n")

    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    try:
        settings = VllmSettings(**json.loads(lines.get()))
        llm = _load(settings)
        answer(ready=_about())
        _count_steps(llm, settings.max_new_tokens, lambda done, rate: answer(done=done, rate=rate))
        while line := lines.get():
            for what, value in json.loads(line).items():
                answer(answers=_generate(llm, settings, value) if what == "generate" else _score(llm, *value))
        llm.llm_engine.engine_core.shutdown()
    except Exception as error:  # noqa: BLE001  # whatever it is, the other side must hear of it
        traceback.print_exc()
        with contextlib.suppress(OSError):
            answer(error=" ".join(f"{type(error).__name__}: {error}".split())[:_ERROR_CHARS])
    sys.stderr.flush()
    os._exit(0)  # the interpreter's own way out would wait for vLLM's threads


def _read(lines: queue.Queue[str]) -> None:
    """Pass lines on; at the end of the input give the engine a moment, then end it and everything it started."""
    for line in sys.stdin:
        lines.put(line)
    lines.put("")
    time.sleep(_END_SECONDS)
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


def _count_steps(llm: Any, max_new_tokens: int, tell: Callable[[float, float], None]) -> None:
    """Tell, about once a second, how much of the present batch is done, from 0 to 1, and its tokens per second.

    A step adds a token to each open sample. A prompt that is scored takes one token, so of those each is done or not, and no tokens are told.
    """
    engine, step = llm.llm_engine, llm.llm_engine.step
    steps, tokens, asked, begun, told = 0, 0, 0, 0.0, 0.0

    def counted_step() -> Any:
        nonlocal steps, tokens, asked, begun, told
        if steps == 0:
            tokens, asked, begun = 0, engine.get_num_unfinished_requests(), time.monotonic()
        steps, tokens = steps + 1, tokens + engine.get_num_unfinished_requests()
        outputs = step()
        now = time.monotonic()
        if now - told > _TELL_SECONDS:
            told = now
            if max_new_tokens == 1:
                tell(1.0 - engine.get_num_unfinished_requests() / asked, 0.0)
            else:
                tell(min(1.0, steps / max_new_tokens), tokens / (now - begun))
        if not engine.has_unfinished_requests():
            steps = 0
        return outputs

    engine.step = counted_step


def _generate(llm: Any, settings: VllmSettings, seeds: list[int]) -> list[tuple[str, int, str]]:
    """Return (text, tokens, finish reason) per seed."""
    from vllm import SamplingParams
    from vllm.inputs import TokensPrompt

    prompts = [TokensPrompt(prompt_token_ids=list(settings.prompt_token_ids)) for _ in seeds]
    params = [
        SamplingParams(
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=0,
            repetition_penalty=settings.repetition_penalty,
            max_tokens=settings.max_new_tokens,
            seed=seed,
            skip_special_tokens=True,
        )
        for seed in seeds
    ]
    outputs = [result.outputs[0] for result in llm.generate(prompts, params, use_tqdm=False)]
    return [(output.text, len(output.token_ids), str(output.finish_reason)) for output in outputs]


def _score(llm: Any, prompts: list[list[int]], token_ids: list[int]) -> list[list[float]]:
    """Return the log-probability of each token after each prompt.

    ``logprob_token_ids`` gives exactly these tokens (``logprobs=n`` would give the n most probable ones), and vLLM's default
    ``logprobs_mode``, raw, the numbers before ``allowed_token_ids`` and temperature.
    """
    from vllm import SamplingParams
    from vllm.inputs import TokensPrompt

    params = SamplingParams(
        temperature=0.0, max_tokens=1, allowed_token_ids=token_ids, logprob_token_ids=token_ids, detokenize=False
    )
    llm.reset_prefix_cache()  # within a batch prompts share their beginning; between batches it would leave traces in the last digits
    outputs = llm.generate([TokensPrompt(prompt_token_ids=ids) for ids in prompts], params, use_tqdm=False)
    found = [output.outputs[0].logprobs[0] for output in outputs]
    return [[float(row[token_id].logprob) for token_id in token_ids] for row in found]


def _about() -> dict[str, Any]:
    import vllm
    from vllm.platforms import current_platform

    device = "cpu" if current_platform.is_cpu() else current_platform.get_device_name()
    return {"engine": f"vllm {vllm.__version__}", "torch": importlib.metadata.version("torch"), "device": device}


if __name__ == "__main__":
    _serve()
