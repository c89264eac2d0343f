"""What a version says of itself, held against the raw rows it was made from; and each of these tests seen to fail where it must."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow.dataset as ds
import pytest

from versatune.pipelines.build import run
from versatune.schemas.config import Config, load_config
from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.errors import DataError
from versatune.schemas.progress import Silence
from versatune.versions.diff import diff_rows
from versatune.versions.rejects import Wanted, export_rejects
from versatune.versions.trace import trace_origin, trace_row

Row = dict[str, Any]
WORDS = "court fever bond cell list story tenant patient yield enzyme loop garden judge nurse index orbit".split()  # noqa: SIM905


def said(number: int) -> str:
    """Return a text of its own for each number."""
    return " ".join(WORDS[(number * step + step) % len(WORDS)] for step in range(1, 30)) + f" {number}."


def raw_rows() -> list[Row]:
    """Rows of which some say the same, some say nothing, and one is an article with two questions."""
    rows: list[Row] = [{"instruction": f"Say {number}.", "output": said(number)} for number in range(60)]
    rows += [rows[3], rows[3], {"prompt": "Say 4.", "completion": said(4)}]  # of another shape, of the same content
    rows += [{"instruction": "Say nothing.", "output": " "}, {"instruction": "Say more."}]
    questions = [{"question": f"Why {number}?", "answers": [{"text": "Because."}]} for number in range(2)]
    rows.append({"paragraphs": [{"context": said(90), "qas": questions}]})
    return rows


def id_of(prompt: str, answer: str) -> str:
    """Name a conversation as the data contract says, without versatune's code."""
    asked, whole = [["user", prompt]], [["user", prompt], ["assistant", answer]]
    return _digest(asked, 4) + _digest(whole, 12)


def _digest(turns: list[list[str]], size: int) -> str:
    return hashlib.blake2b(orjson.dumps(turns), digest_size=size).hexdigest()


def expected_ids(row: Row) -> list[str] | None:
    """Return the ids of a raw row's examples; None for a row that has to be rejected."""
    if "paragraphs" in row:
        (paragraph,) = row["paragraphs"]
        asked = [f"{paragraph['context']}\n\n{question['question']}" for question in paragraph["qas"]]
        return [id_of(prompt, "Because.") for prompt in asked]
    prompt, answer = row.get("instruction", row.get("prompt")), row.get("output", row.get("completion", ""))
    return [id_of(prompt, answer)] if answer.strip() else None


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Config]:
    """Return a function that writes rows as two files and configures a build of them in small parts."""

    def make(rows: list[Row], license_: str = "MIT", **build: Any) -> Config:
        folder = tmp_path / "raw"
        folder.mkdir(exist_ok=True)
        for name, part in (("a", rows[:40]), ("b", rows[40:])):
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
        sources = [{"name": "mine", "files": ["raw/*.jsonl"], "license": license_}]
        settings = {"tokenize": False, "workers": 1, "part_bytes": 1500, "shard_bytes": 4000, **build}
        value = {"name": "small", "output": "out", "sources": sources, "build": settings}
        (tmp_path / "config.json").write_text(json.dumps(value))
        return load_config(tmp_path / "config.json")

    return make


def build(config: Config, **arguments: Any) -> Path:
    return run(config, progress=Silence(), **arguments)


def origins(rows: list[Row]) -> Iterator[tuple[str, Row]]:
    for number, row in enumerate(rows):
        yield (f"raw/a.jsonl:{number}" if number < 40 else f"raw/b.jsonl:{number - 40}"), row


def assert_every_row_is_traced(file: Path, rows: list[Row]) -> None:
    """Trace each raw row, and from each id back to all the rows that say it."""
    sayers: dict[str, set[str]] = {}
    for origin, row in origins(rows):
        ids = expected_ids(row)
        items = trace_origin(file, origin)["items"]
        if ids is None:
            assert [item["fate"] for item in items] == ["rejected"], origin
            continue
        assert [item["id"] for item in items] == ids, origin
        for name in ids:
            sayers.setdefault(name, set()).add(origin)
    for name, expected in sayers.items():
        found = trace_row(file, name)
        assert {f"{origin['uri']}:{origin['row']}" for origin in found["origins"]} == expected
        assert [origin["fate"] for origin in found["origins"]].count("written") == 1


