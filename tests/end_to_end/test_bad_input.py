"""What the command line says to bad input: one message that helps, the right exit code, nothing that looks finished."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from versatune.schemas.dataset import DatasetManifest

PYTHON = [sys.executable, *(["-I"] if sys.flags.isolated else [])]
ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | ({} if sys.flags.isolated else {"PYTHONPATH": str(ROOT)})  # the checkout, from any folder
ROWS = {
    "law": [{"question": f"What does section {n} of the lease say?", "answer": f"It says {n}."} for n in range(12)],
    "code": [{"question": f"Print {n} in Python.", "answer": f"print({n})"} for n in range(12)],
}
Change = Callable[[Path, dict[str, Any]], None]


def _versatune(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command, *rest = arguments
    return subprocess.run(
        [*PYTHON, "-m", "versatune", command, "--json", *rest],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=ENVIRONMENT,
    )


def _accepted(folder: Path, *arguments: str) -> dict[str, Any]:
    done = _versatune(folder, *arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _refused(folder: Path, *arguments: str, code: int = 2) -> str:
    """Run a command that must fail as a command should; return its message."""
    done = _versatune(folder, *arguments)
    assert done.returncode == code, done.stderr[-2000:]
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
    result = json.loads(done.stdout)  # one object and nothing else
    assert result["exit_code"] == code
    assert result["error"] in done.stderr
    return str(result["error"])


def _write(folder: Path, change: Change | None = None) -> Path:
    """Lay out raw files and a configuration without a model in a new folder, and spoil it."""
    (folder / "raw").mkdir(parents=True)
    for name, rows in ROWS.items():
        with gzip.open(folder / "raw" / f"{name}.jsonl.gz", "wt") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in rows)
    config: dict[str, Any] = {
        "name": "small",
        "sources": [{"name": name, "files": [f"raw/{name}.jsonl.gz"], "domain": name} for name in ROWS],
        "mix": {"policy": "uniform", "budget": 8, "segments": 1, "mixer": {"name": "constant"}},
        "train": {"global_batch_rows": 8, "dtype": "float32", "device": "cpu"},
    }
    if change is not None:
        change(folder, config)
    (folder / "my.yaml").write_text(yaml.safe_dump(config))
    return folder


def _looks_finished(folder: Path) -> list[str]:
    return [
        str(file.relative_to(folder))
        for file in (folder / "outputs").rglob("*")
        if file.name in ("manifest.json", "latest.json", "stages.json") or file.suffix == ".parquet"
    ]


def _missing_file(_: Path, config: dict[str, Any]) -> None:
    config["sources"][0]["files"] = ["raw/nowhere.jsonl"]


def _empty_glob(_: Path, config: dict[str, Any]) -> None:
    config["sources"][0]["files"] = ["raw/2025-*.jsonl"]
    config["build"] = {"on_refused_file": "fail"}


def _cut_gzip(folder: Path, config: dict[str, Any]) -> None:
    config["build"] = {"on_refused_file": "fail"}
    file = folder / "raw" / "law.jsonl.gz"
    file.write_bytes(file.read_bytes()[:-20])


def _not_json(folder: Path, config: dict[str, Any]) -> None:
    (folder / "raw" / "page.json").write_text("<!DOCTYPE html>\n<html><body>404</body></html>\n")
    config["sources"][0]["files"] = ["raw/page.json"]
    config["build"] = {"on_refused_file": "fail"}


def _unknown_key(_: Path, config: dict[str, Any]) -> None:
    config["build"] = {"worker": 2}


def _unknown_domain(_: Path, config: dict[str, Any]) -> None:
    config["mix"] |= {"policy": "explicit", "weights": {"law": 0.5, "medicin": 0.5}}


def _no_yaml(folder: Path, config: dict[str, Any]) -> None:
    config["name"] = "no spaces please"


def _no_tokenizer(folder: Path, config: dict[str, Any]) -> None:
    _model_without(folder, config, "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def _no_template(folder: Path, config: dict[str, Any]) -> None:
    _model_without(folder, config, "chat_template.jinja")


def _model_without(folder: Path, config: dict[str, Any], *names: str) -> None:
    shutil.copytree(config["_model"], folder / "model", ignore=shutil.ignore_patterns(*names))
    config["model"] = {"path": "model"}


@pytest.mark.parametrize(
    ("change", "flags", "says"),
    [
        (_missing_file, (), ["source 'law'", "raw/nowhere.jsonl"]),
        (_empty_glob, (), ["source 'law'", "raw/2025-*.jsonl"]),
        (_cut_gzip, (), ["source 'law'", "raw/law.jsonl.gz", "cut short", "Fetch the file again"]),
        (_not_json, (), ["source 'law'", "raw/page.json", "JSON"]),
        (_unknown_key, (), ["my.yaml", "unknown key 'build.worker'", "did you mean 'workers'?"]),
        (_unknown_domain, (), ["my.yaml", "'medicin'", "did you mean 'medicine'?"]),
        (_no_yaml, (), ["my.yaml", "name is 'no spaces please'"]),
        (_no_tokenizer, (), ["model", "tokenizer.json", "build.tokenize"]),
        (_no_template, (), ["model", "no chat template", "model.chat_template"]),
        (None, ("--", "--no_such_flag=1"), ["Beam", "--no_such_flag", "before"]),
        (None, ("--", "--direct_running_mode=multi_threading"), ["multi_threading", "loses rows", "in_memory"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_build_that_cannot_be_says_what_to_do_and_leaves_nothing(
    change: Change | None, flags: tuple[str, ...], says: list[str], tmp_path: Path, tiny_model: Path
) -> None:
    def spoil(folder: Path, config: dict[str, Any]) -> None:
        config["_model"] = tiny_model
        if change is not None:
            change(folder, config)
        del config["_model"]

    folder = _write(tmp_path / "here", spoil)
    message = _refused(folder, "build", "my.yaml", *flags)
    for part in says:
        assert part in message
    assert "section 3" not in message  # a row's text is nobody's business
    assert _looks_finished(folder) == []


def test_a_build_succeeds_once_the_damaged_file_is_whole_again(tmp_path: Path) -> None:
    folder = _write(tmp_path / "here", _cut_gzip)
    _refused(folder, "build", "my.yaml")
    _write(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole" / "raw", folder / "raw", dirs_exist_ok=True)
    made = _accepted(folder, "build", "my.yaml")
    assert (made["read"], made["written"]) == (24, 24)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A folder with a tokenized dataset and a mixture, both good."""

    def with_model(_: Path, config: dict[str, Any]) -> None:
        config["model"] = {"path": str(tiny_model)}

    folder = _write(tmp_path_factory.mktemp("good") / "here", with_model)
    _accepted(folder, "build", "my.yaml", "--set", 'build.version="1"')
    _accepted(folder, "mix", "my.yaml")
    return folder


