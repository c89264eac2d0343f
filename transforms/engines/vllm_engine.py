"""The vLLM engine, which lives in a process of its own.

Why a process: the CPU build pins threads, replaces ``torch.set_num_threads`` and keeps half a gigabyte after it is
deleted, and a GPU stays partly taken, all of which a training stage after the probe would inherit; its messages go to
standard output, which is ours; and its OpenMP library is chosen when a process starts (Intel's copes better with a
busy machine than torch's). And when the system kills it for lack of memory, we are still there to start another.
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
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any, NamedTuple

from versatune.models.files import check_model_digest
from versatune.schemas import errors
from versatune.schemas.errors import RunError, VersatuneError
from versatune.transforms.engines.engine import Failure, Generation, Outcome, Sample
from versatune.transforms.engines.vllm_process import END_SECONDS, VllmSettings
from versatune.transforms.transport.model_fetch import fetch_model
from versatune.transforms.transport.python_path import first_lines
from versatune.transforms.transport.storage import is_local

__all__ = [
    "EngineProgress",
    "VllmEngine",
    "VllmSettings",
    "engine_environment",
    "engine_progress",
    "local_settings",
    "stop_engines",
]

_WHOLE = ("stop", "length")
_PROGRAM = "from versatune.transforms.engines.vllm_process import serve\nserve()\n"


class EngineProgress(NamedTuple):
    """How far engines are with what they are generating or scoring."""

    samples: float
    """About how many samples or prompts are done and not handed over yet: 100 half-done samples are 50."""
    tokens_per_second: float


class VllmEngine:
    """An engine that is ready.

    Several threads may use it; their requests are done one after the other.

    Attributes:
        about: engine, versions, device, seconds of the start, and how often it was started again; kept with every generation.
    """

    def __init__(self, settings: VllmSettings) -> None:
        """Start the process and wait until it has loaded the model and generated something.

        Raises:
            RunError: vLLM is not installed, the model does not fit into memory, or the engine does not start; then the message names its log.
            DataError, IntegrityError: the model is not where it should be, or another one.
        """
        if importlib.util.find_spec("vllm") is None:
            raise RunError(
                "vLLM is not installed; install versatune[gpu] on a machine with a GPU, versatune[cpu] on any other"
            )
        self.about: dict[str, Any] = {}
        self._settings = local_settings(settings)
        descriptor, log = tempfile.mkstemp(prefix="versatune-vllm-", suffix=".log")
        os.close(descriptor)
        self._log = Path(log)
        self._one_request = threading.Lock()
        self._stopped = threading.Event()
        self._requests = 0
        self._process = _Process(self._settings, self._log)
        _running.add(self)
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    @property
    def progress(self) -> EngineProgress:
        """How far the batch is that is being generated."""
        process = self._process
        return EngineProgress(max(0.0, process.received - process.delivered + process.open), process.rate)

    def generate(self, samples: Sequence[Sample]) -> Iterator[list[Outcome]]:
        """Generate one text per sample, all at once; yield those that are finished, twice a second at most.

        A sample's own seed decides its text. A process that dies is replaced once, and goes on with what has not been yielded. Who stops
        iterating makes the engine drop the rest.

        Raises:
            RunError: the engine failed, or died twice; the message names its log.
        """
        with contextlib.closing(self._rows({}, "generate", [sample.seed for sample in samples])) as found:
            for rows in found:
                yield [_outcome(samples[position], *row) for position, *row in rows]

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
            RunError: the engine failed, or died twice; the message names its log.
        """
        with_tokens = {"token_ids": list(token_ids)}
        found = [row for rows in self._rows(with_tokens, "score", [list(prompt) for prompt in prompts]) for row in rows]
        return [scores for _, scores in sorted(found)]

    def stop(self) -> None:
        """End the process and free its memory; a second call does nothing."""
        _running.discard(self)
        self._stopped.set()
        self._process.end()
        self._log.unlink(missing_ok=True)

    def _rows(self, request: dict[str, Any], what: str, items: Sequence[Any]) -> Generator[list[list[Any]]]:
        """Have a list of items worked on; yield rows that begin with the item's position, each item's once."""
        with self._one_request:
            if not self._process.alive:
                self._restart()
            left, died = dict(enumerate(items)), False
            while left:
                positions = list(left)
                try:
                    with contextlib.closing(self._ask({**request, what: list(left.values())})) as answers:
                        for rows in answers:
                            placed = [[positions[row[0]], *row[1:]] for row in rows]
                            for row in placed:
                                del left[row[0]]
                            yield placed
                except _ProcessDiedError as death:
                    if died:
                        raise self._failed(
                            "failed twice",
                            f"{death}, {len(left)} of {len(items)} samples were left",
                            "; if memory is short lower max_num_seqs or cpu_kv_cache_gib of the engine, then run it again",
                        ) from None
                    died = True
                    self._restart()

    def _ask(self, request: dict[str, Any]) -> Generator[list[list[Any]]]:
        """Send one request to the process; yield the rows of its answers."""
        process, self._requests = self._process, self._requests + 1
        process.begin(self._requests)
        process.send({"number": self._requests, **request})
        ended = False
        try:
            while not ended:
                message = self._next(process, "failed")
                if message["number"] != self._requests:
                    continue  # an answer to a request that was given up
                ended = message.get("end", False)
                if message["rows"]:
                    process.delivered += len(message["rows"])
                    yield message["rows"]
        finally:
            if not ended:
                process.begin(None)
                process.send({})  # anything makes it drop what it is doing

    def _wait_until_ready(self) -> None:
        started = time.monotonic()
        try:
            ready = self._next(self._process, "did not start")["ready"]
        except _ProcessDiedError as death:
            raise self._failed("did not start", str(death)) from None
        self.about.update(ready, start_seconds=round(time.monotonic() - started, 1))

    def _restart(self) -> None:
        if not self._stopped.is_set():
            self._process.end()
            self.about["restarts"] = self.about.get("restarts", 0) + 1
            self._process = _Process(self._settings, self._log)
            self._wait_until_ready()
        if self._stopped.is_set():  # before, or while it was starting
            self._process.end()
            raise RunError("vLLM was stopped")

    def _next(self, process: _Process, what: str) -> dict[str, Any]:
        message = process.next()
        if "refused" in message:
            name, text = message["refused"]
            raise getattr(errors, name, VersatuneError)(text)
        if "error" in message:
            raise self._failed(what, message["error"])
        return message

    def _failed(self, what: str, why: str, advice: str = "") -> RunError:
        kept = self._log.with_suffix(".failed.log")
        with contextlib.suppress(FileNotFoundError):
            self._log.rename(kept)
        return RunError(f"vLLM {what}: {why}; its log is {kept}{advice}")


