"""Domains of one's own, from labelled rows to a dataset by domain, through the command line; and what it says to bad input."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from versatune.pipelines.label import _line, _packed
from versatune.schemas.dataset import DatasetManifest
from versatune.transforms.labelling.label_rows import LabelRow

PYTHON = [sys.executable, *(["-I"] if sys.flags.isolated else [])]
ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | ({} if sys.flags.isolated else {"PYTHONPATH": str(ROOT)})  # the checkout, from any folder
DOMAINS = ["cooking", "sport", "travel"]
MODEL = "outputs/topics-classifier/domains.ftz"
TRAIN = ("classifier", "train", "classifier/topics.yaml", "--set", "search.trials=0")
Spoil = Callable[[Path], None]


def _versatune(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PYTHON, "-m", "versatune", *arguments, "--json"],
        capture_output=True, text=True, check=False, cwd=folder, env=ENVIRONMENT,
    )  # fmt: skip


def _result(folder: Path, *arguments: str) -> dict[str, Any]:
    done = _versatune(folder, *arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _copy(folder: Path) -> Path:
    shutil.copytree(ROOT / "examples" / "classifier", folder / "classifier")
    return folder


def _files(folder: Path) -> set[str]:
    """Return every file below ``outputs``; lock files come and go."""
    return {str(file.relative_to(folder)) for file in (folder / "outputs").rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example to work in."""
    return _copy(tmp_path_factory.mktemp("example"))


@pytest.fixture(scope="module")
def trained(example: Path) -> dict[str, Any]:
    """What training says, with the search that the example asks for."""
    return _result(example, "classifier", "train", "classifier/topics.yaml")


@pytest.fixture
def work(example: Path, trained: dict[str, Any], tmp_path: Path) -> Path:
    """A copy with a trained classifier, to spoil."""
    return Path(shutil.copytree(example, tmp_path / "copy"))


def test_the_example_trains_and_knows_sources_that_it_has_not_seen(example: Path, trained: dict[str, Any]) -> None:
    assert trained["model"] == str(example / MODEL)
    assert trained["unseen"]["rows"] == 120
    assert trained["unseen"]["accuracy"] > 0.8  # a third is chance
    assert trained["held_out"]["held_out"]["rows"] == 15
    assert len(trained["search"]) == 3
    card = json.loads(Path(trained["card"]).read_text())
    assert card["labels"] == DOMAINS
    assert card["unseen"]["trained_without"] == sorted(
        ["recipes", "kitchen-questions", "match-reports", "club-forum", "guidebook", "travel-questions"]
    )
    page = (example / "outputs/topics-classifier/card.md").read_text()
    assert page.startswith("# Domain classifier: cooking, sport, travel\n")
    assert len(list((example / "outputs/topics-classifier/images").glob("*.svg"))) == 4


def test_evaluation_of_own_rows_gives_every_figure(example: Path, trained: dict[str, Any]) -> None:
    found = _result(example, "classifier", "evaluate", "classifier/unseen.jsonl", "--model", MODEL)
    for key in ("accuracy", "macro_f1", "ece", "coverage", "precision_determined"):
        assert 0.0 <= found[key] <= 1.0
    assert found["accuracy"] > 0.8
    assert found["sha256"] == trained["sha256"]
    assert {name: entry["rows"] for name, entry in found["per_domain"].items()} == dict.fromkeys(DOMAINS, 5)
    assert found["per_source"]["quiz"]["rows"] == 15
    assert found["rows_per_second"] > 0


def test_a_build_by_own_domains_puts_rows_under_them_and_names_the_classifier(
    example: Path, trained: dict[str, Any]
) -> None:
    built = _result(example, "build", "classifier/build.yaml")
    manifest = DatasetManifest.load(built["manifest"])
    assert list(manifest.taxonomy.domains) == DOMAINS
    assert manifest.classifier.sha256 == trained["sha256"]
    assert manifest.classifier.labels == DOMAINS
    assert manifest.classifier.precision_determined == trained["unseen"]["precision_determined"]
    raw = (json.loads(line) for line in (example / "classifier/raw.jsonl").read_text().splitlines())
    expected = {row["instruction"]: row["topic"] for row in raw}
    found = {
        row["messages"][0]["content"]: (file.parent.name, row["domain"])
        for file in Path(built["manifest"]).parent.glob("data/*/*/*.parquet")
        for row in pq.read_table(file, partitioning=None).to_pylist()
    }
    assert found == {text: (domain, domain) for text, domain in expected.items()}


