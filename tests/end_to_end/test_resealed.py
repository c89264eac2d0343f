"""Documents that name files elsewhere, their digests made to fit: no command opens a file that is not of the version.

What lies elsewhere are the very bytes that the documents pin, so that only the place can give the attack away; the kernel says what was opened.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import versatune
from tests.opened import opened
from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.document import Document
from versatune.schemas.export_plan import ExportPlan
from versatune.schemas.mixture import MixtureManifest
from versatune.schemas.pointer import write_pointer
from versatune.schemas.probe import ProbeReport
from versatune.schemas.run import RunRecord

Cli = Callable[..., tuple[int, str, str]]


class Place(NamedTuple):
    """A copy of a finished configuration, and a folder that is none of its business."""

    config: Path
    elsewhere: Path

    @property
    def home(self) -> Path:
        return self.config.parent / "out" / "quickstart"

    def only(self, pattern: str) -> Path:
        (found,) = self.home.glob(pattern)
        return found

    @property
    def version(self) -> Path:
        return self.only("*/manifest.json").parent

    @property
    def mixture(self) -> Path:
        return self.only("mixture/*/mixture.json")

    @property
    def probe(self) -> Path:
        return self.only("probe/*/probe.json")

    @property
    def run(self) -> Path:
        return self.only("runs/*/run.json").parent

    def lure(self, file: Path) -> Path:
        """Put a copy of a file or folder elsewhere; return its place."""
        copy = self.elsewhere / file.name
        shutil.copytree(file, copy) if file.is_dir() else shutil.copy(file, copy)
        return copy


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> Place:
    shutil.copytree(finished.parent, tmp_path / "work")
    (tmp_path / "elsewhere").mkdir()
    return Place(tmp_path / "work" / finished.name, tmp_path / "elsewhere")


def seal(file: Path, document: Document) -> None:
    """Write a document, and the pointer to it."""
    document.write(file)
    write_pointer(file.parent.parent / "latest.json", f"{file.parent.name}/{file.name}", document.digest)


def seal_dataset(place: Place, field: str, named: str) -> None:
    """Let the first entry of a field name another path, and seal everything that was made from the dataset."""
    manifest = DatasetManifest.load(place.version / "manifest.json")
    value = getattr(manifest, field)
    entries = list(value) if isinstance(value, list) else [value]
    entries[0] = entries[0].model_copy(update={"path": named})
    changed = manifest.changed(**{field: entries if isinstance(value, list) else entries[0]})
    seal(place.version / "manifest.json", changed)
    mixture = MixtureManifest.load(place.mixture).changed(dataset_digest=changed.digest, shards=changed.shards)
    seal_mixture(place, mixture)


def seal_mixture(place: Place, mixture: MixtureManifest) -> None:
    seal(place.mixture, mixture)
    run = RunRecord.load(place.run / "run.json")
    seal(place.run / "run.json", run.changed(mixture_digest=mixture.digest, dataset_digest=mixture.dataset_digest))


def first(place: Place, field: str) -> Path:
    value = getattr(DatasetManifest.load(place.version / "manifest.json"), field)
    return place.version / (value[0] if isinstance(value, list) else value).path


def relative(place: Place, field: str) -> None:
    seal_dataset(place, field, os.path.relpath(place.lure(first(place, field)), place.version))


def absolute(place: Place, field: str) -> None:
    seal_dataset(place, field, str(place.lure(first(place, field))))


def link(file: Path, to: Path) -> None:
    shutil.rmtree(file) if file.is_dir() else file.unlink()
    file.symlink_to(to)


def linked(place: Place, field: str) -> None:
    link(first(place, field), place.lure(first(place, field)))


def linked_folder(place: Place, field: str) -> None:
    folder = place.version / first(place, field).relative_to(place.version).parts[0]
    link(folder, place.lure(folder))


ATTACKS = {"relative": relative, "absolute": absolute, "link": linked, "linked folder": linked_folder}
ID = "00000000"


def commands(place: Place, tmp: Path) -> dict[str, Callable[[Cli], Any]]:
    """Every command that reads a version, and the names in Python."""
    version, config = place.version, place.config
    one, other = str(version), str(place.elsewhere.parent / "other")
    row = next(iter(versatune.read_dataset(other).inputs)).uri
    return {
        "verify": lambda cli: cli("verify", one),
        "verify --deep": lambda cli: cli("verify", one, "--deep"),
        "verify CONFIG": lambda cli: cli("verify", config),
        "verify MIXTURE": lambda cli: cli("verify", place.mixture),
        "ls": lambda cli: cli("ls", config),
        "diff": lambda cli: cli("diff", other, one, "-o", tmp / "diff.jsonl"),
        "diff --of": lambda cli: cli("diff", other, "latest", "--of", config),
        "trace --row": lambda cli: cli("trace", one, "--row", ID),
        "trace --origin": lambda cli: cli("trace", one, "--origin", f"{row}:0"),
        "rejects": lambda cli: cli("rejects", one, "-o", tmp / "rejects.jsonl"),
        "mix": lambda cli: cli("mix", config),
        "train": lambda cli: cli(
            "train", config, "--set", "train.learning_rate=0.02"
        ),  # another run than the finished one
        "report": lambda cli: cli("report", place.run),
        "export": lambda cli: cli("export", place.run),
        "verify --audit": lambda cli: cli("verify", place.run, "--audit"),
        "check": lambda cli: cli("check", config),
        "label": lambda cli: _labelled(one),
        "read_dataset": lambda cli: _python(lambda: versatune.read_dataset(one)),
        "iter_batches": lambda cli: _python(lambda: list(versatune.iter_batches(one))),
    }


def _python(work: Callable[[], object]) -> tuple[int, str, str]:
    try:
        work()
    except versatune.VersatuneError as error:
        return error.exit_code, "", str(error)
    return 0, "", ""


def _labelled(version: str) -> tuple[int, str, str]:
    from versatune.transforms.labelling.label_rows import read_label_rows

    return _python(lambda: read_label_rows([version], Path("/")))


REFUSAL = ("is no name of a file below", "a link leads there", "is absolute")
SHARDS = {"verify", "verify --deep", "verify CONFIG", "verify MIXTURE", "train", "export", "verify --audit", "label", "iter_batches"}  # fmt: skip
LINEAGE = {"verify", "verify --deep", "verify CONFIG", "verify MIXTURE", "trace --row", "trace --origin"}
REJECTS = {"verify", "verify --deep", "verify CONFIG", "verify MIXTURE", "rejects"}
TRAINER = {"train", "export", "verify --audit"}
"""They read shards alone, and would train on with whole ones."""
MUST_REFUSE = {"shards": SHARDS, "lineage": LINEAGE, "rejects": REJECTS, "near_duplicates": REJECTS - {"rejects"}}


@pytest.mark.parametrize(
    ("field", "attack"),
    [
        (field, attack)
        for field in MUST_REFUSE
        for attack in ATTACKS
        if (field, attack) != ("near_duplicates", "linked folder")
    ],
)
def test_no_command_leaves_a_version(place: Place, cli: Cli, tmp_path: Path, field: str, attack: str) -> None:
    shutil.copytree(place.version, tmp_path / "other")
    ATTACKS[attack](place, field)
    names = {"relative", "absolute"} & {attack}  # then every reader of the manifest refuses it, but one that lists
    refusing = set(commands(place, tmp_path)) - {"ls", "check"} if names else MUST_REFUSE[field]
    running = {name for name in commands(place, tmp_path) if name in refusing or name not in TRAINER}
    with opened(place.elsewhere) as seen:
        done = {name: run(cli) for name, run in commands(place, tmp_path).items() if name in running}
    assert seen == []
    for name, (code, _, said) in done.items():
        if name in refusing:
            assert code in (1, 2), (name, said)
            assert any(words in said for words in REFUSAL), (name, said)
        assert "Traceback" not in said and "fault in versatune" not in said, (name, said)


def bad_pointer(place: Place, named: str, of: Path, digest: str) -> None:
    write_pointer(of.parent.parent / "latest.json", named, digest)


@pytest.mark.parametrize("attack", ["relative", "absolute", "link"])
@pytest.mark.parametrize("kind", ["dataset", "probe", "mixture", "run"])
def test_no_pointer_leaves_its_home(place: Place, cli: Cli, kind: str, attack: str) -> None:
    files = {"dataset": place.version / "manifest.json", "probe": place.probe, "mixture": place.mixture, "run": place.run / "run.json"}  # fmt: skip
    file = files[kind]
    digest = versatune_digest(file)
    copy = place.lure(file.parent) / file.name
    home = file.parent.parent
    if attack == "link":
        link(file.parent, copy.parent)
    else:
        write_pointer(home / "latest.json", os.path.relpath(copy, home) if attack == "relative" else str(copy), digest)
    reading: dict[str, Callable[[], tuple[int, str, str]]] = {
        "dataset": lambda: cli("verify", place.config),
        "probe": lambda: cli("probe", "compare", home, place.home, "--json"),
        "mixture": lambda: cli("train", place.config),
        "run": lambda: _python(lambda: versatune.read_run(home)),
    }
    others = {
        "dataset": [("trace", place.config, "--row", ID), ("rejects", place.config), ("mix", place.config), ("ls", place.config)],
        "probe": [("mix", place.config)],
        "mixture": [],
        "run": [],
    }  # fmt: skip
    with opened(place.elsewhere) as seen:
        code, _, said = reading[kind]()
        for command in others[kind]:
            cli(*command)
        if kind == "dataset":
            with contextlib.suppress(versatune.VersatuneError):
                versatune.read_dataset(place.config)
    assert code in (1, 2) and any(words in said for words in REFUSAL), said
    assert seen == []


def versatune_digest(file: Path) -> str:
    kinds: dict[str, type[Document]] = {"manifest.json": DatasetManifest, "probe.json": ProbeReport, "mixture.json": MixtureManifest, "run.json": RunRecord}  # fmt: skip
    return kinds[file.name].load(file).digest


def test_a_build_leaves_neither_the_home_nor_the_version(place: Place, cli: Cli) -> None:
    manifest = place.version / "manifest.json"
    copy = place.lure(place.version)
    write_pointer(
        place.home / "latest.json", os.path.relpath(copy / "manifest.json", place.home), versatune_digest(manifest)
    )
    with opened(place.elsewhere) as seen:
        code, _, said = cli("build", place.config)
    assert code == 0 and seen == []
    assert "the version before is not taken as the parent of this one" in said and "is no name of a file below" in said
    link(place.version / "data", copy / "data")
    before = sorted(copy.rglob("*"))
    with opened(place.elsewhere) as seen:
        code, _, said = cli("build", place.config)
    assert (code, seen) == (1, []) and "a link leads there" in said
    assert sorted(copy.rglob("*")) == before


@pytest.mark.parametrize("attack", ["relative", "absolute", "link"])
def test_no_probe_leaves_its_directory(place: Place, cli: Cli, attack: str) -> None:
    generations = place.probe.parent / "generations.parquet"
    copy = place.lure(generations)
    if attack == "link":
        link(generations, copy)
    else:
        named = os.path.relpath(copy, generations.parent) if attack == "relative" else str(copy)
        seal(place.probe, ProbeReport.load(place.probe).changed(generations=named))
    with opened(place.elsewhere) as seen:
        done = [cli("verify", place.probe), cli("report", place.probe.parent)]
    assert seen == []
    for code, _, said in done:
        assert code in (1, 2) and any(words in said for words in REFUSAL), said


def _run_names(field: str) -> Callable[[Place, str], None]:
    def change(place: Place, named: str) -> None:
        record = RunRecord.load(place.run / "run.json")
        value: Any = named if field == "model" else {named: next(iter(getattr(record, field).values()))}
        seal(place.run / "run.json", record.changed(**{field: value}))

    return change


@pytest.mark.parametrize("absolute_", [False, True])
@pytest.mark.parametrize("field", ["model", "model_files", "files"])
def test_no_run_record_leaves_its_directory(place: Place, cli: Cli, field: str, absolute_: bool) -> None:
    copy = place.lure(place.run / ("model" if field == "model" else "weights.jsonl"))
    _run_names(field)(place, str(copy) if absolute_ else os.path.relpath(copy, place.run))
    with opened(place.elsewhere) as seen:
        done = {name: cli(*name.split(), place.run) for name in ("verify", "report")}
        done["read_run"] = _python(lambda: versatune.read_run(place.run))
    assert seen == []
    for name, (code, _, said) in done.items():
        assert code in (1, 2) and REFUSAL[0] in said, (name, said)


@pytest.mark.parametrize(
    "name",
    ["model", "adapter", "weights.jsonl", "metrics.jsonl", "references.json", "export.json", "checkpoints", "newest"],
)
def test_no_link_leads_out_of_a_run(place: Place, cli: Cli, name: str) -> None:
    newest = max(place.run.glob("checkpoints/*")) / "model.safetensors"
    file = newest if name == "newest" else place.run / name
    copy = place.lure(file)
    content = copy.read_bytes() if copy.is_file() else b""
    link(file, copy)
    with opened(place.elsewhere) as seen:
        code, _, said = cli("verify", place.run)
        others = [cli("report", place.run), cli("export", place.run)]
    assert code == 1 and str(file) in said and REFUSAL[1] in said, said
    assert seen == []
    assert all("Traceback" not in said for _, _, said in others)
    if copy.is_file():
        assert copy.read_bytes() == content, "a log is cut back when a run goes on; not one that lies elsewhere"


@pytest.mark.parametrize("document", ["mixture", "run", "export"])
def test_what_a_document_was_made_from_is_not_looked_for_by_an_absolute_path(
    place: Place, cli: Cli, document: str
) -> None:
    copy = place.lure(place.version if document == "mixture" else place.mixture)
    if document == "mixture":
        mixture = MixtureManifest.load(place.mixture)
        seal_mixture(place, mixture.changed(dataset=mixture.dataset.model_copy(update={"path": str(copy)})))
    elif document == "run":
        seal(place.run / "run.json", RunRecord.load(place.run / "run.json").changed(mixture_path=str(copy)))
    else:
        ExportPlan.load(place.run / "export.json").changed(mixture_path=str(copy)).write(place.run / "export.json")
    reading = {"mixture": ("train", place.config), "run": ("report", place.run), "export": ("export", place.run)}
    with opened(place.elsewhere) as seen:
        code, _, said = cli(*reading[document])
    assert (code, seen) == (2, []) and REFUSAL[2] in said, said


def test_another_dataset_or_mixture_in_the_place_of_the_right_one_is_named(place: Place, cli: Cli) -> None:
    mixture = MixtureManifest.load(place.mixture)
    manifest = DatasetManifest.load(place.version / "manifest.json")
    manifest.changed(books=[], name="another").write(place.version / "manifest.json")
    for command in (
        ("train", place.config, "--set", "train.learning_rate=0.02"),
        ("report", place.run),
        ("verify", place.mixture),
    ):
        code, _, said = cli(*command)
        assert code == 1 and "was mixed from dataset digest" in said, (command, said)
    manifest.write(place.version / "manifest.json")
    mixture.changed(seed=mixture.seed + 1).write(place.mixture)
    code, _, said = cli("report", place.run)
    assert code == 1 and "was trained on mixture digest" in said


def test_a_child_is_not_compared_with_rejects_outside_its_parent(place: Place, cli: Cli, tmp_path: Path) -> None:
    repaired = tmp_path / "repaired.jsonl"
    cli("rejects", place.version, "-o", repaired)
    repaired.write_text(repaired.read_text().replace('"payload":{', '"payload":{"mended":1,'))
    linked(place, "rejects")
    with opened(place.elsewhere) as seen:
        code, _, said = cli("reprocess", place.config, repaired)
    assert (code, seen) == (1, []) and REFUSAL[1] in said, said
