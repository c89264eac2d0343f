"""The probe: what it refuses, what it reports, what it keeps; once with the real vLLM."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.probe import ProbePlan, estimates, run, run_with
from schemas.arrow import generation_schema
from schemas.config import ClassifierConfig, Config, load_config
from schemas.errors import ConfigError, DataError, RunError
from schemas.pointer import read_pointer
from schemas.probe import ProbeReport
from schemas.progress import Silence
from transforms.fasttext_classifier import bundled_model
from transforms.generate import Engine, Generation, sample_seed
from transforms.generation_store import read_store

_SUBJECTS = (
    "The court held that the contract was void and the tenant owed damages.",
    "The patient was given antibiotics and the fever fell within two days.",
    "def add(left, right):\n    return left + right\n",
)

_SLOW_PROBE = """
import sys, time
from functools import partial
from pipelines.probe import run_with
from schemas.config import load_config
from schemas.progress import Silence
from transforms.generate import Generation

class SlowEngine:
    about = {"engine": "slow"}
    def generate(self, samples):
        time.sleep(0.5)
        return [Generation(s.index, s.seed, f"a text that is long enough {s.seed}", 7, "length") for s in samples]

run_with(load_config(sys.argv[1]), lambda plan: SlowEngine, progress=Silence())
"""


class FakeEngine:
    """Writes about a subject that the seed decides; of index 1 hardly anything."""

    about: ClassVar[dict[str, Any]] = {"engine": "fake", "start_seconds": 0.1}

    def generate(self, samples: Any) -> list[Generation]:
        return [
            Generation(s.index, s.seed, "short" if s.index == 1 else f"{_SUBJECTS[s.seed % 3]} {s.seed}", 9, "length")
            for s in samples
        ]


class BrokenEngine:
    about: ClassVar[dict[str, Any]] = {}

    def generate(self, samples: Any) -> list[Generation]:
        raise RunError("vLLM failed: out of memory; its log is /tmp/x.log")


def fake(plan: ProbePlan) -> Callable[[], Engine]:
    return FakeEngine


def forbidden(plan: ProbePlan) -> Callable[[], Engine]:
    pytest.fail("the engine is not needed")


def _config(tmp_path: Path, model: Path, **probe: Any) -> Config:
    file = tmp_path / "config.yaml"
    values = {"samples": 24, "max_new_tokens": 16, "batch_size": 8, **probe}
    file.write_text(json.dumps({"name": "toy", "output": "out", "model": {"path": str(model)}, "probe": values}))
    return load_config(file)


def _probe(config: Config, starter: Callable[[ProbePlan], Callable[[], Engine]] = fake) -> ProbeReport:
    return ProbeReport.load(run_with(config, starter, progress=Silence()))


def test_a_report_counts_every_sample_and_its_intervals_hold_the_estimates(tmp_path: Path, tiny_model: Path) -> None:
    report = _probe(_config(tmp_path, tiny_model))
    assert (report.samples, report.counted, report.rejected) == (24, 23, {"too_short": 1})
    assert (report.prompt_token_id, report.prompt_token) == (1, "<|im_start|>")
    assert report.finish_reasons == {"length": 24}
    assert report.environment["generated"] == 24
    for estimate in report.estimates:
        assert sum(estimate.shares) == pytest.approx(1.0, abs=1e-6)
        assert (np.array(estimate.lower) <= estimate.shares).all()
        assert (np.array(estimate.shares) <= estimate.upper).all()
    path = read_pointer(tmp_path / "out/toy/probe/latest.json", what="probe report", command="versatune probe")
    assert path.parent.name == report.digest[:12]
    table = pq.read_table(path.parent / report.generations)
    assert table.schema.equals(generation_schema(6))
    assert table.column("index").to_pylist() == list(range(24))
    assert table.column("seed").to_pylist() == [sample_seed(0, index) for index in range(24)]
    assert table.filter(np.array(table.column("reject")) == "too_short").column("index").to_pylist() == [1]


def test_the_estimates_are_the_mean_and_the_counts_of_what_counted(tmp_path: Path, tiny_model: Path) -> None:
    report = _probe(_config(tmp_path, tiny_model))
    table = pq.read_table(tmp_path / "out/toy/probe" / report.digest[:12] / report.generations)
    rows = np.array(table.column("domain_probs").to_pylist())[np.array(table.column("reject")) == ""]
    soft, hard = report.estimates
    assert soft.shares == pytest.approx(rows.mean(axis=0))
    assert hard.shares == pytest.approx(np.bincount(rows.argmax(axis=1), minlength=6) / len(rows))


def test_the_classifiers_threshold_says_which_generations_are_undetermined(tmp_path: Path, tiny_model: Path) -> None:
    classifier = Path(shutil.copy(bundled_model(), tmp_path / "mine.ftz"))
    card = json.loads(bundled_model().with_suffix(".json").read_text())
    config = _config(tmp_path, tiny_model)
    for threshold in (0.0, 0.75, 1.0):
        classifier.with_suffix(".json").write_text(json.dumps(card | {"undetermined_below": threshold}))
        mine = config.model_copy(update={"classifier": ClassifierConfig(path=str(classifier))})
        report = _probe(mine)
        table = pq.read_table(tmp_path / "out/toy/probe" / report.digest[:12] / report.generations)
        rows = np.array(table.column("domain_probs").to_pylist())[np.array(table.column("reject")) == ""]
        assert report.undetermined_below == threshold
        assert report.undetermined == (rows.max(axis=1) < threshold).sum()


def test_a_second_run_reuses_every_sample_and_reports_the_same(tmp_path: Path, tiny_model: Path) -> None:
    first = _probe(_config(tmp_path, tiny_model))
    second = _probe(_config(tmp_path, tiny_model), forbidden)
    assert second.digest == first.digest
    assert (second.environment["generated"], second.environment["reused"]) == (0, 24)


def test_a_larger_probe_generates_the_rest_and_a_smaller_one_nothing(tmp_path: Path, tiny_model: Path) -> None:
    _probe(_config(tmp_path, tiny_model))
    larger = _probe(_config(tmp_path, tiny_model, samples=40))
    assert (larger.samples, larger.environment["generated"], larger.environment["reused"]) == (40, 16, 24)
    smaller = _probe(_config(tmp_path, tiny_model, samples=10), forbidden)
    assert (smaller.samples, smaller.environment["reused"]) == (10, 10)


def test_other_sampling_does_not_reuse(tmp_path: Path, tiny_model: Path) -> None:
    _probe(_config(tmp_path, tiny_model))
    assert _probe(_config(tmp_path, tiny_model, temperature=0.9)).environment["reused"] == 0


def test_a_killed_probe_keeps_its_finished_batches_and_is_continued(tmp_path: Path, tiny_model: Path) -> None:
    config = _config(tmp_path, tiny_model, samples=48)
    generations = tmp_path / "out/toy/probe/generations"
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW_PROBE, str(tmp_path / "config.yaml")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    deadline = time.monotonic() + 120
    while len(list(generations.glob("*/part-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (store,) = generations.iterdir()
    kept = read_store(store).table.num_rows
    assert 16 <= kept < 48
    report = _probe(config)
    assert (report.environment["reused"], report.environment["generated"]) == (kept, 48 - kept)
    assert read_store(store).table.column("index").to_pylist() == list(range(48))
    assert sum(int(file.name.split("-")[2]) for file in store.glob("part-*")) == 48


def test_what_an_engine_says_when_it_fails_is_the_message(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(RunError, match=r"vLLM failed: out of memory; its log is /tmp/x\.log"):
        _probe(_config(tmp_path, tiny_model), lambda plan: BrokenEngine)
    assert not (tmp_path / "out/toy/probe/latest.json").exists()


def test_a_model_that_writes_nothing_is_a_failure_that_says_so(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(RunError, match=r"only 1 of 2 samples.*too_short"):
        _probe(_config(tmp_path, tiny_model, samples=2))


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        ({"samples": 1}, "probe.samples is 1"),
        ({"max_new_tokens": 512}, "set it to 511 or less"),
        ({"engine": {"max_model_len": 16}}, "max_model_len is 16"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    tmp_path: Path, tiny_model: Path, probe: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        _probe(_config(tmp_path, tiny_model, **probe), forbidden)


def test_a_probe_needs_a_model_and_a_local_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a base model"):
        run(Config(name="toy"), progress=Silence())
    with pytest.raises(ConfigError, match="local directory"):
        run(_config(tmp_path, tmp_path).model_copy(update={"output": "gs://bucket/out"}), progress=Silence())
    with pytest.raises(DataError, match="there is no folder"):
        run(_config(tmp_path, tmp_path / "absent"), progress=Silence())


@pytest.mark.parametrize(
    ("removed", "wanted", "expected"),
    [
        ([], "auto", 1),
        (["bos_token"], "auto", 2),
        ([], "eos", 2),
        (["bos_token"], "bos", None),
        (["bos_token", "eos_token"], "auto", None),
    ],
)
def test_a_sample_starts_from_bos_else_eos_or_the_one_asked_for(
    tmp_path: Path, tiny_model: Path, removed: list[str], wanted: str, expected: int | None
) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (model / name).exists():
            values = json.loads((model / name).read_text())
            (model / name).write_text(json.dumps({key: value for key, value in values.items() if key not in removed}))
    config = _config(tmp_path, model, prompt_token=wanted, samples=4)
    if expected is None:
        with pytest.raises(DataError, match="its tokenizer defines n"):
            _probe(config, forbidden)
    else:
        assert _probe(config).prompt_token_id == expected


def test_a_sample_may_start_from_any_token_of_the_vocabulary(tmp_path: Path, tiny_model: Path) -> None:
    report = _probe(_config(tmp_path, tiny_model, prompt_token="<|endoftext|>", samples=4))
    assert (report.prompt_token_id, report.prompt_token) == (0, "<|endoftext|>")
    with pytest.raises(
        ConfigError, match=r"prompt_token is '<\|endoftxt\|>', which the tokenizer .* has not; did you mean"
    ):
        _probe(_config(tmp_path, tiny_model, prompt_token="<|endoftxt|>", samples=4), forbidden)


def test_only_one_probe_writes_to_a_directory(tmp_path: Path, tiny_model: Path) -> None:
    config = _config(tmp_path, tiny_model)

    def second(plan: ProbePlan) -> Callable[[], Engine]:
        with pytest.raises(RunError, match="another probe"):
            _probe(config)
        return FakeEngine

    assert _probe(config, second).samples == 24


def test_hard_and_soft_estimates_of_certain_labels_agree() -> None:
    soft, hard = estimates(np.eye(3, dtype=np.float32)[[0, 0, 1, 2]], alpha=0.05)
    assert soft.shares == hard.shares == [0.5, 0.25, 0.25]


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
def test_the_real_engine_samples_keeps_and_extends(
    tmp_path: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings: dict[str, Any] = {"batch_size": 16, "engine": {"cpu_kv_cache_gib": 1, "gpu_memory_utilization": 0.3}}
    probe = partial(_config, tmp_path, tiny_model, **settings)
    first = ProbeReport.load(run(probe(samples=32), progress=Silence()))
    table = pq.read_table(tmp_path / "out/toy/probe" / first.digest[:12] / first.generations)
    assert len(set(table.column("text").to_pylist())) == 32
    assert (first.environment["generated"], first.environment["reused"]) == (32, 0)
    assert first.environment["engine"][0].startswith("vllm ")
    assert first.environment["tokens"] == sum(table.column("num_tokens").to_pylist())
    second = ProbeReport.load(run(probe(samples=32), progress=Silence()))
    assert (second.digest, second.environment["reused"], second.environment["generated"]) == (first.digest, 32, 0)
    larger = ProbeReport.load(run(probe(samples=48), progress=Silence()))
    assert (larger.environment["reused"], larger.environment["generated"]) == (32, 16)
    assert capfd.readouterr().out == ""