def test_what_a_judge_labelled_trains_a_classifier(tmp_path: Path) -> None:
    """In the very format of `versatune label`: more keys than training needs, rows without sure domain apart."""
    folder = _copy(tmp_path)
    rows = [json.loads(line) for line in (folder / "classifier/rows.jsonl").read_text().splitlines()]
    lines = [
        _line(
            LabelRow(text=row["text"], source=row["source"], given="travel" if at % 9 == 0 else None),
            row["domain"],
            [0.9 if name == row["domain"] else 0.05 for name in DOMAINS],
            False,
        )
        for at, row in enumerate(rows)
    ]
    (folder / "classifier/labelled.jsonl.gz").write_bytes(_packed("labelled.jsonl.gz", lines)[1])
    trained = _result(folder, *TRAIN, "--set", "train=[{name: judged, files: [labelled.jsonl.gz]}]")
    card = json.loads(Path(trained["card"]).read_text())
    assert {name: entry["rows"] for name, entry in card["unseen"]["per_source"].items()} == dict.fromkeys(
        {row["source"] for row in rows}, 20
    )
    assert [entry["domains"] for entry in card["sources"].values()].count(["cooking"]) == 2  # not what was given


def _unknown_domain(folder: Path) -> None:
    file = folder / "classifier/rows.jsonl"
    file.write_text(file.read_text().replace('"domain": "sport"', '"domain": "sports"', 1))


def _no_domain(folder: Path) -> None:
    file = folder / "classifier/rows.jsonl"
    file.write_text(file.read_text() + '{"text": "a secret of ours", "label": "sport"}\n')


def _unknown_key(folder: Path) -> None:
    config = yaml.safe_load((folder / "classifier/topics.yaml").read_text())
    config["train"][0]["balanse"] = config["train"][0].pop("balance")
    (folder / "classifier/topics.yaml").write_text(yaml.safe_dump(config))


def _null_text(folder: Path) -> None:
    file = folder / "classifier/rows.jsonl"
    file.write_text(file.read_text() + '{"text": null, "domain": "sport"}\n')


def _damaged_gzip(folder: Path) -> None:
    file = folder / "classifier/rows.jsonl"
    data = bytearray(gzip.compress(file.read_bytes()))
    data[60:62] = bytes(byte ^ 0xFF for byte in data[60:62])
    file.with_suffix(".jsonl.gz").write_bytes(data)
    config = folder / "classifier/topics.yaml"
    config.write_text(config.read_text().replace("[rows.jsonl]", "[rows.jsonl.gz]"))


def _bad_template(folder: Path) -> None:
    file = folder / "classifier/templates.txt"
    file.write_text(file.read_text() + "what is {5}\n")


def _bad_licences(folder: Path) -> None:
    (folder / "classifier/licences.json").write_text('{"recipes": {"licence": "MIT"}}')
    file = folder / "classifier/topics.yaml"
    file.write_text(file.read_text() + "licences: licences.json\n")


def _same_name(folder: Path) -> None:
    file = folder / "classifier/topics.yaml"
    file.write_text(file.read_text().replace("- name: terms", "- name: own"))


def _no_rows(folder: Path) -> None:
    (folder / "classifier/rows.jsonl").unlink()


def _no_variable(folder: Path) -> None:
    file = folder / "classifier/topics.yaml"
    file.write_text(file.read_text().replace("[rows.jsonl]", '["${VERSATUNE_NO_SUCH_FOLDER}/rows.jsonl"]'))


def _few_terms(folder: Path) -> None:
    (folder / "classifier/terms/en-sport.txt").write_text("goal\n")


