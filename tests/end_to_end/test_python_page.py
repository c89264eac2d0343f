"""docs/python.md is one program: it is run as it stands there, on a tiny model, with the real engines."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "python.md"
ENVIRONMENT = os.environ | ({} if sys.flags.isolated else {"PYTHONPATH": str(ROOT)})  # the checkout, from any folder


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory, quickstart: dict[str, Any]) -> list[str]:
    """What the page's program prints, in a folder that holds my.yaml: the quickstart, made small."""
    folder = tmp_path_factory.mktemp("page")
    config = copy.deepcopy(quickstart)
    config["probe"] = {"samples": 32, "max_new_tokens": 32}
    config["mix"] |= {"segments": 1, "budget": 8}
    config["train"]["reference"] |= {"max_rows": 4}
    (folder / "my.yaml").write_text(yaml.safe_dump(config))
    (folder / "random.py").write_text("raise SystemError('a file beside the user was imported by mistake')\n")
    program = folder / "page.py"
    program.write_text("\n".join(re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)))
    done = subprocess.run(
        [sys.executable, "-P", program], capture_output=True, text=True, check=False, cwd=folder, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "WARNING" not in done.stderr  # Beam's remarks about what is not installed
    return done.stdout.splitlines()


def test_the_build_tells_its_books(printed: list[str]) -> None:
    books = [re.fullmatch(r"(\w+) (\d+) rows read, (\d+) written (.*)", line) for line in printed]
    assert sum(int(match[2]) for match in books if match) == 353
    assert sum(int(match[3]) for match in books if match) == 338


def test_the_examples_are_read(printed: list[str]) -> None:
    assert any(re.fullmatch(r"law: [1-9]\d* tokens to train on", line) for line in printed)
    assert any(re.fullmatch(r"[1-9]\d* examples are held out", line) for line in printed)


def test_the_probe_has_a_share_with_an_interval_for_every_domain(printed: list[str]) -> None:
    shares = [re.fullmatch(r"(\w+): (\d\.\d+) \[(\d\.\d+), (\d\.\d+)\]", line) for line in printed]
    found = {match[1]: float(match[2]) for match in shares if match}
    assert list(found) == ["law", "medicine", "finance", "science", "code", "general"]
    assert sum(found.values()) == pytest.approx(1.0, abs=0.005)


def test_the_trained_model_is_where_the_page_says(printed: list[str]) -> None:
    (model,) = [line.removeprefix("trained model: ") for line in printed if line.startswith("trained model: ")]
    assert (Path(model) / "model.safetensors").is_file()


def test_a_wrong_key_is_told(printed: list[str]) -> None:
    assert any("unknown key 'build.worker'; did you mean 'workers'?" in line for line in printed)


def test_progress_is_heard_task_by_task(printed: list[str]) -> None:
    done = [line for line in printed if line.endswith(": done")]
    assert done == ["read, classify and tokenize: done", "write shards: done"]
