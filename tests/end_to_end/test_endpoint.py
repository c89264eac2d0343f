"""A real vLLM server on this machine that is killed while it generates, and comes back."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from versatune.transforms.engines.endpoint_engine import EndpointEngine, EndpointEnginePlan
from versatune.transforms.engines.engine import Generation, Outcome, Sample
from versatune.transforms.engines.vllm_engine import engine_environment
from versatune.transforms.probing.generate import sample_seed

_SAMPLES = [Sample(index, sample_seed(11, index)) for index in range(64)]
_BEFORE_THE_KILL = 16
_START_SECONDS = 300.0


class VllmServer:
    """``vllm serve`` in a process group of its own: its engine's process would outlive it."""

    def __init__(self, folder: Path, log: Path) -> None:
        with contextlib.closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/v1"
        self._folder = folder
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return at once."""
        given = {"model": self._folder, "served-model-name": "tiny", "host": "127.0.0.1", "port": self._port}
        limits = {"dtype": "float32", "max-model-len": 200, "max-num-seqs": 16, "gpu-memory-utilization": 0.3}
        arguments = [f"--{name}={value}" for name, value in {**given, **limits}.items()]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager", *arguments],
                env=engine_environment(cpu_kv_cache_gib=1),
                start_new_session=True,
                stdout=log,
                stderr=log,
            )

    def wait(self) -> None:
        """Wait until it answers."""
        ends = time.monotonic() + _START_SECONDS
        while time.monotonic() < ends:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.url}/models", timeout=10).close()
                return
            assert self._process is not None
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            time.sleep(0.2)
        raise AssertionError(self._log.read_text()[-2000:])

    def kill(self) -> None:
        """End it and everything it started, without a word."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@pytest.fixture
def vllm_server(tiny_model: Path, tmp_path: Path) -> Iterator[VllmServer]:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    pytest.importorskip("openai")
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    # What vLLM would take for whatever a request leaves open: the most probable token, always.
    (folder / "generation_config.json").write_text(json.dumps({"top_k": 1, "eos_token_id": 2}))
    server = VllmServer(folder, tmp_path / "server.log")
    try:
        yield server
    finally:
        server.kill()


@pytest.mark.slow
def test_a_server_that_is_killed_and_comes_back_gives_every_text_once_and_the_same_ones(
    vllm_server: VllmServer,
) -> None:
    vllm_server.start()
    vllm_server.wait()
    engine = EndpointEngine(_plan(vllm_server))
    assert str(engine.about["engine"]).startswith("endpoint vllm ")
    disturbed: list[Outcome] = []
    killed_after = 0
    for outcomes in engine.generate(_SAMPLES):
        disturbed += outcomes
        if not killed_after and len(disturbed) >= _BEFORE_THE_KILL:
            killed_after = len(disturbed)
            vllm_server.kill()
            vllm_server.start()  # it takes its time; what was being generated is asked for again
    assert killed_after < len(_SAMPLES) - 8
    undisturbed = [one for outcomes in EndpointEngine(_plan(vllm_server)).generate(_SAMPLES) for one in outcomes]
    assert sorted(one.index for one in disturbed) == [sample.index for sample in _SAMPLES]
    assert all(isinstance(one, Generation) for one in disturbed)
    assert sorted(disturbed, key=lambda one: one.index) == sorted(undisturbed, key=lambda one: one.index)
    # Sampled from the model's own distribution, not the server's default one, in which all are equal.
    assert len({one.text for one in disturbed if isinstance(one, Generation)}) > len(_SAMPLES) // 2


def _plan(server: VllmServer) -> EndpointEnginePlan:
    return EndpointEnginePlan(
        url=server.url,
        model="tiny",
        prompt_token_id=1,
        temperature=1.0,
        top_p=1.0,
        repetition_penalty=1.0,
        max_new_tokens=160,
        concurrency=12,
        timeout_seconds=120.0,
        retries=0,  # a server that is away uses up none
        patience_seconds=_START_SECONDS,
    )