@pytest.fixture
def work(mixed: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(mixed, tmp_path / "copy"))


def test_weights_that_do_not_sum_to_one_are_refused_and_the_mixture_stays(work: Path) -> None:
    newest = (work / "outputs/small/mixture/latest.json").read_bytes()
    message = _refused(
        work, "mix", "my.yaml", "--set", "mix.policy=explicit", "--set", "mix.weights={law: 0.5, code: 0.4}"
    )
    assert "my.yaml: mix: weights sum to 0.9; expected 1" in message
    assert (work / "outputs/small/mixture/latest.json").read_bytes() == newest


def test_a_manifest_of_another_version_is_refused_by_number(work: Path) -> None:
    file = work / "outputs/small/1/manifest.json"
    file.write_bytes(orjson.dumps(orjson.loads(file.read_bytes()) | {"format_version": 99}))
    for command in (("verify", "outputs/small/1"), ("mix", "my.yaml")):
        message = _refused(work, *command)
        for part in (
            "manifest.json",
            "format_version is 99",
            f"reads version {DatasetManifest.FORMAT_VERSION}",
            "make it anew: `versatune build CONFIG`",
        ):
            assert part in message


def test_a_changed_shard_fails_verify_and_training_until_it_is_built_again(work: Path) -> None:
    shard = min((work / "outputs/small/1/data/train/law").glob("*.parquet"))
    good = shard.read_bytes()
    shard.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])

    checked = _versatune(work, "verify", "outputs/small/1")
    assert checked.returncode == 1
    result = json.loads(checked.stdout)
    assert not result["ok"]
    assert len(result["problems"]) == 1
    assert f"{shard.name}: sha256 is" in result["problems"][0]
    assert "Traceback" not in checked.stderr

    message = _refused(work, "train", "my.yaml", code=1)
    for part in (shard.name, "sha256", "Build and mix again"):
        assert part in message
    assert not list((work / "outputs").rglob("run.json"))

    _accepted(work, "build", "my.yaml", "--set", 'build.version="1"')  # as the message says
    assert shard.read_bytes() == good
    _accepted(work, "mix", "my.yaml")
    assert _accepted(work, "train", "my.yaml")["steps"] == 1