def test_every_row_is_traced_both_ways(make: Any) -> None:
    assert_every_row_is_traced(build(make(raw_rows())), raw_rows())


def test_a_lineage_that_counts_rows_wrongly_is_seen(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from versatune.transforms.shards import plan_shards

    places = plan_shards._places
    monkeypatch.setattr(
        plan_shards,
        "_places",
        lambda records: {key: place._replace(first_row=0) for key, place in places(records).items()},
    )
    with pytest.raises(Exception):  # noqa: B017  # rows are not found, or others than expected
        assert_every_row_is_traced(build(make(raw_rows())), raw_rows())


def contents(file: Path) -> dict[str, str]:
    table = ds.dataset(str(file.parent / "data"), format="parquet").to_table(columns=["id", "domain"])
    return dict(zip(table["id"].to_pylist(), table["domain"].to_pylist(), strict=True))


def assert_diff_is_that_of_the_rows(one: Path, other: Path) -> None:
    """Compare two versions id by id, and hold what `diff` says against it."""
    before, after = contents(one), contents(other)
    left, right = ((file.parent, DatasetManifest.load(file)) for file in (one, other))
    changes = diff_rows(left, right, Silence())
    assert sum(changes.added.values()) == len(after.keys() - before.keys()) > 0
    assert sum(changes.removed.values()) == len(before.keys() - after.keys()) > 0
    relabelled = [name for name in before.keys() & after.keys() if before[name] != after[name]]
    assert sum(changes.changed["domain"].values()) == len(relabelled)


def two_versions(make: Any) -> tuple[Path, Path]:
    rows = raw_rows()
    one = build(make(rows, version="1.0"))
    changed = [
        {**row, "output": said(200 + at)} if at % 7 == 0 and "output" in row else row for at, row in enumerate(rows)
    ]
    return one, build(make(changed, version="2.0", shard_bytes=9000))


def test_a_diff_is_that_of_the_rows(make: Any) -> None:
    assert_diff_is_that_of_the_rows(*two_versions(make))


def test_a_diff_that_overlooks_rows_is_seen(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = two_versions(make)
    monkeypatch.setattr("versatune.versions.diff._compare", lambda *_: None)
    with pytest.raises(AssertionError):
        assert_diff_is_that_of_the_rows(*versions)


def assert_nothing_is_emitted(config: Config) -> None:
    with pytest.raises(DataError, match=r"CC-BY-NC-4\.0: source 'mine' \(66 rows read\); in \d+ shards of 62 rows"):
        build(config)
    assert not list(Path(config.home).rglob("manifest.json"))
    assert not list(Path(config.home).glob("*/data"))
    assert not list(Path(config.home).rglob("*.parquet"))  # nor the rejected rows, whose licence it is too


def test_a_forbidden_licence_stops_emission_and_names_sources_shards_and_rows(make: Any) -> None:
    assert_nothing_is_emitted(make(raw_rows(), "CC-BY-NC-4.0", licenses={"deny": ["*-NC-*"]}))


def test_a_gate_that_lets_everything_pass_is_seen(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("versatune.schemas.licenses.is_allowed", lambda *_: True)
    with pytest.raises(pytest.fail.Exception):
        assert_nothing_is_emitted(make(raw_rows(), "CC-BY-NC-4.0", licenses={"deny": ["*-NC-*"]}))


def test_mended_rejects_make_a_child_version(make: Any, tmp_path: Path) -> None:
    config = make(raw_rows())
    parent = DatasetManifest.load(build(config))
    mended = tmp_path / "mended.jsonl"
    folder = Path(config.home) / parent.version
    export_rejects(folder, parent, Wanted(), mended, None, Silence())
    lines = [json.loads(line) for line in mended.read_text().splitlines()]
    assert [line["reason"] for line in lines] == ["empty_answer", "missing_answer"]
    lines[0]["payload"]["output"] = "Now it says something."
    mended.write_text("".join(json.dumps(line) + "\n" for line in lines))
    child = DatasetManifest.load(build(config, repairs=mended))
    assert child.parent == parent.digest
    assert child.repairs is not None
    assert (child.repairs.rows, child.repairs.used) == (1, 1)
    (before,), (after,) = parent.books, child.books
    assert sum(after.written.values()) == sum(before.written.values()) + 1
    assert after.rejected == {"normalize.missing_answer": 1}
    assert after.read == before.read
