"""The probe: what it refuses, what it reports, what it keeps; once with the real vLLM."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions
from apache_beam.portability.common_urns import resource_hints

from versatune.pipelines.probe import _options, graph, run, run_with
from versatune.pipelines.probe_plan import ProbePlan, plan_probe
from versatune.schemas.arrow import generation_schema
from versatune.schemas.config import (
    ClassifierConfig,
    Config,
    ModelConfig,
    ProbeConfig,
    ProbeEndpointConfig,
    load_config,
)
from versatune.schemas.errors import ConfigError, DataError, RunError
from versatune.schemas.pointer import read_pointer
from versatune.schemas.probe import ModelRecord, ProbeReport
from versatune.schemas.progress import Silence
from versatune.transforms.classifier.fasttext_classifier import bundled_model
from versatune.transforms.engines.engine import Engine, Failure, Generation, Outcome, Sample
from versatune.transforms.probing.generate import sample_seed
from versatune.transforms.probing.generation_store import read_store
from versatune.transforms.probing.look import newest_look, nothing_seen

_SUBJECTS = (
    "The court held that the contract was void and the tenant owed damages.",
    "The patient was given antibiotics and the fever fell within two days.",
    "def add(left, right):\n    return left + right\n",
)

_SLOW_PROBE = """
import sys, time
from versatune.pipelines.probe import run_with
from versatune.schemas.config import load_config
from versatune.schemas.progress import Silence
from versatune.transforms.probing import generate
from versatune.transforms.engines.engine import Generation

generate._PART_SAMPLES = 4

class SlowEngine:
    about = {"engine": "slow"}
    def generate(self, samples):
        for s in samples:
            time.sleep(0.05)
            yield [Generation(s.index, s.seed, f"a text that is long enough {s.seed}", 7, "length")]

