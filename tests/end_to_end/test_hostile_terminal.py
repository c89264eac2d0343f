"""Names and rows that would steer a terminal, or turn its text around, show as what they are, in every command that prints them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "FORCE_COLOR": "1", "COLUMNS": "300"}
HOSTILE = "<img src=x onerror=alert(1)>[c](javascript:alert(1))\x1b[2J\x1b]0;title\x07\u202e\u200b\x9b2J"
NAME = "a\x1b[2J\u202e<b>\x07"
COLOURS = re.compile(r"\x1b\[(?:[0-9;]*m|2K|\d*A|\?25[lh])|\r")  # and what a bar is drawn with


def prepared(folder: Path) -> None:
    (folder / "raw").mkdir()
    rows = [
        {
            "id": HOSTILE,
            "prompt": f"{n} {HOSTILE}",
            "completion": f"answer {n} {HOSTILE} {'w' * 100_000}",
            HOSTILE: HOSTILE,
        }
        for n in range(9)
    ]
    lines = [*map(json.dumps, rows), "{" + HOSTILE, json.dumps({HOSTILE: 1, "\x1b[31mx": "a text"})]
    (folder / "raw" / f"{NAME}.jsonl").write_text("\n".join(lines))
    (folder / "raw" / f"{NAME}.csv").write_text("prompt,\x1b[2Jred\x07\n" + f"why {HOSTILE},x\n" * 5)
    (folder / "raw" / f"{NAME}.pdf").write_bytes(b"%PDF-1.4")
    build = {"tokenize": False, "workers": 1, "max_rejected_fraction": 1.0, "on_refused_file": "skip"}
    sources = [{"name": "s", "files": ["raw"], "license": f"MIT {HOSTILE}"}]
    (folder / "c.json").write_text(json.dumps({"name": "t", "output": "out", "sources": sources, "build": build}))


def said(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "versatune", *arguments]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 2), done.stderr
    return done.stdout + done.stderr


def test_nothing_that_steers_a_terminal_reaches_it(tmp_path: Path) -> None:
    prepared(tmp_path)
    texts = {"inspect": said(tmp_path, "inspect", "raw"), "build": said(tmp_path, "build", "c.json")}
    [version] = (tmp_path / "out" / "t").glob("2*")
    row = pq.read_table(next(version.glob("data/*/*/*.parquet")))["id"][0].as_py()
    texts["rejects"] = said(tmp_path, "rejects", str(version))
    texts["trace"] = said(tmp_path, "trace", str(version), "--row", row)
    texts["verify"] = said(tmp_path, "verify", str(version))
    texts["check"] = said(tmp_path, "check", "c.json")
    for command, text in texts.items():
        left = {char for char in COLOURS.sub("", text) if not char.isprintable()} - set("\n\t")
        assert not left, (command, left)
    assert "\ufffd" in texts["trace"]
    card = (version / "README.md").read_text()
    assert all(char.isprintable() or char == "\n" for char in card)
    assert "<img" not in card.split("---\n", 2)[2].replace("\\<", "")
