"""The card declares only what has files."""

from __future__ import annotations

from typing import Any

import yaml

from schemas.dataset import ClassifierRecord, DatasetManifest, Shard, SourceBooks, TokenizerRecord
from schemas.taxonomy import DEFAULT_TAXONOMY
from transforms.dataset_card import dataset_card


def manifest(*shards: tuple[str, str, int, str], tokenized: bool = False) -> DatasetManifest:
    entries = [
        Shard(
            path=f"data/{split}/{domain}/part-{i:05d}-of-00001.parquet",
            split=split,
            domain=domain,
            rows=rows,
            tokens=0,
            loss_tokens=0,
            bytes=1,
            sha256="0",
            licenses=[license_],
        )
        for i, (split, domain, rows, license_) in enumerate(shards)
    ]
    written = sum(shard.rows for shard in entries)
    return DatasetManifest.create(
        name="cards",
        version="1.0",
        created_at="2026-01-01T00:00:00+00:00",
        environment={},
        schema_version=1,
        code_version="0",
        taxonomy=DEFAULT_TAXONOMY,
        classifier=ClassifierRecord(sha256="0", labels=[], confusion=None),
        tokenizer=TokenizerRecord(name="m", sha256="0", chat_template_sha256="0", max_tokens=8) if tokenized else None,
        inputs=[],
        books=[
            SourceBooks(
                source="s", read=written + 3, written={"law": written}, duplicates=2, rejected={"read.not_json": 1}
            )
        ],
        shards=entries,
        rejects=[],
        config={},
    )


def front_matter(card: str) -> dict[str, Any]:
    value = yaml.safe_load(card.split("---\n")[1])
    assert isinstance(value, dict)
    return value


def test_load_configurations_name_only_splits_and_domains_with_files() -> None:
    front = front_matter(
        dataset_card(
            manifest(("train", "law", 900, "MIT"), ("train", "code", 90, "CC0-1.0"), ("validation", "law", 20, "MIT"))
        )
    )
    splits = {entry["config_name"]: [file["split"] for file in entry["data_files"]] for entry in front["configs"]}
    assert splits == {"default": ["train", "validation"], "law": ["train", "validation"], "code": ["train"]}
    assert front["configs"][2]["data_files"] == [{"split": "train", "path": "data/train/code/*.parquet"}]
    assert front["license"] == ["cc0-1.0", "mit"]
    assert front["size_categories"] == ["1K<n<10K"]


def test_a_dataset_without_held_out_rows_has_no_validation_split() -> None:
    front = front_matter(dataset_card(manifest(("train", "law", 5, "MIT"))))
    assert {file["split"] for entry in front["configs"] for file in entry["data_files"]} == {"train"}


def test_the_books_and_the_tokenizer_are_told() -> None:
    card = dataset_card(manifest(("train", "law", 1200, "MIT"), tokenized=True))
    assert "| s | 1,203 | 1,200 | 2 | 1 |" in card
    assert "token ids and loss masks of m" in card
