"""Every command on gs:// and s3://: exit code 0 where it worked, one line where it cannot work there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.cloud.conftest import Store
from versatune import DatasetManifest, load_config, read_dataset, read_run
from versatune.cli.app import app
from versatune.pipelines.build import run
from versatune.schemas.progress import Silence

SOURCES = ("law", "code")


def rows(domain: str) -> bytes:
    lines = [
        {
            "instruction": f"What is {domain} number {n}, and why?",
            "output": f"It is the {domain} of {n}, as court {n} held.",
        }
        for n in range(60)
    ]
    return "".join(json.dumps(line) + "\n" for line in [*lines, {"instruction": "empty", "output": ""}]).encode()


def configuration(folder: Path, output: str, raw: str, model: Path) -> Path:
    value: dict[str, Any] = {
        "name": "toy",
        "output": output,
        "sources": [
            {"name": name, "files": [f"{raw}/{name}.jsonl"], "license": "CC0-1.0", "domain": name} for name in SOURCES
        ],
        "model": {"path": str(model)},
        "build": {"max_tokens": 128, "validation_fraction": 0.2, "max_rejected_fraction": 0.5},
        "mix": {"policy": "proportional", "budget": 16, "segments": 2, "mixer": {"name": "constant"}},
        "train": {
            "dtype": "float32",
            "device": "cpu",
            "global_batch_rows": 4,
            "micro_batch_rows": 4,
            "learning_rate": 1e-3,
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "toy.yaml"
    file.write_text(json.dumps(value))
    return file


def said(*arguments: object, code: int = 0) -> str:
    """Run a command in this process; return what it printed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, (arguments, result.output, result.exception)
    return " ".join(result.output.replace("│", " ").split())  # without the frame of a mistake in usage


@pytest.fixture
def work(store: Store, tmp_path: Path, tiny_model: Path) -> tuple[Store, Path, DatasetManifest]:
    """Raw files on the store, a configuration that writes there, and what a build of the same rows makes on this machine."""
    for name in SOURCES:
        store.put(f"raw/{name}.jsonl", rows(name))
    file = configuration(tmp_path / "remote", store.address("out"), store.address("raw"), tiny_model)
    for name in SOURCES:
        (tmp_path / "local" / "raw").mkdir(parents=True, exist_ok=True)
        (tmp_path / "local" / "raw" / f"{name}.jsonl").write_bytes(rows(name))
    here = configuration(tmp_path / "local", "out", "raw", tiny_model)
    return store, file, read_dataset(run(load_config(here), progress=Silence()))


@pytest.mark.slow
def test_the_whole_loop_and_every_command(work: tuple[Store, Path, DatasetManifest], tmp_path: Path) -> None:
    store, file, local = work
    assert f"digest {local.digest[:12]}: {store.address('out/toy')}" in said("build", file)
    version = store.address(f"out/toy/{local.version}")
    for shard in local.shards:
        assert (
            store.get(f"out/toy/{local.version}/{shard.path}")
            == (tmp_path / "local" / "out" / "toy" / local.version / shard.path).read_bytes()
        )
    assert not [key for key in store.keys("out/") if ".staging-" in key or ".partial" in key]
    for where in (file, store.address("out/toy"), store.address("out")):
        assert local.version in said("ls", where)
    assert f"verified: {version}" in said("verify", version, "--deep")
    assert "verified" in said("verify", file)
    assert "empty_answer" in said("rejects", version)
    assert "1 written" in said("trace", version, "--origin", f"{store.address('raw/law.jsonl')}:3")
    assert "the same dataset" in said("diff", local.version, "latest", "--of", file)
    assert "the same dataset" in said("diff", version, tmp_path / "local" / "out" / "toy" / local.version)
    assert "alpaca" in said("inspect", store.address("raw/law.jsonl"))
    assert store.address("out/toy/mixture") in said("mix", file)
    assert "nothing stands in the way of" in said("check", file, "--stage", "train")
    assert store.address("out/toy/runs") in said("train", file)
    ids = {key.split("/")[3] for key in store.keys("out/toy/runs/") if key.endswith("/run.json")}
    (run_id,) = ids
    address = store.address(f"out/toy/runs/{run_id}")
    assert "report.html" in said("report", address)
    assert store.get(f"out/toy/runs/{run_id}/report.html").startswith(b"<!")
    # Another machine, which has nothing of all this.
    shutil.rmtree(tmp_path / "cache")
    assert f"verified: {address}" in said("verify", address)
    again = said("run", file)
    assert again.count("complete and unchanged") == 3
    assert read_run(address).digest == read_run(store.address("out/toy/runs")).digest
    assert store.get(f"out/toy/runs/{run_id}/model/config.json")
    assert not [key for key in store.keys("out/") if "checkpoints" in key or ".lock" in key]


def test_what_cannot_be_done_there_is_one_line(store: Store, tmp_path: Path, tiny_model: Path) -> None:
    address = store.address("out/toy")
    file = configuration(tmp_path, store.address("out"), store.address("raw"), tiny_model)
    assert "a configuration is read on this machine" in said("build", store.address("c.yaml"), code=2)
    assert "holds no dataset version" in said("ls", address, code=2)
    assert "there is no dataset yet" in said("mix", file, code=2)
    assert "no such file" in said("build", file, code=2)
    assert "set it to a local directory to reprocess" in said("reprocess", file, file, code=2)
    assert "give --output DIR" in said("label", "--config", file, "--model", "m", "x.jsonl", code=2)
    assert "without empty parts" in said("ls", store.address("out/../../etc"), code=2)


def test_a_key_that_leads_out_of_the_folder_is_not_fetched(store: Store, tmp_path: Path) -> None:
    store.put("out/toy/../../escaped.json", b"{}")
    store.put("out/toy/latest.json", b"{}")
    said("ls", store.address("out/toy"), code=2)
    assert not list(tmp_path.rglob("escaped.json"))