def _too_large(folder: Path) -> None:
    file = folder / "classifier/topics.yaml"
    file.write_text(file.read_text() + "max_bytes: 1000\n")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_unknown_domain, ["rows.jsonl:41", "unknown domain 'sports'", "did you mean 'sport'?"]),
        (_no_domain, ["rows.jsonl:121", "expected an object with text and domain"]),
        (_unknown_key, ["topics.yaml", "unknown key 'train.0.balanse'", "did you mean 'balance'?"]),
        (_null_text, ["rows.jsonl:121", "text is NoneType"]),
        (_damaged_gzip, ["rows.jsonl.gz: cannot be read"]),
        (_bad_template, ["templates.txt: the template 'what is {5}' cannot be filled in", "{0} to {4}"]),
        (_bad_licences, ["licences.json: every source needs licence, use and reason"]),
        (_same_name, ["topics.yaml", "two groups of 'train' are named 'own'"]),
        (_no_rows, ["train group 'own'", "no file matches 'rows.jsonl'"]),
        (_no_variable, ["${VERSATUNE_NO_SUCH_FOLDER}", "not set"]),
        (_few_terms, ["train group 'terms'", "too few terms", "'sport': 1"]),
        (_too_large, ["max_bytes is 1,000", "fewer buckets"]),
    ],
)
def test_training_that_cannot_be_says_what_to_do_and_leaves_no_file(
    spoil: Spoil, says: list[str], tmp_path: Path
) -> None:
    folder = _copy(tmp_path)
    spoil(folder)
    _refused(folder, 2, says, *TRAIN)
    assert _files(folder) == set()


def test_a_mistake_in_a_second_training_leaves_the_first_as_it_was(work: Path) -> None:
    before = {name: (work / name).read_bytes() for name in _files(work)}
    _unknown_domain(work)
    _refused(work, 2, ["unknown domain 'sports'"], *TRAIN)
    assert {name: (work / name).read_bytes() for name in _files(work)} == before


def _changed_model(folder: Path) -> None:
    with (folder / MODEL).open("ab") as stream:
        stream.write(b"\0")


def _no_model(folder: Path) -> None:
    (folder / MODEL).unlink()


def _no_fasttext(folder: Path) -> None:
    """Not a model at all, and no card that could tell."""
    (folder / MODEL).write_bytes(b"PK\3\4 not a model")
    (folder / MODEL).with_suffix(".json").unlink()


def _intact(_: Path) -> None:
    pass


EVALUATE = ("classifier", "evaluate", "classifier/unseen.jsonl", "--model", MODEL)
BUILD = ("build", "classifier/build.yaml")


@pytest.mark.parametrize(
    ("spoil", "command", "code", "says"),
    [
        (
            _changed_model,
            EVALUATE,
            1,
            ["domains.ftz: its sha256 is", "the card domains.json expects", "restore the file"],
        ),
        (_changed_model, BUILD, 1, ["domains.ftz: its sha256 is", "the card domains.json expects", "restore the file"]),
        (_no_model, EVALUATE, 2, ["domains.ftz: no such file"]),
        (_no_model, BUILD, 2, ["domains.ftz: no such file"]),
        (_no_fasttext, BUILD, 2, ["domains.ftz: not a fastText model"]),
        (
            _intact,
            (*BUILD, "--set", "taxonomy.domains=[cooking, sport, music]"),
            2,
            ["do not match the taxonomy", "labels that are no domain: ['travel']", "without a label: ['music']"],
        ),
        (
            _intact,
            (*BUILD, "--set", "classifier={}"),
            2,
            ["do not match the taxonomy", "without a label: ['cooking', 'sport', 'travel']"],
        ),
        (_intact, ("classifier", "train", "nowhere.yaml"), 2, ["nowhere.yaml: no such configuration file"]),
        (_intact, ("classifier", "evaluate", "nowhere.jsonl"), 2, ["nowhere.jsonl", "No such file"]),
        (
            _intact,
            ("classifier", "evaluate", "classifier/unseen.jsonl"),
            2,
            ["unseen.jsonl:1", "unknown domain 'cooking'"],
        ),
    ],
)
def test_a_classifier_that_does_not_fit_is_refused_and_nothing_is_written(
    work: Path, spoil: Spoil, command: tuple[str, ...], code: int, says: list[str]
) -> None:
    spoil(work)
    before = _finished(work)
    _refused(work, code, says, *command)
    assert _finished(work) == before


def _finished(folder: Path) -> set[str]:
    return {name for name in _files(folder) if name.endswith(("manifest.json", "latest.json", ".parquet", ".ftz"))}


def _refused(folder: Path, code: int, says: list[str], *arguments: str) -> None:
    done = _versatune(folder, *arguments)
    assert done.returncode == code, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert "fault in versatune" not in done.stderr
    assert done.stderr.count("error: ") == 1
    message = json.loads(done.stdout)["error"]
    for part in says:
        assert part in message
    assert "secret" not in message  # a row's text is nobody's business
