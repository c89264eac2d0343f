"""What a process that we start finds: what this one finds, with the working directory never in front."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from versatune.transforms.transport.python_path import first_lines


class Text(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return f"Text({super().__repr__()})"


def found(folder: Path) -> list[str]:
    program = f"{first_lines()}import json\nprint(json.dumps(sys.path))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=folder)
    return json.loads(done.stdout)


def test_absolute_places_keep_their_order_and_relative_ones_come_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [*sys.path]
    monkeypatch.chdir(tmp_path)
    odd = str(tmp_path / 'it\'s {odd} "and"\n$HOME')
    monkeypatch.setattr(sys, "path", ["", "lib", odd, *before, Text("/text"), Path("/path"), b"/bytes"])
    absolute = [place for place in before if place.startswith("/")]
    expected = list(dict.fromkeys([odd, *absolute, "/text", str(tmp_path), str(tmp_path / "lib")]))
    assert found(Path("/"))[: len(expected)] == expected


def test_our_own_code_is_found_also_where_it_was_imported_from_a_place_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [place for place in sys.path if not (Path(place) / "versatune").is_dir()])
    program = f"{first_lines()}import versatune\nprint('found')"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False, cwd="/")
    assert (done.stdout, done.returncode) == ("found\n", 0), done.stderr
