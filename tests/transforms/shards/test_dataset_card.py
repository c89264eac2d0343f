"""The card declares only what has files, and shows names as they are."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.records import TEMPLATE
from versatune.schemas.dataset import (
    BenchmarkRecord,
    ClassifierRecord,
    DatasetManifest,
    DecontaminationRecord,
    InputFile,
    Shard,
    SourceBooks,
    TokenizerRecord,
)
from versatune.schemas.taxonomy import DEFAULT_TAXONOMY
from versatune.transforms.shards.dataset_card import dataset_card, front_matter, text


def manifest(*shards: tuple[str, str, int, str], tokenized: bool = False, **changes: Any) -> DatasetManifest:
    entries = [
        Shard(
            path=f"data/{split}/{domain}/part-{i:05d}-of-00001.parquet", split=split, domain=domain, rows=rows, tokens=0,
            loss_tokens=0, bytes=1, sha256="0", licenses=[license_],
        )
        for i, (split, domain, rows, license_) in enumerate(shards)
    ]  # fmt: skip
    written = sum(shard.rows for shard in entries)
    fields: dict[str, Any] = {
        "name": "cards", "version": "1.0", "created_at": "2026-01-01T00:00:00+00:00", "environment": {}, "parent": None,
        "schema_version": 3, "code_version": "0", "taxonomy": DEFAULT_TAXONOMY,
        "classifier": ClassifierRecord(
            sha256="0", labels=[], undetermined_below=0.4, confusion=None, precision_determined=None, unseen_ece=None
        ),
        "tokenizer": TokenizerRecord(name="m", sha256="0", chat_template_sha256="0", max_tokens=8, template=TEMPLATE) if tokenized else None,
        "inputs": [
            InputFile(source="s", uri=f"{name}.json", bytes=1, sha256="0", rows=1, license=name, refused="")
            for name in sorted({license_ for *_, license_ in shards})
        ],
        "books": [
            SourceBooks(
                source="s", read=written + 3, expanded=2, written={"law": written}, duplicates={"law": 2},
                near_duplicates={"law": 2}, undetermined={}, rejected={"read.not_json": 1},
                counts={"pii.email": 4, "decontaminate.arc": 1},
            )
        ],
        "fields": [], "shards": entries, "near_duplicates": None, "decontamination": None, "repairs": None, "rejects": [], "lineage": [],
        "config": {},
    }  # fmt: skip
    return DatasetManifest.create(**(fields | changes))


def parsed(card: str) -> dict[str, Any]:
    value = yaml.safe_load(re.split(r"^---\n", card, flags=re.MULTILINE)[1])
    assert isinstance(value, dict)
    return value


def test_load_configurations_name_only_splits_and_domains_with_files() -> None:
    front = parsed(
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
    front = parsed(dataset_card(manifest(("train", "law", 5, "MIT"))))
    assert {file["split"] for entry in front["configs"] for file in entry["data_files"]} == {"train"}


def test_the_books_the_counts_and_the_tokenizer_are_told() -> None:
    card = dataset_card(manifest(("train", "law", 1200, "MIT"), tokenized=True))
    assert "| s | 1,203 | 2 | 1,200 | 2 | 2 | 1 |" in card
    assert "| read.not_json | 1 |" in card
    assert "| pii.email | 4 |" in card
    assert "token ids and loss masks of m" in card
    assert "Decontamination" not in card
    assert "decontaminate.arc" not in card


def test_benchmarks_have_a_table_of_their_own() -> None:
    looked_for = DecontaminationRecord(
        digest="0", benchmarks=[BenchmarkRecord(name="arc", items=1200, too_short=3, hits=1)]
    )
    assert "| arc | 1,200 | 3 | 1 |" in dataset_card(manifest(("train", "law", 5, "MIT"), decontamination=looked_for))


def test_a_licence_is_text_and_neither_markup_nor_yaml() -> None:
    odd = "CC BY: *see* <script>|x| [terms](u)\n---\n- no ---"
    made = manifest(("train", "law", 5, odd), ("train", "code", 5, "yes"))
    card = dataset_card(made)
    assert parsed(card)["license"] == sorted([" ".join(odd.lower().split()), "yes"]) == front_matter(made)["license"]
    assert r"CC BY: \*see\* \<script\>\|x\| \[terms\]\(u\) --- - no ---, yes" in card
    assert "<script>" not in re.split(r"^---\n", card, maxsplit=2, flags=re.MULTILINE)[2]


def test_an_underscore_within_a_word_stays_readable() -> None:
    assert text("not_json _x_ `a`") == r"not_json \_x\_ \`a\`"
