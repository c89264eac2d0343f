"""The engine: what it makes of a process that is slow, broken or killed (a stand-in that speaks its language), and the real vLLM with a tiny model."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from versatune.schemas.errors import DataError, RunError
from versatune.transforms.engines import vllm_engine
from versatune.transforms.engines.engine import Failure, Generation, Outcome, Sample
from versatune.transforms.engines.vllm_engine import VllmEngine, VllmSettings, engine_progress, stop_engines

_PARENT = """
import json, sys
from versatune.transforms.engines.vllm_engine import VllmEngine, VllmSettings
from versatune.transforms.engines.engine import Sample
engine = VllmEngine(VllmSettings(**json.loads(sys.argv[1])))
print(engine._process._popen.pid, flush=True)
list(engine.generate([Sample(index, index) for index in range(64)]))
"""

# Generates two samples a message. DEADLY seeds kill it, each once if there is a file to remember that in.
_STAND_IN = """
import json, os, sys, pathlib, select, signal
memory, ready = pathlib.Path(sys.argv[1]), sys.argv[2]
settings = json.loads(sys.stdin.readline())
print("a start-up file has something to say", flush=True)
print(ready, flush=True)
if "ready" not in json.loads(ready):
    sys.exit()
for line in iter(sys.stdin.readline, ""):
    request = json.loads(line)
    seeds, number = request.get("generate", []), request.get("number")
    for at in range(0, len(seeds), 2):
        pair = seeds[at : at + 2]
        for seed in pair:
            mark = memory / str(seed)
            if seed >= 100 and not mark.exists():
                if seed < 1000:
                    mark.touch()
                sys.stdout.write('{"number": 1, "rows": [[0, "cut o')
                sys.stdout.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            if seed == 13:
                print(json.dumps({"error": "ValueError: no"}), flush=True)
                sys.exit()
        if select.select([sys.stdin], [], [], 0.02)[0]:
            break
        rows = [[at + i, f"text {seed}", 3, "abort" if seed == 66 else "length"] for i, seed in enumerate(pair)]
        last = at + 2 >= len(seeds)
        print(json.dumps({"number": number, "rows": rows, "open": 0.0 if last else 0.5, "rate": 7.0, "end": last}), flush=True)
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


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., VllmEngine]]:
    """Return what starts an engine with a process that only speaks vLLM's language."""

    def start(ready: object = {"ready": {"engine": "stand-in"}}) -> VllmEngine:
        def launch(log: Path, settings: VllmSettings) -> subprocess.Popen[str]:
            command = [sys.executable, "-c", _STAND_IN, str(tmp_path), json.dumps(ready)]
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )

        monkeypatch.setattr(vllm_engine, "_launch", launch)
        monkeypatch.setattr(vllm_engine.importlib.util, "find_spec", lambda name: True)
        return VllmEngine(VllmSettings(**_values(tmp_path)))  # type: ignore[arg-type]

    yield start
    stop_engines()


def _samples(*seeds: int) -> list[Sample]:
    return [Sample(index, seed) for index, seed in enumerate(seeds)]


def _all(engine: VllmEngine, samples: list[Sample]) -> list[Outcome]:
    return sorted((one for part in engine.generate(samples) for one in part), key=lambda one: one.index)


def _texts(engine: VllmEngine, samples: list[Sample]) -> list[str]:
    return [one.text for one in _all(engine, samples) if isinstance(one, Generation)]


def test_finished_samples_come_before_the_batch_has_ended(stand_in: Callable[..., VllmEngine]) -> None:
    parts = list(stand_in().generate(_samples(*range(5))))
    assert [len(part) for part in parts] == [2, 2, 1]
    assert parts[0][1] == Generation(1, 1, "text 1", 3, "length")


def test_progress_counts_no_sample_that_has_been_handed_over(stand_in: Callable[..., VllmEngine]) -> None:
    engine = stand_in()
    parts = engine.generate(_samples(*range(4)))
    next(parts)
    while engine._process.received < 4:  # the process does not wait for who reads it
        time.sleep(0.01)
    assert engine_progress() == (2.0, 7.0)
    next(parts)
    assert engine_progress().samples == 0.0
    list(parts)


def test_a_sample_that_the_engine_gives_up_is_a_failure(stand_in: Callable[..., VllmEngine]) -> None:
    outcomes = _all(stand_in(), _samples(1, 66, 2))
    assert [type(one) for one in outcomes] == [Generation, Failure, Generation]
    assert outcomes[1] == Failure(1, 66, "engine_abort", "vLLM ended the sample with 'abort'")


def test_who_stops_iterating_gets_nothing_of_it_in_the_next_batch(stand_in: Callable[..., VllmEngine]) -> None:
    engine = stand_in()
    begun = engine.generate(_samples(*range(90)))
    next(begun)
    begun.close()
    assert engine_progress().samples == 0.0
    assert _texts(engine, _samples(7, 8, 9)) == ["text 7", "text 8", "text 9"]
    assert "restarts" not in engine.about