run_with(load_config(sys.argv[1]), lambda plan: SlowEngine, progress=Silence())
"""


class FakeEngine:
    """Writes about a subject that the seed decides; of index 1 hardly anything."""

    about: ClassVar[dict[str, Any]] = {"engine": "fake", "start_seconds": 0.1}
    starts: ClassVar[list[int]] = []
    drawn: ClassVar[list[int]] = []

    def __init__(self) -> None:
        self.starts.append(1)

    def generate(self, samples: Sequence[Sample]) -> Iterator[list[Outcome]]:
        for s in reversed(samples):
            self.drawn.append(s.index)
            text = "short" if s.index == 1 else f"{_SUBJECTS[s.seed % 3]} {s.seed}"
            yield [Generation(s.index, s.seed, text, 9 + s.seed % 3, "length")]


class FailingEngine(FakeEngine):
    """An endpoint that cannot give every seventh sample."""

    def generate(self, samples: Sequence[Sample]) -> Iterator[list[Outcome]]:
        for (outcome,) in super().generate(samples):
            index, seed = outcome.index, outcome.seed
            yield [outcome if index % 7 else Failure(index, seed, "request_failed", "500")]


class _TextEngine(FakeEngine):
    """Writes what the slow engine of the killed probe writes."""

    def generate(self, samples: Sequence[Sample]) -> Iterator[list[Outcome]]:
        yield [Generation(s.index, s.seed, f"a text that is long enough {s.seed}", 7, "length") for s in samples]


class BrokenEngine:
    about: ClassVar[dict[str, Any]] = {}

    def generate(self, samples: Sequence[Sample]) -> Iterator[list[Outcome]]:
        raise RunError("vLLM failed: out of memory; its log is /tmp/x.log")


@pytest.fixture(autouse=True)
def _fresh_engine() -> None:
    FakeEngine.starts.clear()
    FakeEngine.drawn.clear()


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
    assert (report.prompt_token_id, report.prompt_token) == (0, "<|endoftext|>")
    assert report.finish_reasons == {"length": 24}
    assert report.environment["generated"] == 24
    assert report.environment["engines"] == [{"engine": "fake", "samples": 24, "reused": False}]
    assert {estimate.name for estimate in report.estimates} == {"soft", "hard", "corrected", "em"}
    assert report.chosen == "corrected"
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
    soft, hard = (next(e for e in report.estimates if e.name == name) for name in ("soft", "hard"))
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
    while len(list(generations.glob("*/part-*.parquet"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (store,) = generations.iterdir()
    kept = read_store(str(store)).table.num_rows
    assert 12 <= kept < 48
    report = _probe(config, lambda plan: _TextEngine)
    assert (report.environment["reused"], report.environment["generated"]) == (kept, 48 - kept)
    assert read_store(str(store)).table.column("index").to_pylist() == list(range(48))
    assert sum(int(file.name.split("-")[2]) for file in store.glob("part-*")) == 48
    other = tmp_path / "undisturbed"
    other.mkdir()
    undisturbed = _config(other, tiny_model, samples=48)
    assert _probe(undisturbed, lambda plan: _TextEngine).digest == report.digest


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
        ({"samples": 40_000, "samples_per_round": 10}, "4,000 rounds of 40,000 samples"),
        ({"max_new_tokens": 512}, "set it to 511 or less"),
        ({"engine": {"max_model_len": 16}}, "max_model_len is 16"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    tmp_path: Path, tiny_model: Path, probe: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        _probe(_config(tmp_path, tiny_model, **probe), forbidden)


def test_a_probe_needs_a_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a base model"):
        run(Config(name="toy"), progress=Silence())
    with pytest.raises(DataError, match="there is no folder"):
        run(_config(tmp_path, tmp_path / "absent"), progress=Silence())


@pytest.mark.parametrize(
    ("removed", "wanted", "expected"),
    [
        ([], "auto", 0),  # the chat template writes bos and eos at every turn
        (["chat_template"], "auto", 1),
        (["bos_token"], "auto", 0),
        (["bos_token", "chat_template"], "auto", 2),
        ([], "bos", 1),
        ([], "eos", 2),
        (["bos_token"], "bos", None),
        (["bos_token", "eos_token"], "auto", None),
    ],
)
def test_a_sample_starts_from_where_documents_begin_or_the_token_asked_for(
    tmp_path: Path, tiny_model: Path, removed: list[str], wanted: str, expected: int | None
) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    if "chat_template" in removed:
        (model / "chat_template.jinja").unlink()
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
    report = _probe(_config(tmp_path, tiny_model, prompt_token="<|im_start|>", samples=4))
    assert (report.prompt_token_id, report.prompt_token) == (1, "<|im_start|>")
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


def _rounds(tmp_path: Path, model: Path, **probe: Any) -> Config:
    values = {"samples": 60, "samples_per_round": 12, "min_rounds": 2, "half_width": 0.9, "max_change": 1.0}
    return _config(tmp_path, model, **{**values, **probe})


def test_a_probe_stops_after_the_first_look_that_is_precise_enough(tmp_path: Path, tiny_model: Path) -> None:
    report = _probe(_rounds(tmp_path, tiny_model))
    assert (report.samples, report.stopped_by, [look.stop for look in report.looks]) == (24, "precision", [False, True])
    assert report.rounds.max_rounds == 5
    assert sorted(FakeEngine.drawn) == list(range(24))
    assert report.looks[-1].shares == report.distribution
    assert report.looks[1].change == pytest.approx(
        np.abs(np.subtract(report.looks[1].shares, report.looks[0].shares)).max()
    )


def test_progress_begins_with_how_precise_the_estimate_is(tmp_path: Path, tiny_model: Path) -> None:
    notes = []

    class Listener(Silence):
        def advance_to(self, done: float, note: str = "") -> None:
            notes.append(note)

    run_with(_rounds(tmp_path, tiny_model), fake, progress=Listener())
    assert re.match(r"\+-0\.\d{3}, wanted 0\.900, after round \d of at most 5", notes[-1])


def test_one_engine_serves_all_rounds_of_a_probe_that_is_never_precise_enough(tmp_path: Path, tiny_model: Path) -> None:
    report = _probe(_rounds(tmp_path, tiny_model, half_width=0.0001, samples=54))
    assert (report.samples, report.stopped_by, len(report.looks)) == (54, "budget", 5)
    assert [look.samples for look in report.looks] == [12, 24, 36, 48, 54]
    assert len(FakeEngine.starts) == 1
    assert [index // 12 for index in FakeEngine.drawn] == sorted(index // 12 for index in FakeEngine.drawn)


def test_more_planned_looks_make_wider_intervals_and_none_make_the_narrowest(tmp_path: Path, tiny_model: Path) -> None:
    def width(**probe: Any) -> float:
        soft = _probe(_rounds(tmp_path, tiny_model, min_rounds=9, estimator="soft", **probe)).estimates[0]
        return sum(np.subtract(soft.upper, soft.lower))

    assert width(half_width=None) < width(samples_per_round=30) < width()


def test_a_narrower_target_goes_on_where_the_wider_one_stopped(tmp_path: Path, tiny_model: Path) -> None:
    _probe(_rounds(tmp_path, tiny_model))
    further = _probe(_rounds(tmp_path, tiny_model, min_rounds=3))
    assert (further.samples, further.environment["generated"], further.environment["reused"]) == (36, 12, 24)
    again = _probe(_rounds(tmp_path, tiny_model), forbidden)
    assert again.samples == 24


def test_samples_that_an_endpoint_fails_to_give_are_counted_and_asked_for_again(
    tmp_path: Path, tiny_model: Path
) -> None:
    config = _config(tmp_path, tiny_model)
    report = _probe(config, lambda plan: FailingEngine)
    assert (report.samples, report.counted) == (24, 19)
    table = pq.read_table(tmp_path / "out/toy/probe" / report.digest[:12] / report.generations)
    assert table.column("index").to_pylist() == list(range(24))
    assert [row["index"] for row in table.to_pylist() if row["reject"] == "request_failed"] == [0, 7, 14, 21]
    assert report.rejected == {"request_failed": 4, "too_short": 1}
    (hard,) = (estimate for estimate in report.estimates if estimate.name == "hard")
    assert report.unlabelled.lower == pytest.approx(np.multiply(hard.shares, 19 / 24))
    assert report.unlabelled.upper == pytest.approx(np.add(report.unlabelled.lower, 5 / 24))
    FakeEngine.drawn.clear()
    assert _probe(config).counted == 23
    assert sorted(FakeEngine.drawn) == [0, 7, 14, 21]


def _behind_endpoint(tmp_path: Path, folder: Path | None, **endpoint: Any) -> ProbePlan:
    section = ProbeEndpointConfig(**{"url": "http://localhost:8000/v1", "model": "m", **endpoint})
    given = None if folder is None else ModelConfig(path=str(folder), revision="1")
    return plan_probe(
        Config(name="toy", output=str(tmp_path), model=given, probe=ProbeConfig(max_new_tokens=600, endpoint=section))
    )


def test_behind_an_endpoint_a_model_is_what_the_server_calls_it_and_the_folder_gives_the_tokenizer(
    tmp_path: Path, tiny_model: Path
) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "tokenizer", ignore=shutil.ignore_patterns("*.safetensors"))
    plan = _behind_endpoint(tmp_path, folder)
    assert plan.model == ModelRecord(name="m", revision=None, weights_sha256=None, endpoint="http://localhost:8000/v1")
    assert plan.prompt_token == "<|endoftext|>"
    others = [
        _behind_endpoint(tmp_path, folder, model="adapter"),
        _behind_endpoint(tmp_path, folder, url="http://localhost:8001/v1"),
        _behind_endpoint(tmp_path, folder, prompt_token_id=7),
    ]
    assert len({plan.store, *(other.store for other in others)}) == 4
    assert _behind_endpoint(tmp_path, None, prompt_token_id=plan.prompt_token_id).store == plan.store


def test_behind_an_endpoint_something_must_say_where_a_sample_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"set probe\.endpoint\.prompt_token_id .* or model\.path"):
        _behind_endpoint(tmp_path, None)


def test_looks_of_an_earlier_probe_with_more_rounds_are_forgotten(tmp_path: Path, tiny_model: Path) -> None:
    _probe(_rounds(tmp_path, tiny_model, samples_per_round=4, half_width=None))
    config = _rounds(tmp_path, tiny_model)
    look = newest_look(plan_probe(config).store)
    assert look is not None
    assert look.round == 15
    report = _probe(config, forbidden)
    assert newest_look(plan_probe(config).store) == report.looks[-1]


class HopelessEngine(FakeEngine):
    """An endpoint at which nothing works."""

    def generate(self, samples: Sequence[Sample]) -> Iterator[list[Outcome]]:
        raise RunError("endpoint: 4 requests in a row failed")


def test_samples_that_fail_every_time_leave_the_report_as_it_was(tmp_path: Path, tiny_model: Path) -> None:
    config = _config(tmp_path, tiny_model)
    first = _probe(config, lambda plan: FailingEngine)
    assert _probe(config, lambda plan: HopelessEngine).digest == first.digest
    with pytest.raises(RunError, match="in a row failed"):
        _probe(_config(tmp_path, tiny_model, samples=32), lambda plan: HopelessEngine)


def test_tokens_of_a_sample_belong_to_its_domains_in_proportion(tmp_path: Path, tiny_model: Path) -> None:
    report = _probe(_config(tmp_path, tiny_model))
    table = pq.read_table(tmp_path / "out/toy/probe" / report.digest[:12] / report.generations)
    table = table.filter(np.array(table.column("reject")) == "")
    p, tokens = np.array(table.column("domain_probs").to_pylist()), np.array(table.column("num_tokens"))
    mean = p.T @ tokens / p.sum(axis=0)
    assert report.tokens.mean_tokens == pytest.approx(mean)
    wanted = np.array(report.distribution) * mean
    assert report.tokens.shares == pytest.approx(wanted / wanted.sum())
    assert report.tokens.truncated == 1.0


def test_an_estimate_that_cannot_be_given_is_refused_before_the_engine_starts(tmp_path: Path, tiny_model: Path) -> None:
    classifier = Path(shutil.copy(bundled_model(), tmp_path / "mine.ftz"))
    config = _config(tmp_path, tiny_model, estimator="corrected").model_copy(
        update={"classifier": ClassifierConfig(path=str(classifier))}
    )
    with pytest.raises(ConfigError, match=r"estimator is corrected.*says nothing of its errors"):
        _probe(config, forbidden)
    soft = config.model_copy(update={"probe": config.probe.model_copy(update={"estimator": "soft"})})
    report = _probe(soft)
    assert "corrected" in report.refused
    auto = config.model_copy(update={"probe": config.probe.model_copy(update={"estimator": "auto"})})
    assert _probe(auto).digest == report.digest
    assert {estimate.covers for estimate in report.estimates} == {"sampling"}


def test_the_graph_names_the_accelerator_and_shares_one_engine_between_rounds(tmp_path: Path, tiny_model: Path) -> None:
    config = _rounds(tmp_path, tiny_model, accelerator="type:nvidia-l4;count:1;install-nvidia-driver", min_ram="32GB")
    plan = plan_probe(config)
    root = beam.Pipeline(options=PipelineOptions([]))
    graph(root, plan, nothing_seen(plan.look), {1: ((0, 12),), 2: ((12, 24),)}, FakeEngine, "engine")
    components = root.to_runner_api().components
    steps = {step.unique_name: step for step in components.transforms.values()}
    inferences = [
        name for name in steps if name.endswith("Generate/BeamML_RunInference") and not steps[name].subtransforms
    ]
    assert len(inferences) == len([name for name in inferences if name.startswith("Round")]) == 2
    for name in inferences:
        hints = components.environments[steps[name].environment_id].resource_hints
        assert hints[resource_hints.ACCELERATOR.urn] == b"type:nvidia-l4;count:1;install-nvidia-driver"
        assert hints[resource_hints.MIN_RAM_BYTES.urn] == b"32000000000"
    look = steps["Round1/Look"]
    assert not components.environments[look.environment_id].resource_hints


def test_a_remote_runner_gets_one_engine_a_machine() -> None:
    experiments = _options(["--runner=DataflowRunner"]).view_as(DebugOptions).experiments
    assert "no_use_multiple_sdk_containers" in experiments
    assert not _options([]).view_as(DebugOptions).experiments


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
def test_the_real_engine_samples_keeps_and_extends(
    tmp_path: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings: dict[str, Any] = {
        "samples_per_round": 16,
        "half_width": None,
        "engine": {"cpu_kv_cache_gib": 1, "gpu_memory_utilization": 0.3},
    }
    probe = partial(_config, tmp_path, tiny_model, **settings)
    first = ProbeReport.load(run(probe(samples=32), progress=Silence()))
    table = pq.read_table(tmp_path / "out/toy/probe" / first.digest[:12] / first.generations)
    assert len(set(table.column("text").to_pylist())) == 32
    assert (first.environment["generated"], first.environment["reused"]) == (32, 0)
    assert first.environment["engines"][0]["engine"].startswith("vllm ")
    assert first.environment["tokens"] == sum(table.column("num_tokens").to_pylist())
    second = ProbeReport.load(run(probe(samples=32), progress=Silence()))
    assert (second.digest, second.environment["reused"], second.environment["generated"]) == (first.digest, 32, 0)
    larger = ProbeReport.load(run(probe(samples=48), progress=Silence()))
    assert (larger.environment["reused"], larger.environment["generated"]) == (32, 16)
    assert capfd.readouterr().out == ""
