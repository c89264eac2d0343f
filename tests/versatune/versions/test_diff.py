"""Two versions compared range by range say what a comparison of whole sets says."""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.progress import Silence
from versatune.versions import diff as module
from versatune.versions.diff import ASPECTS, RowChanges, diff_manifests, diff_rows


def side(directory: Path) -> tuple[Path, DatasetManifest]:
    return directory, DatasetManifest.load(directory / "manifest.json")


def compare(before: Path, after: Path, listing: io.BytesIO | None = None) -> RowChanges:
    return diff_rows(side(before), side(after), Silence(), listing)


def everything(directory: Path) -> dict[str, dict[str, str]]:
    """Read a whole version: id to what may differ."""
    found = {}
    for shard in side(directory)[1].shards:
        for row in pq.read_table(directory / shard.path, partitioning=None).to_pylist():
            assert row["id"] not in found
            found[row["id"]] = {**{name: row[name] for name in ASPECTS if name != "split"}, "split": shard.split}
    return found


def brute_force(before: Path, after: Path) -> tuple[dict[str, Any], set[str]]:
    old, new = everything(before), everything(after)
    common = old.keys() & new.keys()
    changed = {
        name: Counter((old[i][name], new[i][name]) for i in common if old[i][name] != new[i][name]) for name in ASPECTS
    }
    expected = {
        "common": len(common),
        "unchanged": sum(old[i] == new[i] for i in common),
        "added": Counter((new[i]["domain"], new[i]["source"]) for i in new.keys() - old.keys()),
        "removed": Counter((old[i]["domain"], old[i]["source"]) for i in old.keys() - new.keys()),
        "changed": changed,
    }
    return expected, (old.keys() ^ new.keys()) | {i for i in common if old[i] != new[i]}


def random_version(make_version: Any, row: Any, seed: int, version: str, shard_bytes: int, fraction: float) -> Path:
    chance = random.Random(seed)
    sources = ["one", "two", "three"]
    picked = [(text, chance.choice(sources)) for text in range(150) if chance.random() < 0.7]
    at: Counter[str] = Counter()
    rows = []
    for text, source in picked:
        domain = "law" if chance.random() < 0.6 else "code"
        rows.append(row(f"Text {text}.", source=source, uri=f"{source}.jsonl", row=at[source], domain=domain))
        at[source] += 1
    licenses = {"two": chance.choice(["MIT", "CC0-1.0"])}
    return make_version(rows=rows, version=version, shard_bytes=shard_bytes, fraction=fraction, licenses=licenses)


@pytest.mark.parametrize("seed", range(6))
def test_random_versions_differ_as_sets_say(make_version: Any, row: Any, seed: int) -> None:
    sizes = [(700, 2000), (2000, 700), (1000, 1000), (2**20, 500), (500, 2**20), (300, 300)][seed]
    before = random_version(make_version, row, 2 * seed, "1", sizes[0], 0.2)
    after = random_version(make_version, row, 2 * seed + 1, "2", sizes[1], 0.2 if seed % 2 else 0.5)
    listing = io.BytesIO()
    changes = compare(before, after, listing)
    expected, listed = brute_force(before, after)
    assert {name: getattr(changes, name) for name in expected} == expected
    assert sum(changes.changed["domain"].values()) > 0, "a comparison that finds nothing proves nothing"
    lines = [json.loads(line) for line in listing.getvalue().splitlines()]
    assert sorted(line["id"] for line in lines) == sorted(listed)
    old, new = everything(before), everything(after)
    assert all((line["before"], line["after"]) == (old.get(line["id"]), new.get(line["id"])) for line in lines)


def test_shards_that_are_the_same_file_are_not_opened(
    make_version: Any, row: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row(f"Text {at}.", row=at) for at in range(60)]
    before = make_version(rows=rows, version="1", shard_bytes=500)
    after = make_version(rows=[*rows, row("One more.", row=60)], version="2", shard_bytes=500)
    opened: list[str] = []
    read = pq.read_table
    monkeypatch.setattr(module.pq, "read_table", lambda path, **options: opened.append(path) or read(path, **options))
    changes = compare(before, after)
    assert (sum(changes.added.values()), sum(changes.removed.values()), changes.unchanged) == (1, 0, 60)
    assert changes.shards_unchanged == len(side(before)[1].shards) - (len(opened) - 1) > 5
    assert len(opened) <= 2


def test_a_version_and_itself_and_one_without_rows_of_a_side(make_version: Any, row: Any) -> None:
    only = make_version(rows=[row("A."), row("B.", row=1)], version="1")
    assert compare(only, only) == RowChanges(common=2, unchanged=2, shards_unchanged=len(side(only)[1].shards))


def test_manifests_differ_key_by_key(make_version: Any, row: Any) -> None:
    sources = [{"name": "one", "domain": None}, {"name": "two", "domain": "law"}]
    before = make_version(
        rows=[row("A.")], version="1", config={"sources": sources, "max_tokens": 9}, licenses={"one": "MIT"}
    )
    after = make_version(
        rows=[row("A."), row("B.", row=1, domain="code")],
        version="2",
        config={"sources": [{"name": "one", "domain": "code"}], "max_tokens": 9},
        licenses={"one": "CC0-1.0"},
        tokenized=True,
        fraction=0.0,
    )
    found = diff_manifests(side(before)[1], side(after)[1])
    assert found["config"] == {
        "build.sources.one.domain": [None, "code"],
        "build.sources.two.domain": ["law", None],
        "build.validation_fraction": [0.2, 0.0],
    }
    assert found["made_with"]["tokenizer.name"] == [None, "tok"]
    assert found["licenses"] == {"added": ["CC0-1.0"], "removed": ["MIT"]}
    assert found["books"]["one"]["written"] == [1, 2]
    assert found["weights"]["rows"]["code"][1] == 0.5
    assert found["weights"]["tokens"]["law"] == [None, 0.5]