def test_threads_share_an_engine_one_batch_after_the_other(stand_in: Callable[..., VllmEngine]) -> None:
    engine, found = stand_in(), {}

    def work(name: int) -> None:
        found[name] = _texts(engine, _samples(*range(name, name + 9)))

    threads = [threading.Thread(target=work, args=(name,)) for name in (20, 40, 60 + 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {name: [f"text {name + i}" for i in range(9)] for name in (20, 40, 70)}


def test_a_process_that_is_killed_is_replaced_and_goes_on_with_the_rest(stand_in: Callable[..., VllmEngine]) -> None:
    engine = stand_in()
    seeds = [1, 2, 3, 4, 100, 5, 6]
    assert _texts(engine, _samples(*seeds)) == [f"text {seed}" for seed in seeds]
    assert engine.about["restarts"] == 1


def test_a_second_death_in_a_batch_ends_it_and_says_what_to_do(stand_in: Callable[..., VllmEngine]) -> None:
    engine = stand_in()
    with pytest.raises(
        RunError, match=r"failed twice: .*signal 9.*3 of 5 samples were left; its log is (\S+); .*max_num_seqs"
    ) as caught:
        _all(engine, _samples(1, 2, 1000, 4, 5))
    Path(str(caught.value).split("its log is ")[1].split(";")[0]).unlink()
    assert _texts(engine, _samples(5)) == ["text 5"]  # a later call, such as a runner's retry, finds it working


def test_an_engine_that_died_between_two_batches_is_started_again(stand_in: Callable[..., VllmEngine]) -> None:
    engine = stand_in()
    engine._process._popen.kill()
    engine._process._popen.wait()
    assert _texts(engine, _samples(5, 100)) == ["text 5", "text 100"]
    assert engine.about["restarts"] == 2


def test_an_error_is_reported_and_not_repeated(stand_in: Callable[..., VllmEngine]) -> None:
    engine = stand_in()
    with pytest.raises(RunError, match=r"vLLM failed: ValueError: no; its log is (\S+)") as caught:
        _all(engine, _samples(1, 2, 13))
    Path(str(caught.value).rpartition(" ")[2]).unlink()
    assert "restarts" not in engine.about


def test_a_stopped_engine_ends_a_batch_and_stays_stopped(stand_in: Callable[..., VllmEngine]) -> None:
    engine = stand_in()
    parts = engine.generate(_samples(*range(90)))
    next(parts)
    engine.stop()
    with pytest.raises(RunError, match="was stopped"):
        list(parts)
    with pytest.raises(RunError, match="was stopped"):
        _all(engine, _samples(1))
    assert "restarts" not in engine.about


def test_what_the_process_refuses_is_said_in_its_own_words(stand_in: Callable[..., VllmEngine]) -> None:
    with pytest.raises(DataError, match=r"^too big$"):
        stand_in({"refused": ["DataError", "too big"]})
    assert engine_progress() == (0, 0)


@pytest.mark.usefixtures("needs_vllm")
def test_a_seed_decides_a_text_and_the_process_ends_on_request(
    tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = VllmEngine(VllmSettings(**_values(tiny_model)))  # type: ignore[arg-type]
    samples = [Sample(index, 1000 + index) for index in range(16)]
    first = _all(engine, samples)
    assert first == _all(engine, samples)
    assert [first[5]] == _all(engine, samples[5:6])  # in whatever company
    assert len({one.text for one in first}) == 16
    assert [(one.index, one.seed) for one in first] == [(sample.index, sample.seed) for sample in samples]
    assert {one.finish_reason for one in first} <= {"stop", "length"}
    assert all(one.num_tokens == 12 for one in first if one.finish_reason == "length")
    assert engine.about["engine"].startswith("vllm ")
    assert engine.about["warm_up_seconds"] > 0
    assert engine_progress().samples == 0.0
    prompts = [[1, 40, 50, 60], [1, 7]]
    rows = [engine.score(prompts, range(start, start + 128)) for start in range(0, 512, 128)]
    for at in range(2):  # every token of the vocabulary has its number, however improbable
        assert sum(math.exp(value) for part in rows for value in part[at]) == pytest.approx(1.0, abs=1e-5)
    assert engine.score(prompts, range(128)) == rows[0]
    pid, log = engine._process._popen.pid, engine._log
    engine.stop()
    engine.stop()
    assert not _alive(pid)
    assert not log.exists()
    assert capfd.readouterr().out == ""


@pytest.mark.slow
@pytest.mark.usefixtures("needs_vllm")
def test_a_killed_or_neglected_vllm_gives_what_an_undisturbed_one_gives(tiny_model: Path) -> None:
    engine = VllmEngine(VllmSettings(**_values(tiny_model, max_new_tokens=400)))  # type: ignore[arg-type]
    samples = [Sample(index, 1000 + index) for index in range(40)]
    undisturbed = _all(engine, samples)
    begun = engine.generate(samples)
    next(begun)
    begun.close()
    assert _all(engine, samples) == undisturbed
    assert "restarts" not in engine.about
    found: list[Outcome] = []
    for part in engine.generate(samples):
        if not found:
            os.kill(engine._process._popen.pid, signal.SIGKILL)
        found += part
    assert engine.about["restarts"] == 1
    assert sorted(found, key=lambda one: one.index) == undisturbed


@pytest.mark.usefixtures("needs_vllm")
def test_an_engine_that_cannot_fit_is_refused_before_it_is_loaded(tiny_model: Path) -> None:
    with pytest.raises(RunError, match=r"^the engine needs 4,096\.\d GiB .* cache 4,096\.0 GiB \(cpu_kv_cache_gib\)"):
        VllmEngine(VllmSettings(**{**_values(tiny_model), "cpu_kv_cache_gib": 4096}))  # type: ignore[arg-type]


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
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])},
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
