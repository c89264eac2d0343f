"""Rows without a domain that can be relied on, through the real build: marked, counted, or rejected and repaired."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from versatune.pipelines.build import run
from versatune.schemas.config import ClassifierConfig, Config
from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.progress import Silence
from versatune.transforms.classifier.fasttext_classifier import bundled_model
from versatune.versions.rejects import Wanted, export_rejects
from versatune.versions.verify import verify

# A text without a word has 1/6 for each of six domains, whatever the model; what the model knows has more than this.
THRESHOLD = 0.17
UNSEEN = {
    "of_sources": True,
    "confusion": [[int(i == j) for j in range(6)] for i in range(6)],
    "precision_determined": 0.93,
    "ece": 0.04,
}
REASON = "classify.undetermined_domain"


@pytest.fixture
def config(make_config: Any, tmp_path: Path) -> Config:
    """A build of rows without words, of which some are pinned, and of rows about medicine, with a card of the test's own."""
    model = Path(shutil.copy(bundled_model(), tmp_path / "mine.ftz"))
    card = json.loads(bundled_model().with_suffix(".json").read_text())
    model.with_suffix(".json").write_text(json.dumps(card | {"undetermined_below": THRESHOLD, "unseen": UNSEEN}))
    for name, numbers in {"sums": [1, 2, 3, 3], "pinned": [11, 12]}.items():
        rows = ({"instruction": f"{i}?", "output": f"{i}."} for i in numbers)
        (tmp_path / "raw" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = [
        {"name": "mixed", "files": ["raw/sums.jsonl", "raw/medicine.json.gz"]},
        {"name": "pinned", "files": ["raw/pinned.jsonl"], "domain": "law"},
    ]
    return make_config(sources=sources).model_copy(update={"classifier": ClassifierConfig(path=str(model))})


def rejecting(config: Config) -> Config:
    return config.model_copy(update={"classifier": config.classifier.model_copy(update={"undetermined": "reject"})})


def build(config: Config, **settings: Any) -> tuple[Path, DatasetManifest]:
    path = run(config, progress=Silence(), **settings)
    assert verify(path, Silence(), deep=True)[1] == []
    return path.parent, DatasetManifest.load(path)


def flagged(folder: Path) -> list[tuple[str, str]]:
    """Return (source, content of the first turn) of the rows that are marked in the shards."""
    return sorted(
        (row["source"], row["messages"][0]["content"])
        for file in folder.glob("data/*/*/*.parquet")
        for row in pq.read_table(file, partitioning=None).to_pylist()
        if row["undetermined"]
    )


def test_undetermined_rows_are_marked_and_counted_and_pinned_ones_never_are(config: Config) -> None:
    folder, manifest = build(config)
    assert flagged(folder) == [("mixed", "1?"), ("mixed", "2?"), ("mixed", "3?")]
    assert {book.source: book.undetermined for book in manifest.books} == {"mixed": {"law": 3}, "pinned": {}}
    law = sum(book.written.get("law", 0) for book in manifest.books)
    assert (manifest.undetermined_rows["law"], manifest.undetermined_shares["law"]) == (3, 3 / law)


def test_the_manifest_says_what_the_card_measured_on_sources_the_model_never_saw(config: Config) -> None:
    record = build(config)[1].classifier
    assert record.undetermined_below == THRESHOLD
    assert record.confusion == UNSEEN["confusion"]
    assert (record.precision_determined, record.unseen_ece) == (0.93, 0.04)
    model = Path(str(config.classifier.path))
    model.with_suffix(".json").unlink()
    bare = build(config)[1].classifier
    assert (bare.confusion, bare.precision_determined, bare.unseen_ece) == (None, None, None)


def test_errors_on_held_out_rows_of_known_sources_are_not_passed_on_as_errors_on_unseen_ones(config: Config) -> None:
    card = Path(str(config.classifier.path)).with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | {"unseen": UNSEEN | {"of_sources": False}}))
    record = build(config)[1].classifier
    assert (record.confusion, record.precision_determined, record.unseen_ece) == (None, None, None)


def test_undetermined_rows_are_rejected_where_that_is_wanted(config: Config) -> None:
    folder, manifest = build(rejecting(config))
    books = {book.source: book for book in manifest.books}
    assert (books["mixed"].rejected, books["pinned"].rejected) == ({REASON: 4}, {})
    assert (books["mixed"].undetermined, flagged(folder)) == ({}, [])
    assert sum(books["pinned"].written.values()) == 2
    rejects = [row for entry in manifest.rejects for row in pq.read_table(folder / entry.path).to_pylist()]
    assert [row["origin"]["row"] for row in rejects] == [0, 1, 2, 3]
    assert manifest.config["classifier"] == {"undetermined": "reject"}


def test_a_rejected_undetermined_row_can_be_mended_and_given_back(config: Config, tmp_path: Path) -> None:
    folder, manifest = build(rejecting(config))
    file = tmp_path / "repairs.jsonl"
    stage, _, reason = REASON.partition(".")
    assert export_rejects(folder, manifest, Wanted(stage=stage, reason=reason), file, None, Silence()) == 4
    first, *others = map(orjson.loads, file.read_bytes().splitlines())
    first["payload"]["messages"][1]["content"] = "The physician prescribes an antibiotic against the patient's fever."
    file.write_bytes(b"\n".join(map(orjson.dumps, [first, *others])))
    _, child = build(rejecting(config), repairs=file)
    assert child.repairs is not None
    assert (child.repairs.used, child.books[0].rejected) == (1, {REASON: 3})
    assert child.parent == manifest.digest
