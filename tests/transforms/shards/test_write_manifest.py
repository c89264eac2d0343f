"""The end of a build: what a manifest says, what may exist, and that a version is whole or absent, never changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as BeamTestPipeline

from versatune.schemas.config import LicensePolicy
from versatune.schemas.dataset import (
    BenchmarkRecord,
    ClassifierRecord,
    DatasetManifest,
    DecontaminationRecord,
    RepairRecord,
)
from versatune.schemas.errors import ConfigError, DataError, IntegrityError, RunError
from versatune.schemas.files import sha256_bytes
from versatune.schemas.taxonomy import DEFAULT_TAXONOMY
from versatune.transforms.overlap.near_duplicates import NEAR_DUPLICATE, Clusters
from versatune.transforms.shards import write_manifest
from versatune.transforms.shards.books import Results
from versatune.transforms.shards.shard_plan import save_plan
from versatune.transforms.shards.write_manifest import (
    Outcome,
    VersionPlan,
    WriteManifest,
    finish_build,
    make_manifest,
    publish,
)

MakeCorpus = Callable[..., Any]
DAY = 86_400.0


def plan_of(corpus: Any, **changes: Any) -> VersionPlan:
    values: dict[str, Any] = {
        "home": str(corpus.home.parent / "home"),
        "staging": f"{corpus.home}/out",
        "name": "n",
        "version": None,
        "taxonomy": DEFAULT_TAXONOMY,
        "classifier": ClassifierRecord(
            sha256="0", labels=[], undetermined_below=0.4, confusion=None, precision_determined=None, unseen_ece=None
        ),
        "tokenizer": None,
        "fingerprint": {"build": {"max_tokens": 8}},
        "max_rejected_fraction": 0.5,
        "started": DAY,
    }
    return VersionPlan(**{**values, **changes})


@pytest.fixture
def made(corpus: MakeCorpus) -> Any:
    """Return a small corpus with duplicates and rejects."""
    made = corpus().file("a", [*range(30), 3, 4], rejects=[(32, "read.not_json")], parts=2)
    return made.file("b", range(25, 40), source="two", license="CC0-1.0")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def home_of(corpus: Any) -> Path:
    return corpus.home.parent / "home"  # type: ignore[no-any-return]


def check_whole(outcome: Outcome) -> DatasetManifest:
    """Check that a version's directory holds the files of its manifest, and no others."""
    assert outcome.error is None, outcome.message
    path = Path(str(outcome.manifest))
    manifest = DatasetManifest.load(path)
    found = tree(path.parent)
    assert found.keys() == {"manifest.json", "README.md", *(entry.path for entry in manifest.files)}
    assert all(sha256_bytes(found[entry.path]) == entry.sha256 for entry in manifest.files)
    assert orjson.loads((path.parent.parent / "latest.json").read_bytes()) == {
        "path": f"{path.parent.name}/manifest.json",
        "digest": manifest.digest,
    }
    return manifest


# --- what the manifest says ---


def test_a_manifest_lists_everything_that_was_made(made: Any) -> None:
    results = made.results()
    manifest = make_manifest(plan_of(made), results)
    assert [(file.uri, file.rows, file.license) for file in manifest.inputs] == [("a", 33, "MIT"), ("b", 15, "CC0-1.0")]
    assert {entry.path for entry in manifest.files} == set(tree(made.home / "out"))
    assert sum(shard.rows for shard in manifest.shards) == 40
    assert [file.rows for file in manifest.rejects] == [1]
    assert [file.rows for file in manifest.lineage] == [47]
    assert (manifest.near_duplicates, manifest.decontamination, manifest.repairs) == (None, None, None)
    assert manifest.version == f"19700102-{manifest.digest[:8]}"


def test_hits_and_repairs_are_counted_from_the_books(corpus: MakeCorpus) -> None:
    made = corpus()
    made.file("a", range(5), counts={"decontaminate.exam": 2, "repaired": 3})
    made.file("b", range(9), source="two", counts={"decontaminate.exam": 1})
    looked_for = DecontaminationRecord(
        digest="0",
        benchmarks=[BenchmarkRecord(name=name, items=9, too_short=1, hits=0) for name in ("exam", "other")],
    )
    repairs = RepairRecord(sha256="0", rows=7, used=0)
    manifest = make_manifest(plan_of(made, decontamination=looked_for, repairs=repairs), made.results())
    assert manifest.decontamination is not None
    assert manifest.repairs is not None
    assert [(entry.name, entry.hits) for entry in manifest.decontamination.benchmarks] == [("exam", 3), ("other", 0)]
    assert (manifest.repairs.rows, manifest.repairs.used) == (7, 3)


