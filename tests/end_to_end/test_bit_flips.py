"""One bit flipped in every file of a finished run, one file after another: verify names it, or the documentation says that it does not."""

from __future__ import annotations

import shutil
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from benchmarks import bit_flips
from benchmarks.bit_flips import NOT_COVERED, document_of, files_of, is_covered, is_found, kind_of, problems_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(finished: Path, tmp_path: Path) -> Path:
    """A copy of the outputs."""
    shutil.copytree(finished.parent / "out", tmp_path / "out")
    return tmp_path / "out" / "quickstart"


def some_bits(file: Path, number: int) -> set[int]:
    """Return one bit near the beginning, one in the middle, one at the end."""
    bits = 8 * file.stat().st_size
    return {number * 7919 % bits, bits // 2 + number % 8, bits - 1 - number % 8}


def test_a_flipped_bit_in_any_file_is_named_or_the_file_is_documented(home: Path) -> None:
    files = [file for file in files_of(home) if is_covered(str(file.relative_to(home)))]
    kinds = {kind_of(str(file.relative_to(home))) for file in files}
    assert kinds >= {
        "latest.json", "*/manifest.json", "*/data/train/law/part-*", "*/lineage/part-*", "*/rejects/part-*",
        "*/near_duplicates.parquet", "probe/latest.json", "probe/*/probe.json", "probe/*/generations.parquet",
        "mixture/latest.json", "mixture/*/mixture.json", "runs/latest.json", "runs/*/run.json", "runs/*/export.json",
        "runs/*/metrics.jsonl", "runs/*/weights.jsonl", "runs/*/references.json", "runs/*/model/model.safetensors",
        "runs/*/model/config.json", "runs/*/adapter/adapter_model.safetensors", "runs/*/checkpoints/*/state.json",
        "runs/*/checkpoints/*/model.safetensors", "runs/*/checkpoints/*/optimizer.safetensors",
    }, kinds  # fmt: skip
    for document in {document_of(file, home) for file in files}:
        assert problems_of(document) == []
    assert [
        (file, bit)
        for number, file in enumerate(files)
        for bit in some_bits(file, number)
        if not is_found(file, home, bit)
    ] == []
    for document in {document_of(file, home) for file in files}:
        assert problems_of(document) == [], "every bit was put back"


def test_what_is_not_covered_stands_in_the_documentation(home: Path) -> None:
    page = (ROOT / "docs" / "versions.md").read_text()
    names = [str(file.relative_to(home)) for file in files_of(home)]
    for pattern in NOT_COVERED:
        assert f"`{pattern}`" in page, pattern
        assert pattern.startswith(("labels/", "rejected/")) or any(fnmatch(name, pattern) for name in names), pattern


def test_the_benchmark_counts_and_leaves_everything_as_it_was(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file: file.read_bytes() for file in files_of(home)}
    monkeypatch.setattr(sys, "argv", ["bit_flips.py", str(home), "--flips", "12"])
    with pytest.raises(SystemExit) as ended:
        bit_flips.main()
    said = capsys.readouterr().out
    assert ended.value.code == 0, said
    assert "flips                    12" in said
    assert {file: file.read_bytes() for file in files_of(home)} == before
    monkeypatch.setattr(sys, "argv", ["bit_flips.py", str(home)])
    next(home.glob("*/manifest.json")).write_text("{")
    with pytest.raises(SystemExit, match="does not verify as it is"):
        bit_flips.main()