def local_settings(settings: VllmSettings) -> VllmSettings:
    """Return the settings with a model folder of this machine; a model on an object store is fetched and checked.

    Raises:
        DataError: there is no such model.
        IntegrityError: it is not the one that was planned.
    """
    if is_local(settings.model):
        return settings
    folder = fetch_model(settings.model)
    if settings.model_digest:
        check_model_digest(folder, settings.model_digest, settings.model)
    return replace(settings, model=str(folder))


_running: set[VllmEngine] = set()


def stop_engines() -> None:
    """Stop every engine of this process: Beam keeps a model alive after its pipeline has ended."""
    for engine in list(_running):
        engine.stop()


def engine_progress() -> EngineProgress:
    """Return how far all engines of this process are with their present batches."""
    each = [engine.progress for engine in list(_running)]
    return EngineProgress(sum(one.samples for one in each), sum(one.tokens_per_second for one in each))


def _outcome(sample: Sample, text: str, num_tokens: int, finish_reason: str) -> Outcome:
    if finish_reason in _WHOLE:
        return Generation(sample.index, sample.seed, text, num_tokens, finish_reason)
    return Failure(
        sample.index, sample.seed, f"engine_{finish_reason}", f"vLLM ended the sample with '{finish_reason}'"
    )


class _ProcessDiedError(Exception):
    """The process ended without a word."""


class _Process:
    """One process with vLLM in it, and what it has said.

    Attributes:
        received: rows of the present request.
        delivered: those of them that were passed on.
        open: what the unfinished part of it is worth, in samples.
        rate: its tokens per second.
    """

    def __init__(self, settings: VllmSettings, log: Path) -> None:
        self.rate = 0.0
        self.begin(None)
        self._popen = _launch(log, settings)
        self._messages: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        # It never waits for us: a slow reader would hold up the engine as soon as the pipe is full.
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self.send(asdict(settings))

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def begin(self, number: int | None) -> None:
        """Count what belongs to this request."""
        self.number, self.received, self.delivered, self.open = number, 0, 0, 0.0

    def send(self, value: object) -> None:
        with contextlib.suppress(OSError, ValueError):  # it has died or was ended: next() says so
            pipe = _pipe(self._popen.stdin)
            pipe.write(json.dumps(value) + "\n")
            pipe.flush()

    def next(self) -> dict[str, Any]:
        """Return its next message."""
        message = self._messages.get()
        if message is not None:
            return message
        self._messages.put(None)  # it stays dead
        code = self._popen.wait()
        if code == -signal.SIGKILL:
            raise _ProcessDiedError("its process was killed (signal 9), which the system does when memory runs out")
        raise _ProcessDiedError(f"its process ended with code {code}")

    def end(self) -> None:
        """End it and all that it started."""
        with contextlib.suppress(OSError):
            _pipe(self._popen.stdin).close()
        try:
            self._popen.wait(2 * END_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()
        self._listener.join(END_SECONDS)

    def _listen(self) -> None:
        with _pipe(self._popen.stdout) as lines:
            for line in lines:
                if not line.endswith("\n"):
                    break  # killed while it wrote
                try:
                    message = json.loads(line)
                except ValueError:
                    continue  # what Python's start-up files print: whoever waits must not wait for ever
                if "rows" in message and message["number"] == self.number:
                    self.received += len(message["rows"])
                    self.open, self.rate = message["open"], message["rate"]
                self._messages.put(message)
        self.open = self.rate = 0.0
        self._messages.put(None)


def _launch(log: Path, settings: VllmSettings) -> subprocess.Popen[str]:
    with open(log, "ab") as stream:
        return subprocess.Popen(
            [sys.executable, "-c", first_lines() + _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
            env=engine_environment(settings.cpu_kv_cache_gib),
            start_new_session=True,  # a group of its own, so that it can be ended with everything it started
        )


def engine_environment(cpu_kv_cache_gib: int) -> dict[str, str]:
    """Return the environment of the engine's process; what the user has set stays.

    Args:
        cpu_kv_cache_gib: key-value cache of the CPU engine, GiB; it has no other place.
    """
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
    environment = {**ours, **os.environ, "VLLM_CPU_KVCACHE_SPACE": str(cpu_kv_cache_gib)}
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
