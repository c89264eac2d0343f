"""What makes a stage run again."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from versatune.schemas.config import load_config
from versatune.schemas.errors import ConfigError
from versatune.schemas.pointer import write_pointer
from versatune.schemas.progress import Silence
from versatune.stages import _KEYS, Job, run_one

CONFIG = {
    "name": "a",
    "output": "out",
    "sources": [{"name": "s", "files": ["raw.jsonl"]}],
    "model": {"path": "model", "chat_template": "chat.jinja"},
    "classifier": {"path": "classifier.bin"},
}


def _keys(folder: Path) -> dict[str, str]:
    job = Job(config=load_config(folder / "config.yaml"), beam_args=(), progress=Silence())
    return {stage: key(job) for stage, key in _KEYS.items()}


def _configure(**changes: object) -> Callable[[Path], object]:
    return lambda folder: (folder / "config.yaml").write_text(json.dumps(CONFIG | changes))


def _write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        (_configure(seed=1), {"probe", "mix", "train"}),
        (_configure(mix={"budget": 5}), {"mix"}),
        (_configure(train={"learning_rate": 1.0}), {"train"}),
        (_configure(probe={"samples": 9}), {"probe"}),
        (_configure(build={"validation_fraction": 0.5}), {"build"}),
        (_configure(build={"workers": 2}), set()),
        (_configure(classifier={"path": "classifier.bin", "undetermined": "reject"}), {"build"}),
        (_configure(taxonomy={"domains": ["x", "y"], "aliases": {}}), {"build", "probe"}),
        (_write("raw.jsonl", "{}\n{}\n"), {"build"}),
        (_write("classifier.bin", "another"), {"build", "probe"}),
        (_write("classifier.json", "its card"), {"build", "probe"}),
        (_write("model/config.json", "{ }"), {"build", "probe", "train"}),
        (_write("chat.jinja", "another"), {"build", "probe", "train"}),
        (_write("out/a/latest.json", "another dataset"), {"mix"}),
        (_write("out/a/probe/latest.json", "another probe"), {"mix"}),
        (_write("out/a/mixture/latest.json", "another mixture"), {"train"}),
    ],
)
def test_a_change_runs_exactly_the_stages_that_read_it(
    tmp_path: Path, change: Callable[[Path], object], stages: set[str]
) -> None:
    for folder in ("model", "out/a/probe", "out/a/mixture"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("raw.jsonl", "classifier.bin", "model/config.json", "chat.jinja"):
        (tmp_path / file).write_text("{}")
    _configure()(tmp_path)
    before = _keys(tmp_path)
    assert _keys(tmp_path) == before
    change(tmp_path)
    after = _keys(tmp_path)
    assert {stage for stage in after if after[stage] != before[stage]} == stages


def test_training_without_its_libraries_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _configure()(tmp_path)
    home = tmp_path / "out" / "a" / "mixture"
    home.mkdir(parents=True)
    (home / "x").mkdir()
    (home / "x" / "mixture.json").write_text(json.dumps({"digest": "0" * 64}))
    write_pointer(home / "latest.json", "x/mixture.json", "0" * 64)
    for name in [name for name in sys.modules if name.startswith("versatune.sft_runner.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "peft", None)
    job = Job(config=load_config(tmp_path / "config.yaml"), beam_args=(), progress=Silence())
    with pytest.raises(ConfigError, match=r"training needs the package peft: pip install 'versatune\[train\]'"):
        run_one(job, "train")