def with_clusters(corpus: Any, results: Results) -> Results:
    path = corpus.home / "out" / "near_duplicates.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table([["0" * 32], ["1" * 32], [0.9]], schema=NEAR_DUPLICATE), path)
    data = path.read_bytes()
    return replace(results, clusters=Clusters(str(path), 1, len(data), sha256_bytes(data), 1))


def test_the_file_of_near_duplicates_is_part_of_the_version(made: Any) -> None:
    results = with_clusters(made, made.results())
    manifest = check_whole(finish_build(plan_of(made), results))
    assert manifest.near_duplicates is not None
    assert (manifest.near_duplicates.path, manifest.near_duplicates.rows) == ("near_duplicates.parquet", 1)
    assert manifest.digest != make_manifest(plan_of(made), replace(results, clusters=None)).digest


# --- the digest ---


def test_the_digest_does_not_depend_on_files_parts_batches_the_order_of_arrival_or_the_machine(
    corpus: MakeCorpus,
) -> None:
    one = corpus("one").file("a", [*range(30), 3], rejects=[(31, "read.not_json"), (32, "read.not_json")])
    two = corpus("two", parts=64, batch_rows=7)
    two.file("z/other", [3, *range(20, 30)], rejects=[(11, "read.not_json")], parts=3)
    two.file("first", range(20), rejects=[(20, "read.not_json")])
    first = make_manifest(plan_of(one, environment={"workers": 1}), one.results())
    results = two.results()
    shuffled = replace(results, records=results.records[::-1], written=results.written[::-1])
    second = make_manifest(plan_of(two, environment={"workers": 2}, parent="other", started=9 * DAY), shuffled)
    assert (first.lineage, first.inputs) != (second.lineage, second.inputs)
    assert first.rejects != second.rejects
    assert first.digest == second.digest
    assert first.checksum != second.checksum


def test_the_digest_depends_on_rows_books_licences_and_configuration(corpus: MakeCorpus) -> None:
    variants = {
        "first": corpus("0").file("a", range(9)),
        "another row": corpus("1").file("a", range(1, 10)),
        "a duplicate more": corpus("2").file("a", [*range(9), 0]),
        "a reject more": corpus("3").file("a", range(9), rejects=[(9, "read.not_json")]),
        "other counts": corpus("4").file("a", range(9), counts={"pii.email.masked": 1}),
        "another licence": corpus("5").file("a", range(9), license="CC0-1.0"),
        "another source": corpus("6").file("a", range(9), source="two"),
        "another domain": corpus("7").file("a", [{"number": 0, "domain": "science"}, *range(1, 9)]),
    }
    digests = {name: make_manifest(plan_of(made), made.results()).digest for name, made in variants.items()}
    made = variants["first"]
    digests["configuration"] = make_manifest(plan_of(made, fingerprint={}), made.results()).digest
    digests["name"] = make_manifest(plan_of(made, name="m"), made.results()).digest
    assert len(set(digests.values())) == len(digests)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("created_at", "2030-01-01T00:00:00+00:00"),
        ("environment", {}),
        ("inputs", []),
        ("lineage", []),
        ("parent", "x"),
    ],
)
def test_the_checksum_protects_what_the_digest_leaves_out(made: Any, field: str, value: Any) -> None:
    outcome = finish_build(plan_of(made), made.results())
    path = Path(str(outcome.manifest))
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), field: value}))
    with pytest.raises(IntegrityError, match="does not match its checksum"):
        DatasetManifest.load(path)


# --- what may exist ---


def failed(outcome: Outcome, plan: VersionPlan, kind: type[Exception]) -> str:
    """Check that a build failed and published nothing; return what it says."""
    assert outcome == Outcome.load(plan.staging)
    assert outcome.manifest is None
    assert set(tree(Path(plan.home))) <= {"rejected/part-00000-of-00001.parquet"}
    with pytest.raises(kind) as error:
        outcome.raise_error()
    return str(error.value)


