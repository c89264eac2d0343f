"""One way to draw samples from a model, in a process of its own; run by probe_overhead.py.

    python benchmarks/support/probe_systems.py SYSTEM WORK.json OUTPUT.json

Time runs from when the engine is ready to when the last sample is there; processor time is that of the whole process tree. Every system gets the engine
arguments of `work` and the environment that versatune gives its engine.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

BOS = 1  # of SmolLM2
SEED = 20250117
SECONDS_TO_END = 10.0


@dataclass(frozen=True, kw_only=True)
class Work:
    """What every system does."""

    model: str
    samples: int
    round: int
    max_new_tokens: int
    max_num_seqs: int
    cpu_kv_cache_gib: int

    def engine_arguments(self) -> dict[str, Any]:
        """Return those that are not vLLM's own defaults; they are the probe's."""
        return {
            "max_model_len": self.max_new_tokens + 8,
            "max_num_seqs": self.max_num_seqs,
            "gpu_memory_utilization": 0.9,
            "enforce_eager": True,
        }


class Clock:
    """What was at some moments: seconds, and processor seconds of this process and all it started, which may be other processes' memory by then."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.owner = os.getpid()

    def note(self, moment: str) -> None:
        """Note a moment; a later one of the same name takes its place."""
        file = Path(self.file)
        moments = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**moments, moment: [time.monotonic(), self._cpu_seconds()]}))

    def between(self, first: str, last: str) -> dict[str, float]:
        """Return what went by."""
        moments = json.loads(Path(self.file).read_text())
        seconds, cpu = (round(b - a, 3) for a, b in zip(moments[first], moments[last], strict=True))
        return {"seconds": seconds, "cpu_seconds": cpu}

    def _cpu_seconds(self) -> float:
        root = psutil.Process(self.owner)
        times = [process.cpu_times() for process in [root, *root.children(recursive=True)]]
        return sum(t.user + t.system + t.children_user + t.children_system for t in times)


def seeds(count: int) -> list[int]:
    """Return the seeds that a probe gives its samples."""
    from versatune.transforms.probing.generate import sample_seed

    return [sample_seed(SEED, index) for index in range(count)]


def bare(work: Work, clock: Clock) -> dict[str, Any]:
    """Draw with one call of ``LLM.generate``."""
    from vllm import LLM, SamplingParams
    from vllm.inputs import TokensPrompt

    llm = LLM(model=work.model, **work.engine_arguments())
    params = [
        SamplingParams(temperature=1.0, top_p=1.0, top_k=0, max_tokens=work.max_new_tokens, seed=seed)
        for seed in seeds(work.samples)
    ]
    prompts = [TokensPrompt(prompt_token_ids=[BOS])] * work.samples
    llm.generate(prompts[:1], SamplingParams(max_tokens=4), use_tqdm=False)
    clock.note("ready")
    outputs = [output.outputs[0] for output in llm.generate(prompts, params, use_tqdm=False)]
    clock.note("end")
    return {"tokens": sum(len(output.token_ids) for output in outputs), "texts": [output.text for output in outputs]}


def sampling(work: Work, clock: Clock) -> dict[str, Any]:
    """Time plain sampling, a seed for each sample, and top_p, in turn on one engine."""
    from vllm import LLM, SamplingParams
    from vllm.inputs import TokensPrompt

    llm = LLM(model=work.model, **work.engine_arguments())
    count = min(work.samples, work.max_num_seqs)
    prompts = [TokensPrompt(prompt_token_ids=[BOS])] * count
    same = partial(SamplingParams, temperature=1.0, top_k=0, max_tokens=work.max_new_tokens, ignore_eos=True)
    kinds = {
        "plain": [same()] * count,
        "seeds": [same(seed=seed) for seed in seeds(count)],
        "top_p": [same(top_p=0.95)] * count,
    }
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    clock.note("ready")
    for repeat in range(4):
        for name, params in kinds.items():
            begun = time.monotonic()
            llm.generate(prompts, params, use_tqdm=False)
            if repeat:  # the first only warms up
                rates[name].append(round(count * work.max_new_tokens / (time.monotonic() - begun), 1))
    clock.note("end")
    return {"rates": rates}


class TimedEngine:
    """The probe's engine, which notes when it was ready and when the last sample came."""

    def __init__(self, start: Callable[[], Any], clock: Clock) -> None:
        self._engine, self._clock = start(), clock
        clock.note("ready")

    @property
    def about(self) -> dict[str, Any]:
        """The engine's own words."""
        found: dict[str, Any] = self._engine.about
        return found

    def generate(self, samples: Sequence[Any]) -> Iterator[list[Any]]:
        """Pass on what it yields."""
        yield from self._engine.generate(samples)
        self._clock.note("end")


