"""A small raw corpus, own-written: three sources in three formats, with duplicates and broken rows."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from versatune.schemas.config import Config, load_config

SUBJECTS = {
    "law": "The court held in case {} that the contract of the tenant was void under the statute.",
    "medicine": "Patient {} shows a fever; the physician prescribes an antibiotic and orders a blood test.",
    "code": "def function_{}(values): return sorted(values)[0]  # a Python function",
}


def raw_rows(subject: str, count: int) -> list[dict[str, str]]:
    return [
        {"instruction": f"Explain number {i}.", "input": "", "output": SUBJECTS[subject].format(i)}
        for i in range(count)
    ]


def write_raw(folder: Path) -> None:
    folder.mkdir(parents=True)
    law = [json.dumps(row) for row in raw_rows("law", 60)]
    broken = ["{not json", json.dumps({"instruction": "Explain.", "output": " "}), json.dumps([1, 2])]
    (folder / "law.jsonl").write_text("\n".join([*law[:30], *broken, *law[30:], *law[:5]]) + "\n")
    with gzip.open(folder / "medicine.json.gz", "wt") as stream:
        json.dump(raw_rows("medicine", 40), stream)
    with (folder / "code.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerows(
            [["question", "answer"], *([f"Write number {i}.", SUBJECTS["code"].format(i)] for i in range(30))]
        )
    again = raw_rows("law", 4) + raw_rows("medicine", 3)
    (folder / "copies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in again))


MakeConfig = Callable[..., Config]


@pytest.fixture
def make_config(tmp_path: Path) -> MakeConfig:
    """Return a function that configures a build of the small corpus; keyword arguments change the build section."""
    write_raw(tmp_path / "raw")

    def make(
        output: str = "out", sources: list[dict[str, Any]] | None = None, model: Path | None = None, **build: Any
    ) -> Config:
        value = {
            "name": "small",
            "output": output,
            "sources": sources
            or [
                {"name": "law", "files": ["raw/law.jsonl"], "license": "CC0-1.0", "domain": "law"},
                {"name": "medicine", "files": ["raw/medicine.json.gz"], "license": "MIT"},
                {"name": "code", "files": ["raw/code.csv"]},
                {"name": "copies", "files": ["raw/copies.jsonl"], "domain": "general"},
            ],
            "build": {"tokenize": model is not None, "validation_fraction": 0.2, "workers": 1, **build},
        }
        if model is not None:
            value["model"] = {"path": str(model)}
        path = tmp_path / f"{output.rpartition('/')[2]}.json"
        path.write_text(json.dumps(value))
        return load_config(path)

    return make