def test_a_forbidden_licence_stops_everything_and_is_named(made: Any) -> None:
    plan = plan_of(made, licenses=LicensePolicy(deny=["cc0-*"]))
    said = failed(finish_build(plan, made.results()), plan, DataError)
    assert "CC0-1.0: source 'two' (15 rows read); in 4 shards of" in said
    assert "data/train/code/part-00000-of-00001.parquet" in said
    assert "nothing was emitted" in said
    assert "MIT" not in said


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"max_rejected_fraction": 0.01}, DataError, "1 of 48 rows were rejected"),
        ({"skip_refused": False}, DataError, "c: damaged"),
    ],
)
def test_a_build_that_fails_publishes_nothing_and_keeps_its_rejects(
    made: Any, changes: dict[str, Any], kind: type[Exception], said: str
) -> None:
    made.file("c", [99], refused="c: damaged")
    plan = plan_of(made, **changes)
    assert said in (message := failed(finish_build(plan, made.results()), plan, kind))
    assert f"are in the Parquet files of {plan.home}/rejected." in message
    assert pq.read_table(f"{plan.home}/rejected/part-00000-of-00001.parquet").num_rows == 1
    assert said in failed(finish_build(plan, made.results()), plan, kind)  # a retry finds the work done


def test_a_refused_file_is_recorded_and_the_others_are_published(made: Any) -> None:
    made.file("c", [99], refused="c: damaged")
    manifest = check_whole(finish_build(plan_of(made), made.results()))
    assert [(file.uri, file.rows, file.refused) for file in manifest.inputs if file.refused] == [("c", 0, "c: damaged")]
    assert sum(shard.rows for shard in manifest.shards) == 40


def test_a_lost_row_publishes_nothing(made: Any) -> None:
    plan, results = plan_of(made), made.results()
    lost = [{**results.records[0], "rows": 17}, *results.records[1:]]
    assert "do not balance" in failed(finish_build(plan, replace(results, records=lost)), plan, RunError)


def test_an_outcome_raises_its_own_kind_of_error() -> None:
    Outcome("m.json").raise_error()
    for kind in (ConfigError, DataError, RunError):
        with pytest.raises(kind, match="why"):
            Outcome(None, error=kind.__name__, message="why").raise_error()


# --- versions ---


def test_the_same_dataset_again_changes_nothing(made: Any, corpus: MakeCorpus) -> None:
    first = finish_build(plan_of(made), made.results())
    before = tree(home_of(made))
    again = corpus("again").file("a", [*range(30), 3, 4], rejects=[(32, "read.not_json")], parts=2)
    again.file("b", range(25, 40), source="two", license="CC0-1.0")
    second = finish_build(plan_of(again, started=5 * DAY), again.results())
    assert (first.unchanged, second.unchanged) == (False, True)
    assert second.manifest == first.manifest
    assert tree(home_of(made)) == before
    check_whole(second)


def test_the_same_dataset_from_other_files_leaves_the_version_as_it_was(made: Any, corpus: MakeCorpus) -> None:
    first = check_whole(finish_build(plan_of(made), made.results()))
    before = tree(home_of(made))
    other = corpus("other", batch_rows=9).file("x", [*range(30), 3, 4], rejects=[(32, "read.not_json")])
    other.file("y", range(25, 40), source="two", license="CC0-1.0", parts=2)
    outcome = finish_build(plan_of(other), other.results())
    assert outcome.unchanged
    assert tree(home_of(made)) == before
    manifest = check_whole(outcome)
    assert manifest.inputs == first.inputs
    assert manifest.inputs != make_manifest(plan_of(other), other.results()).inputs


def test_files_that_a_version_has_lost_or_that_were_changed_are_put_back(made: Any) -> None:
    manifest = check_whole(finish_build(plan_of(made), made.results()))
    folder = home_of(made) / manifest.version
    before = tree(folder)
    (folder / manifest.shards[0].path).unlink()
    (folder / manifest.shards[1].path).write_bytes(b"")
    (folder / manifest.lineage[0].path).unlink()
    assert finish_build(plan_of(made), made.results()).unchanged
    assert tree(folder) == before


def test_lineage_that_a_version_has_lost_is_not_replaced_by_that_of_other_files(made: Any, corpus: MakeCorpus) -> None:
    manifest = check_whole(finish_build(plan_of(made), made.results()))
    folder = home_of(made) / manifest.version
    (folder / manifest.lineage[0].path).unlink()
    (folder / manifest.shards[0].path).unlink()
    other = corpus("other").file("x", [*range(30), 3, 4], rejects=[(32, "read.not_json")])
    other.file("y", range(25, 40), source="two", license="CC0-1.0")
    assert finish_build(plan_of(other), other.results()).unchanged
    assert (folder / manifest.shards[0].path).exists()
    assert not (folder / manifest.lineage[0].path).exists()


