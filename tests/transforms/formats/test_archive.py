"""A zip archive whose members have names that lead out of it, or share one, is refused by name; nothing is ever unpacked."""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from pathlib import Path

import pytest

from versatune.pipelines.build import run
from versatune.schemas.config import Config, load_config
from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.errors import DataError
from versatune.schemas.progress import Silence
from versatune.transforms.reading.read import plan_inputs, read_rows

ROWS = "".join(json.dumps({"prompt": f"What is {n}?", "completion": f"It is {n}."}) + "\n" for n in range(20))
OUTSIDE = (
    "../out.jsonl", "a/../../out.jsonl", "/etc/out.jsonl", "C:\\out.jsonl", "C:out.jsonl", "..\\out.jsonl", "a\\..\\..\\out.jsonl",
    "\\out.jsonl",
)  # fmt: skip


def archived(folder: Path, *names: str) -> Path:
    path = folder / "in" / "rows.zip"
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there already
        for name in names:
            archive.writestr(name, ROWS)
    return path


def configured(folder: Path, **build: object) -> Config:
    (folder / "in").mkdir(exist_ok=True)
    path = folder / "in" / "c.json"
    settings = {"tokenize": False, "workers": 1, **build}
    path.write_text(
        json.dumps(
            {"name": "t", "output": "../out", "sources": [{"name": "s", "files": ["rows.zip"]}], "build": settings}
        )
    )
    return load_config(path)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_out_is_named_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    archived(tmp_path, name, "good.jsonl")
    good, bad = sorted(plan_inputs(configured(tmp_path, on_refused_file="skip")), key=lambda split: split.refused)
    assert (good.member, good.refused) == ("good.jsonl", "")
    assert bad.refused.startswith(
        f"source 's': rows.zip: found a member called '{name}', which would be unpacked outside"
    )
    with pytest.raises(StopIteration) as end:
        next(read_rows(bad))
    assert end.value.value.refused == bad.refused
    assert sorted(os.listdir(tmp_path / "in")) == ["c.json", "rows.zip"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_an_archive_of_nothing_else_is_refused_before_any_work(tmp_path: Path) -> None:
    archived(tmp_path, "../out.jsonl")
    with pytest.raises(DataError, match=r"rows\.zip: found a member called '\.\./out\.jsonl'"):
        plan_inputs(configured(tmp_path))


def test_members_of_one_name_are_refused(tmp_path: Path) -> None:
    archived(tmp_path, "a.jsonl", "a.jsonl", "b.jsonl")
    splits = {split.member: split.refused for split in plan_inputs(configured(tmp_path))}
    assert splits["b.jsonl"] == ""
    assert "found 2 members called 'a.jsonl', of which a reader gets one" in splits["a.jsonl"]


def test_a_name_does_not_reach_the_terminal_as_it_is(tmp_path: Path) -> None:
    archived(tmp_path, "../\x1b[2J\x07.jsonl")
    with pytest.raises(DataError) as error:
        plan_inputs(configured(tmp_path))
    assert "\x1b" not in str(error.value)
    assert "'../\ufffd[2J\ufffd.jsonl'" in str(error.value)


def test_names_beside_that_are_no_data_do_not_matter(tmp_path: Path) -> None:
    archived(
        tmp_path,
        "../README.md",
        "README.md",
        "README.md",
        "__MACOSX/x.jsonl",
        ".hidden.jsonl",
        "good.jsonl",
        "a/..b.jsonl",
    )
    splits = plan_inputs(configured(tmp_path))
    assert [(split.member, split.refused) for split in splits] == [("good.jsonl", "")]


@pytest.mark.parametrize("on_refused_file", ["fail", "skip"])
def test_a_build_says_so_and_counts_the_rest(tmp_path: Path, on_refused_file: str) -> None:
    archived(tmp_path, "../out.jsonl", "good.jsonl")
    config = configured(tmp_path, on_refused_file=on_refused_file)
    if on_refused_file == "fail":
        with pytest.raises(DataError, match=r"a member called '\.\./out\.jsonl'"):
            run(config, progress=Silence())
        return
    manifest = DatasetManifest.load(run(config, progress=Silence()))
    assert [(file.uri, bool(file.refused)) for file in manifest.inputs] == [
        ("rows.zip!/../out.jsonl", True),
        ("rows.zip!/good.jsonl", False),
    ]
    assert sum(book.read for book in manifest.books) == 20