def probe(work: Work, clock: Clock) -> dict[str, Any]:
    """Draw as `versatune probe` does: rounds in a Beam pipeline, texts kept, labelled and looked at after each round, a report."""
    import pyarrow.parquet as pq

    from versatune.pipelines.probe import run_with
    from versatune.pipelines.probe_plan import engine_starter
    from versatune.schemas.config import Config, EngineConfig, ModelConfig, ProbeConfig
    from versatune.schemas.progress import Silence
    from versatune.transforms.classifier.fasttext_classifier import shared_classifier
    from versatune.transforms.probing.look import label_texts

    with tempfile.TemporaryDirectory(prefix="versatune-bench-") as home:
        engine = EngineConfig(cpu_kv_cache_gib=work.cpu_kv_cache_gib, max_num_seqs=work.max_num_seqs)
        section = ProbeConfig(
            samples=work.samples,
            samples_per_round=work.round,
            max_new_tokens=work.max_new_tokens,
            half_width=None,
            prompt_token="bos",  # noqa: S106  # a token of the vocabulary
            engine=engine,
        )
        config = Config(name="bench", output=home, seed=SEED, model=ModelConfig(path=work.model), probe=section)
        clock.note("begin")
        report = run_with(config, lambda plan: partial(TimedEngine, engine_starter(plan), clock), progress=Silence())
        clock.note("returned")
        rows = pq.read_table(next(report.parent.glob("*.parquet"))).sort_by("index")
        texts = rows["text"].to_pylist()
        classifier = shared_classifier(None, config.taxonomy, None)
        begun = time.monotonic()
        label_texts(texts, classifier)
        label_seconds = time.monotonic() - begun
    return {
        "tokens": sum(rows["num_tokens"].to_pylist()),
        "texts": texts,
        "label_seconds": label_seconds,
        "to_the_report": clock.between("ready", "returned"),
    }


def beam_server(work: Work, clock: Clock) -> dict[str, Any]:
    """Draw with Beam's own handler: a vLLM server, an HTTP request for each sample, one set of sampling settings for all."""
    import apache_beam as beam
    from apache_beam.ml.inference.base import RunInference
    from apache_beam.ml.inference.vllm_inference import VLLMCompletionsModelHandler

    class Timed(VLLMCompletionsModelHandler):  # type: ignore[misc]  # Beam does not type its base
        def load_model(self) -> Any:
            model = super().load_model()
            clock.note("ready")
            return model

    flags = {name.replace("_", "-"): str(value) for name, value in work.engine_arguments().items()}
    del flags["enforce-eager"]
    handler = Timed(
        work.model,
        {**flags, "enforce-eager": None},
        min_batch_size=work.samples,
        max_batch_size=work.samples,
    )
    arguments = {"max_tokens": work.max_new_tokens, "temperature": 1.0, "top_p": 1.0, "extra_body": {"top_k": 0}}
    counted = Path(f"{clock.file}.tokens")
    try:
        with beam.Pipeline("FnApiRunner") as pipeline:
            _ = (
                pipeline
                | beam.Create([[BOS]] * work.samples)
                | RunInference(handler, inference_args=arguments)
                | beam.Map(lambda result: result.inference.usage.completion_tokens)
                | beam.CombineGlobally(sum)
                | beam.Map(lambda tokens: counted.write_text(str(tokens)))
            )
        clock.note("end")
    finally:
        _end_children()  # the server would outlive us
    return {"tokens": int(counted.read_text())}


def _end_children() -> None:
    children = psutil.Process().children(recursive=True)
    for child in children:
        child.terminate()
    _, alive = psutil.wait_procs(children, timeout=SECONDS_TO_END)
    for child in alive:
        child.kill()


SYSTEMS = {"bare": bare, "probe": probe, "beam_server": beam_server, "sampling": sampling}


def main() -> None:
    """Run one system."""
    name, work_file, output = sys.argv[1:]
    work = Work(**json.loads(Path(work_file).read_text()))
    clock = Clock(f"{output}.clock")
    found = SYSTEMS[name](work, clock)
    Path(output).write_text(json.dumps(found | clock.between("ready", "end") | {"work": dataclasses.asdict(work)}))


if __name__ == "__main__":
    main()
