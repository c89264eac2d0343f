"""The real vLLM in its process, with a tiny model; what happens without vLLM, with a bad model, and when the parent is killed."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import RunError
from transforms import vllm_engine
from transforms.generate import Sample
from transforms.vllm_engine import VllmEngine, VllmSettings, stop_engines

_PARENT = """
import json, sys
from transforms.vllm_engine import VllmEngine, VllmSettings
from transforms.generate import Sample
engine = VllmEngine(VllmSettings(**json.loads(sys.argv[1])))
print(engine._process.pid, flush=True)
engine.generate([Sample(index, index) for index in range(64)])
"""


def _values(folder: Path, max_new_tokens: int = 12) -> dict[str, object]:
    return {
        "model": str(folder),
        "trust_remote_code": False,
        "dtype": "float32",
        "max_model_len": max_new_tokens + 8,
        "max_num_seqs": 8,
        "gpu_memory_utilization": 0.3,
        "cpu_kv_cache_gib": 1,
        "tensor_parallel_size": 1,
        "enforce_eager": True,
        "prompt_token_ids": (1,),
        "temperature": 1.0,
        "top_p": 1.0,
        "repetition_penalty": 1.0,
        "max_new_tokens": max_new_tokens,
    }


@pytest.fixture
def needs_vllm() -> Iterator[None]:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    yield
    stop_engines()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_without_vllm_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_engine.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"versatune\[gpu\].*versatune\[cpu\]"):
        VllmEngine(VllmSettings(**_values(tmp_path)))  # type: ignore[arg-type]


@pytest.mark.usefixtures("needs_vllm")
def test_a_seed_decides_a_text_and_the_process_ends_on_request(
    tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = VllmEngine(VllmSettings(**_values(tiny_model)))  # type: ignore[arg-type]
    samples = [Sample(index, 1000 + index) for index in range(16)]
    first, again = engine.generate(samples), engine.generate(samples)
    assert [one.text for one in first] == [one.text for one in again]
    assert len({one.text for one in first}) == 16
    assert [(one.index, one.seed) for one in first] == [(sample.index, sample.seed) for sample in samples]
    assert {one.finish_reason for one in first} <= {"stop", "length"}
    assert all(one.num_tokens == 12 for one in first if one.finish_reason == "length")
    assert engine.about["engine"].startswith("vllm ")
    prompts = [[1, 40, 50, 60], [1, 7]]
    rows = [engine.score(prompts, range(start, start + 128)) for start in range(0, 512, 128)]
    for at in range(2):  # every token of the vocabulary has its number, however improbable
        assert sum(math.exp(value) for part in rows for value in part[at]) == pytest.approx(1.0, abs=1e-5)
    assert engine.score(prompts, range(128)) == rows[0]
    pid, log = engine._process.pid, engine._log
    engine.stop()
    engine.stop()
    assert not _alive(pid)
    assert not log.exists()
    assert capfd.readouterr().out == ""


@pytest.mark.usefixtures("needs_vllm")
def test_a_model_that_cannot_be_loaded_is_one_message_and_a_log(tiny_model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text('{"architectures": ["NoSuchModel"], "model_type": "llama"}')
    with pytest.raises(RunError, match=r"vLLM did not start: .*its log is (\S+)") as caught:
        VllmEngine(VllmSettings(**_values(broken)))  # type: ignore[arg-type]
    log = Path(str(caught.value).rpartition(" ")[2])
    assert "Traceback" in log.read_text()
    log.unlink()


@pytest.mark.usefixtures("needs_vllm")
def test_a_killed_parent_leaves_no_engine_behind(tiny_model: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, json.dumps(_values(tiny_model, max_new_tokens=480))],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert _alive(pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 20
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not _alive(pid)
