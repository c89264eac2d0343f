"""The whole loop through the command line: real Beam, fastText, vLLM and torch, on a tiny random model and the examples."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PYTHON = [sys.executable, *(["-I"] if sys.flags.isolated else [])]


def _versatune(*arguments: str) -> tuple[dict[str, Any], str]:
    done = subprocess.run(
        [*PYTHON, "-m", "versatune", *arguments, "--json"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, quickstart: dict[str, Any]) -> Path:
    """The quickstart with fewer samples, its outputs in a temporary directory."""
    folder = tmp_path_factory.mktemp("loop")
    value = copy.deepcopy(quickstart) | {"output": "out"}
    value["probe"] = {"samples": 64, "max_new_tokens": 48}
    value["mix"] |= {"segments": 3, "budget": 36}
    value["train"] |= {"learning_rate": 0.01}
    value["train"]["reference"] |= {"learning_rate": 0.02, "epochs": 4}
    file = folder / "loop.yaml"
    file.write_text(yaml.safe_dump(value))
    return file


@pytest.fixture(scope="module")
def first(config: Path) -> dict[str, Any]:
    """What `versatune run` says the first time."""
    return _versatune("run", str(config))[0]


def test_the_books_of_the_examples_balance(first: dict[str, Any]) -> None:
    build = first["build"]
    assert (build["read"], build["written"], build["duplicates"], build["rejected"]) == (353, 338, 6, 9)


def test_the_probe_is_a_distribution_with_intervals_around_it(first: dict[str, Any]) -> None:
    probe = first["probe"]
    assert probe["samples"] == 64 == probe["counted"] + sum(probe["rejected"].values())
    assert sum(probe["distribution"].values()) == pytest.approx(1.0, abs=1e-6)
    for domain, (lower, upper) in probe["intervals"].items():
        assert 0.0 <= lower <= probe["distribution"][domain] <= upper <= 1.0


def test_the_mixture_asks_for_what_the_probe_found(first: dict[str, Any]) -> None:
    assert first["mix"]["weights"] == pytest.approx(first["probe"]["distribution"], abs=1e-9)
    assert sum(first["mix"]["counts"].values()) + first["mix"]["shortfall"] == 36


def test_training_lowers_the_held_out_loss_of_every_domain(first: dict[str, Any]) -> None:
    before, after = first["train"]["loss_before"], first["train"]["loss_after"]
    assert all(after[domain] < before[domain] for domain in before)


def test_every_output_verifies(first: dict[str, Any]) -> None:
    for file in (first["build"]["manifest"], first["probe"]["report"], first["mix"]["mixture"], first["train"]["run"]):
        assert _versatune("verify", file)[0]["ok"]


def test_the_exported_model_loads_in_transformers(first: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(first["train"]["model"], local_files_only=True)
    assert model.num_parameters() > 0


def test_the_dataset_loads_as_a_whole_and_by_domain(first: dict[str, Any], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    folder = str(Path(first["build"]["manifest"]).parent)
    everything = datasets.load_dataset(folder, cache_dir=str(tmp_path))
    assert sum(split.num_rows for split in everything.values()) == 338
    law = datasets.load_dataset(folder, "law", cache_dir=str(tmp_path))
    assert set(law["train"]["domain"]) == {"law"}


def test_the_report_tells_of_every_domain_and_fetches_nothing(first: dict[str, Any]) -> None:
    page = Path(first["report"]).read_text()
    found = _Page()
    found.feed(page)
    assert found.figures == 5
    assert found.fetched == []
    for domain in first["probe"]["distribution"]:
        assert domain in page


def test_a_second_run_does_nothing_again(first: dict[str, Any], config: Path) -> None:
    again, said = _versatune("run", str(config))
    assert [again[stage]["skipped"] for stage in ("build", "probe", "mix", "train")] == [True] * 4
    assert {stage: again[stage].get("digest") for stage in ("build", "mix")} == {
        stage: first[stage].get("digest") for stage in ("build", "mix")
    }
    assert said.count("complete and unchanged") == 4


def test_a_larger_probe_reuses_the_generations(first: dict[str, Any], config: Path) -> None:
    larger, _ = _versatune("probe", str(config), "--set", "probe.samples=80")
    assert (larger["samples"], larger["environment"]["reused"]) == (80, 64)


class _Page(HTMLParser):
    """Counts figures and notes everything a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.figures = 0
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.figures += tag == "svg"
        if tag in ("script", "link", "img", "iframe", "object", "embed"):
            self.fetched.append(tag)
        for key, value in attrs:
            local = (value or "").startswith("#")
            if (key.removeprefix("xlink:") in ("src", "href", "data", "action") and not local) or key.startswith("on"):
                self.fetched.append(f"{key}={value}")
