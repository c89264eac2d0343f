"""What a build says of rows that it cuts, of weights that it does not apply, and of prompts that many rows share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

CASES = Path(__file__).parents[1] / "cases"


def configured(folder: Path, rows: list[dict[str, Any]], *, model: bool, **build: Any) -> Path:
    """Write rows and a configuration into a folder."""
    shutil.copytree(CASES / "models", folder / "models")
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"name": "s", "files": ["data.jsonl"], "license": "CC0-1.0", "domain": "general"}
    config: dict[str, Any] = {"name": "d", "output": "out", "sources": [source], "build": build}
    if model:
        config["model"] = {"path": "models/chatml"}
    (folder / "c.yaml").write_text(yaml.safe_dump(config))
    return folder / "c.yaml"


def test_rows_that_are_cut_are_counted_with_their_tokens(tmp_path: Path, build_config: Callable[..., Any]) -> None:
    rows = [{"prompt": f"Q{n}", "completion": "word " * (400 if n < 3 else 1)} for n in range(12)]
    built = build_config(configured(tmp_path, [*rows, rows[0]], model=True, max_tokens=100, validation_fraction=0.3))
    cut = [row["num_cut_tokens"] for row in built.rows if row["num_cut_tokens"]]
    assert len(cut) == 3
    assert all(row["num_tokens"] == 100 for row in built.rows if row["num_cut_tokens"])
    (books,) = built.manifest["books"]
    assert (books["cut"], books["cut_tokens"]) == ({"general": 3}, {"general": sum(cut)})
    said = f"3 rows (25.0%) were cut at build.max_tokens = 100; at least {sum(cut):,} tokens of theirs are not learned"
    assert said in built.said


def test_whole_rows_are_not_spoken_of(tmp_path: Path, build_config: Callable[..., Any]) -> None:
    built = build_config(configured(tmp_path, [{"prompt": "Q", "completion": "A"}], model=True))
    assert built.manifest["books"][0]["cut"] == {}
    assert "max_tokens" not in built.said


def test_weights_that_are_not_applied_are_said(tmp_path: Path, build_config: Callable[..., Any]) -> None:
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A", "weight": 0.5}]
    built = build_config(configured(tmp_path, [{"messages": turns}], model=False))
    assert built.rows[0]["tags"] == ["weight_not_applied"]
    assert built.manifest["books"][0]["counts"] == {"weight_not_applied": 1}
    assert "1 rows have a turn with a weight other than 0 and 1" in built.said


def test_a_prompt_of_many_rows_that_is_held_out_is_said(tmp_path: Path, build_config: Callable[..., Any]) -> None:
    shared = [{"prompt": "Write poem 15.", "completion": f"Poem {n}."} for n in range(40)]  # its digest is below 0.05
    others = [{"prompt": f"Q{n}", "completion": "A"} for n in range(40)]
    built = build_config(configured(tmp_path, shared + others, model=False, validation_fraction=0.05))
    split = {row["split"] for row in built.rows if row["messages"][0]["content"] == "Write poem 15."}
    assert split == {"validation"}
    assert "of 80 rows of general are held out, where build.validation_fraction is 0.05" in built.said
