"""Texts of which nothing is learned are named: by the build, by inspect, in the manifest; the counts are those of the rows alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROWS = [
    {"question": f"What is {n} and one?", "answer": f"It is {n + 1}.", "rationale": f"One counts on from {n}.", "id": f"r-{n}"}
    | ({"aside": "Use your fingers."} if n % 10 == 0 else {})
    for n in range(40)
]  # fmt: skip


@pytest.fixture
def configuration(tmp_path: Path) -> Callable[..., Path]:
    """Write a configuration over ROWS in two files; keywords are of the section build."""

    def write(**build: Any) -> Path:
        for name, rows in (("a", ROWS[:25]), ("b", ROWS[25:])):
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        config = {
            "name": "d",
            "output": f"out-{len(list(tmp_path.iterdir()))}",
            "sources": [{"name": "acme", "license": "CC0-1.0", "domain": "general", "files": ["*.jsonl"]}],
            "build": {"validation_fraction": 0.0, **build},
        }
        path = tmp_path / f"{config['output']}.yaml"
        path.write_text(yaml.safe_dump(config))
        return path

    return write


def test_a_build_names_what_it_does_not_use(configuration: Callable[..., Path], build_config: Any, cli: Any) -> None:
    """One line a source on the terminal, the whole table in the manifest, and the same by inspect."""
    built = build_config(configuration())
    line = "source 'acme': text that went into no example: 'rationale' (40 of 40 rows), 'aside' (4)."
    assert built.said.count("went into no example") == 1
    assert line in " ".join(built.said.split())
    keys = ("source", "field", "used", "unused", "prose", "mapped")
    assert [tuple(use[key] for key in keys) for use in built.manifest["fields"]] == [
        ("acme", "rationale", 0, 40, 40, None),
        ("acme", "aside", 0, 4, 4, None),
        ("acme", "id", 0, 40, 0, None),
        ("acme", "answer", 40, 0, 0, None),
        ("acme", "question", 40, 0, 0, None),
    ]
    code, said, _ = cli("inspect", built.folder / "a.jsonl")
    assert code == 0
    shown = " ".join(said.split())
    assert "'rationale' (25 of 25 rows), 'aside' (3)" in shown
    assert "rationale │ 0 │ 25 │ 25" in shown
    assert "question │ 25 │ 0 │ 0" in shown


@pytest.mark.parametrize("build", [{"workers": 2}, {"batch_rows": 3}], ids=str)
def test_neither_workers_nor_batches_change_the_counts(
    configuration: Callable[..., Path], build_config: Any, build: dict[str, Any]
) -> None:
    """The table is that of one worker and one batch a file."""
    one, other = build_config(configuration()), build_config(configuration(**build))
    assert other.manifest["fields"] == one.manifest["fields"]


def test_a_further_column_makes_no_other_dataset(configuration: Callable[..., Path], build_config: Any) -> None:
    """The digest is of what was made; and the build speaks of the rows that it read, though the version was there already."""
    path = configuration()
    first = build_config(path)
    for file in path.parent.glob("*.jsonl"):
        rows = [json.loads(line) | {"remark": "Nobody has asked for this."} for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    second = build_config(path)
    assert second.manifest["digest"] == first.manifest["digest"]
    assert "'remark' (40" in second.said