def test_a_version_never_changes(made: Any, corpus: MakeCorpus) -> None:
    finish_build(plan_of(made, version="1.0"), made.results())
    before = tree(home_of(made))
    other = corpus("other").file("a", range(5))
    plan = plan_of(other, version="1.0")
    with pytest.raises(ConfigError, match=r"build\.version 1\.0: .* exists with other content"):
        publish(plan, make_manifest(plan, other.results()))
    assert finish_build(plan, other.results()).error == "ConfigError"
    assert tree(home_of(made)) == before


def test_a_manifest_that_cannot_be_read_is_in_the_way(made: Any) -> None:
    plan = plan_of(made, version="1.0")
    (home_of(made) / "1.0").mkdir(parents=True)
    (home_of(made) / "1.0" / "manifest.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"expected 'versatune/dataset'\. It is where .* delete its directory"):
        publish(plan, make_manifest(plan, made.results()))


# --- crashes ---


class Killed(BaseException):
    """What a kill looks like from inside."""


def die_at(n: int, monkeypatch: pytest.MonkeyPatch, *, after: bool) -> None:
    """Let the n-th call that changes a file be the last; it takes effect or not."""
    calls = 0

    def wrap(name: str) -> None:
        original = getattr(write_manifest, name)

        def call(*args: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == n and not after:
                raise Killed
            original(*args)
            if calls == n:
                raise Killed

        monkeypatch.setattr(write_manifest, name, call)

    for name in ("move", "replace_bytes"):
        wrap(name)


def sweep(home: Path) -> None:
    """Do what a new run does first."""
    for folder in home.glob("[0-9]*"):
        if not (folder / "manifest.json").exists():
            shutil.rmtree(folder)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_build_that_is_killed_at_any_step_of_publishing_ends_in_the_same_files(
    after: bool, restarted: bool, made: Any, corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = check_whole(finish_build(plan_of(made, home=str(tmp_path / "whole")), made.results()))
    steps = len(whole.files) + 4  # README, manifest, pointer, outcome
    for n in range(1, steps + 1):
        staged = corpus(f"killed{n}").file("a", [*range(30), 3, 4], rejects=[(32, "read.not_json")], parts=2)
        staged.file("b", range(25, 40), source="two", license="CC0-1.0")
        home = tmp_path / f"home{n}"
        plan, results = plan_of(staged, home=str(home)), staged.results()
        with monkeypatch.context() as patch, pytest.raises(Killed):
            die_at(n, patch, after=after)
            finish_build(plan, results)
        if restarted:
            sweep(home)
            plan, results = replace(plan, started=3 * DAY), staged.results()
        again = check_whole(finish_build(plan, results))
        assert (again.digest, again.files) == (whole.digest, whole.files)
        assert {path.name for path in home.iterdir()} == {again.version, "latest.json"}
    with monkeypatch.context() as patch:
        die_at(steps + 1, patch, after=after)
        finish_build(plan_of(made, home=str(tmp_path / "last")), made.results())


def test_a_retry_after_midnight_goes_on_in_the_same_directory(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, results = plan_of(made), made.results()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        die_at(3, patch, after=True)
        finish_build(plan, results)
    now = write_manifest.datetime.now

    class Tomorrow(write_manifest.datetime):  # type: ignore[misc,name-defined]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return now(tz).replace(year=2099)

    monkeypatch.setattr(write_manifest, "datetime", Tomorrow)
    check_whole(finish_build(plan, results))


# --- in a pipeline ---


def test_the_transform_publishes_once_everything_is_there(made: Any) -> None:
    results, plan = made.results(), plan_of(made)
    with BeamTestPipeline(runner="FnApiRunner") as root:
        sides = {
            "records": results.records,
            "shard_plan": [save_plan(results.plan, plan.staging)],
            "written": results.written,
            "rejected": results.rejected,
        }
        root | WriteManifest(plan=plan, **{name: root | name >> beam.Create(values) for name, values in sides.items()})
    check_whole(Outcome.load(plan.staging))
