"""Which version is meant, and what the commands on versions print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from versatune.cli.app import app
from versatune.schemas.errors import DataError, IntegrityError
from versatune.versions.listing import Bucket, bucket_of, find_version, list_versions


@pytest.fixture
def two(make_version: Any, row: Any) -> tuple[Path, Path]:
    first = make_version(rows=[row("A."), row("B.", row=1)], version="1")
    return first, make_version(rows=[row("A."), row("C.", row=1, domain="code")], version="2", parent="0" * 64)


def run(*arguments: Any, code: int = 0) -> Any:
    """Run a command with --json and return what it prints; also without, to see that it can be shown."""
    plain = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert plain.exit_code == code, plain.output
    asked = [str(argument) for argument in arguments] + ["--json"]
    from versatune.cli.terminal import Terminal

    said: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Terminal, "summary", lambda self, title, table, result: said.append(dict(result)))
        assert CliRunner().invoke(app, asked).exit_code == code
    return plain.output, json.loads(json.dumps(said[-1]))


def test_a_version_may_be_given_in_many_ways(two: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = (directory / "manifest.json" for directory in two)
    home = tmp_path / "made"
    config = tmp_path / "my.yaml"
    config.write_text(f"name: made\noutput: {tmp_path}\n")
    assert find_version(two[0]) == find_version(first) == find_version(Path("1"), home) == first
    assert find_version(home) == find_version(config) == find_version(Path("latest"), config) == second
    for where, of, said in [
        (tmp_path / "nowhere", None, "no such version"),
        (Path("3"), home, "has no version '3'; known: '1', '2', 'latest'"),
        (tmp_path, None, "there is no dataset yet"),
    ]:
        with pytest.raises(DataError, match=said):
            find_version(where, of)


def test_ranges_of_ids_are_read_from_names() -> None:
    assert bucket_of("lineage/part-00003-of-00008.parquet") == Bucket(3, 8)
    assert Bucket(3, 8).holds("0" * 28 + "6000")
    assert not Bucket(3, 8).holds("0" * 28 + "8000")
    for name in ("x.parquet", "part-00008-of-00008.parquet", "part-00000-of-00003.parquet"):
        with pytest.raises(IntegrityError, match="expected a name such as"):
            bucket_of(name)


def test_ls_names_versions_marks_the_newest_and_says_what_cannot_be_read(two: tuple[Path, Path]) -> None:
    (two[0].parent / "3").mkdir()
    (two[0].parent / "3" / "manifest.json").write_text("{}")
    shown, found = run("ls", two[0].parent)
    assert [entry.get("version") for entry in found["versions"]] == ["1", "2", None]
    assert [entry["latest"] for entry in found["versions"]] == [False, True, False]
    assert "expected 'versatune/dataset'" in found["versions"][2]["problem"]
    assert "2 *" in shown
    assert "cannot be read" in shown
    assert len(list_versions(two[0].parent.parent)) == 3  # the directory of several datasets


def test_diff_says_what_came_and_went(two: tuple[Path, Path], tmp_path: Path) -> None:
    shown, found = run("diff", "1", "latest", "--of", two[0].parent, "-o", tmp_path / "rows.jsonl")
    assert "1 rows added, 1 removed, 1 in both" in shown
    assert found["rows"]["added_by"] == [{"domain": "code", "source": "one", "rows": 1}]
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 2


def test_trace_rejects_and_verify_speak_for_people_and_programs(story: Any, tmp_path: Path) -> None:
    shown, found = run("trace", story.directory, "--row", story.rows["near"].id[:12])
    assert found["kept_id"] in shown
    shown, found = run("trace", story.directory, "--origin", "raw/two.csv:1")
    assert "2 written, 1 rejected" in shown
    shown, found = run("rejects", story.directory, "--source", "one")
    assert found["rejected"] == 2
    shown, found = run("rejects", story.directory, "-o", tmp_path / "r.jsonl", "--limit", 2)
    assert found["written"] == 2
    shown, found = run("verify", story.directory, "--deep")
    assert found["ok"]
    (story.directory / "stray").write_text("")
    shown, found = run("verify", story.directory, code=1)
    assert "1 problem in" in shown
    assert run("trace", story.directory, code=2)[1]["exit_code"] == 2


def test_inspect_shows_rows_before_and_after_and_tries_a_field_map(tmp_path: Path) -> None:
    file = tmp_path / "odd.jsonl"
    file.write_text('{"ask": "Why? [bold]", "reply": "\\u001b[31mBecause."}\n')
    shown, found = run("inspect", file)
    assert found["examples"] == 0
    assert "[bold]" in shown
    shown, found = run("inspect", file, "--fields", "{prompt: ask, completion: reply}")
    assert found["examples"] == 1
    assert "\x1b[31m" not in shown
    assert "did you mean 'prompt'" in run("inspect", file, "--fields", "{promt: ask}", code=2)[1]["error"]
    assert "no such file" in run("inspect", tmp_path / "nowhere.jsonl", code=2)[1]["error"]


def test_a_build_is_summed_up_with_reasons_counts_benchmarks_and_refused_files(story: Any) -> None:
    from rich.console import Console

    from versatune.cli.summaries import summarize_build

    title, tables, result = summarize_build(story.directory / "manifest.json")
    assert {name: result[name] for name in ("read", "expanded", "written", "duplicates", "near_duplicates", "rejected")} == {
        "read": 9, "expanded": 2, "written": 5, "duplicates": 2, "near_duplicates": 1, "rejected": 3,
    }  # fmt: skip
    assert title.startswith("rejected rows, each with its reason: ")
    assert result["undetermined"]["rows"]["law"] == 1
    assert result["undetermined"]["shares"] == {
        "law": 1.0, "medicine": 0.0, "finance": 0.0, "science": None, "code": None, "general": None
    }  # fmt: skip
    assert (result["benchmarks"], result["refused"]) == ({"arc": 1}, ["raw/broken.parquet: damaged; give another"])
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(tables)
    shown = console.export_text()
    assert all(word in shown for word in ("near", "read.not_json", "pii.email", "arc", "undetermined"))
