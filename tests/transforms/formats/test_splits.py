"""Which files of a folder are the training split."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from versatune.transforms.formats.sidecar import stated_splits
from versatune.transforms.formats.splits import ALL, SplitChoice

SHARD = "-00000-of-00001.parquet"


@pytest.mark.parametrize(
    ("paths", "read", "left_out"),
    [
        (["train.jsonl", "test.jsonl", "validation.jsonl"], ["train.jsonl"], "test (1 file), validation (1 file)"),
        (["TRAIN.csv", "Dev.csv.gz"], ["TRAIN.csv"], "validation (1 file)"),
        (["training_data.json", "eval_data.json"], ["training_data.json"], "test (1 file)"),
        (["a-train.json", "a-valid.json", "notes.json"], ["a-train.json", "notes.json"], "validation (1 file)"),
        (["train/a.arrow", "train/b.arrow", "test/a.arrow"], ["train/a.arrow", "train/b.arrow"], "test (1 file)"),
        (["train/a.jsonl", "test.jsonl"], ["train/a.jsonl"], "test (1 file)"),
        (["train1.csv", "train2.csv", "test1.csv"], ["train1.csv", "train2.csv"], "test (1 file)"),
        (["train_full.csv", "test.csv"], ["train_full.csv"], "test (1 file)"),
        (["train_sft.csv", "test_sft.csv", "train_gen.csv"], ["train_sft.csv", "train_gen.csv"], "test (1 file)"),
        (
            [f"data/{name}{SHARD}" for name in ("train", "test", "few_shot")],
            [f"data/train{SHARD}"],
            "few_shot (1 file), test (1 file)",
        ),
        (["en/train.csv", "en/test.csv", "fr/train.csv"], ["en/train.csv", "fr/train.csv"], "test (1 file)"),
        (
            [f"all/train{SHARD}", f"law/test{SHARD}", f"law/dev{SHARD}"],
            [f"all/train{SHARD}"],
            "test (1 file), validation (1 file)",
        ),
        (["en/train.csv", "fr/test.csv"], ["en/train.csv"], "test (1 file)"),
        (["a_train_52k.csv", "a_test_1k.csv", "a_dev.csv"], ["a_train_52k.csv"], "test (1 file), validation (1 file)"),
        (["trainset.csv", "testSet.csv", "valset.csv"], ["trainset.csv"], "test (1 file), validation (1 file)"),
        (["trainData.csv", "testData.csv"], ["trainData.csv"], "test (1 file)"),
        (["train.csv", "heldout.csv", "held_out.csv"], ["train.csv"], "test (2 files)"),
    ],
)
def test_the_training_split_is_read(paths: list[str], read: list[str], left_out: str) -> None:
    choice = SplitChoice(None)
    assert choice.of(paths, {}) == set(read)
    assert choice.listed() == left_out


@pytest.mark.parametrize(
    "paths",
    [
        ["test.jsonl", "dev.jsonl"],
        ["train_schedule.csv", "test_questions.csv"],
        ["a/train.csv", "b/test_cases.csv"],
        ["a/train.csv", "test/b.csv/c.csv", "strainset.csv", "trainsettle.csv"],
        ["strain.csv", "contest.csv"],
        ["pretrain.csv", "posttest.csv"],
        ["train.csv", "train-test.csv"],
        ["train.csv", "other.csv"],
        [f"part{SHARD}", f"more{SHARD}"],
    ],
)
def test_a_word_alone_makes_no_split(paths: list[str]) -> None:
    choice = SplitChoice(None)
    assert choice.of(paths, {}) == set(paths)
    assert choice.listed() == ""


@pytest.mark.parametrize(
    ("paths", "stated", "held_out"),
    [
        (["test.csv"], {}, {"test"}),
        (["a/x.csv", "b/x.csv"], {"a/x.csv": "test", "b/x.csv": "dev"}, {"test", "validation"}),
        (["test.csv", "other.csv"], {}, set()),
        (["a/x.csv"], {"a/x.csv": "english"}, set()),
        (["train.csv", "test.csv"], {}, set()),
    ],
)
def test_splits_that_are_all_held_out_are_told(paths: list[str], stated: dict[str, str], held_out: set[str]) -> None:
    choice = SplitChoice(None)
    choice.of(paths, stated)
    assert choice.held_out == held_out


@pytest.mark.parametrize(
    ("wanted", "read"),
    [
        ("test", ["test.csv"]),
        ("EVAL", ["test.csv"]),
        ("validation", ["dev.csv"]),
        ("train", ["train_sft.csv", "train_gen.csv"]),
        ("train_gen", ["train_gen.csv"]),
        (ALL, ["test.csv", "dev.csv", "train_sft.csv", "train_gen.csv", "notes.csv"]),
    ],
)
def test_a_split_that_is_asked_for(wanted: str, read: list[str]) -> None:
    assert SplitChoice(wanted).of(["test.csv", "dev.csv", "train_sft.csv", "train_gen.csv", "notes.csv"], {}) == set(
        read
    )


def test_a_split_that_is_not_there_is_known_not_to_fit() -> None:
    choice = SplitChoice("test")
    assert not choice.of(["train.csv", "dev.csv"], {})
    assert not choice.fits
    assert choice.listed() == "train (1 file), validation (1 file)"


def test_what_datasets_saved_says_its_splits(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "hidden"]}))
    paths = ["d/train/x.arrow", "d/hidden/x.arrow", "other/hidden/x.arrow"]
    stated = stated_splits(str(tmp_path), paths)
    assert stated == {"d/train/x.arrow": "train", "d/hidden/x.arrow": "hidden"}
    assert SplitChoice(None).of(paths, stated) == {"d/train/x.arrow", "other/hidden/x.arrow"}
    assert SplitChoice("hidden").of(paths, stated) == {"d/hidden/x.arrow"}


def test_splits_of_which_none_is_for_training_are_all_read() -> None:
    stated = {"en/x": "en", "fr/x": "fr"}
    assert SplitChoice(None).of(["en/x", "fr/x"], stated) == {"en/x", "fr/x"}


@pytest.mark.parametrize(
    "files",
    [
        "{train: part1/*.csv, test: [part2/b.csv]}",
        "[{split: train, path: part1/*.csv}, {split: test, path: part2/b.csv}]",
    ],
)
def test_a_card_says_its_splits(tmp_path: Path, files: str) -> None:
    (tmp_path / "README.md").write_text(
        f"---\nconfigs:\n- config_name: default\n  data_files: {files}\n---\n# A card\n"
    )
    paths = ["part1/a.csv", "part2/b.csv", "part2/c.csv"]
    stated = stated_splits(str(tmp_path), paths)
    assert stated == {"part1/a.csv": "train", "part2/b.csv": "test"}
    assert SplitChoice(None).of(paths, stated) == {"part1/a.csv", "part2/c.csv"}


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("*.csv", ["a1.csv", "a2.csv"]),
        ("**/*.csv", ["a1.csv", "a2.csv", "x/b.csv", "x/y/c.csv"]),
        ("x/*", ["x/b.csv"]),
        ("x/**", ["x/b.csv", "x/y/c.csv"]),
        ("{a1,x/b}.csv", ["a1.csv", "x/b.csv"]),
        ("a[!1].csv", ["a2.csv"]),
        ("a?.csv", ["a1.csv", "a2.csv"]),
        ("a[z-a].csv", []),
        ("./a1.csv", ["a1.csv"]),
    ],
)
def test_patterns_of_a_card_are_those_of_a_shell(tmp_path: Path, pattern: str, fits: list[str]) -> None:
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n- data_files: {{train: '{pattern}'}}\n---\n")
    assert [*stated_splits(str(tmp_path), ["a1.csv", "a2.csv", "x/b.csv", "x/y/c.csv"])] == fits


def test_what_one_configuration_of_a_card_holds_out_is_held_out(tmp_path: Path) -> None:
    configs = ["{test: b.csv}", "{train: '*.csv'}"]
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n" + "".join(f"- data_files: {files}\n" for files in configs) + "---\n"
    )
    assert stated_splits(str(tmp_path), ["a.csv", "b.csv"]) == {"b.csv": "test", "a.csv": "train"}
