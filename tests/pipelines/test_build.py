"""The build as a whole: books, determinism, versions, failures, kills."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

from versatune.pipelines.build import run
from versatune.pipelines.build_plan import planned_bytes
from versatune.schemas.config import Config, load_config
from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.errors import ConfigError, DataError, RunError, VersatuneError
from versatune.schemas.files import sha256_file
from versatune.schemas.pointer import read_pointer
from versatune.schemas.progress import Silence
from versatune.transforms.reading.read import plan_inputs
from versatune.transforms.transport import exchange

ROOT = Path(__file__).resolve().parents[2]


def build(config: Config, *beam_args: str) -> tuple[Path, DatasetManifest]:
    path = run(config, beam_args=beam_args, progress=Silence())
    return path, DatasetManifest.load(path)


def contents(folder: Path) -> dict[str, str]:
    """Digest every file but the manifest, whose time stamps differ."""
    files = sorted(
        file for file in folder.rglob("*") if file.is_file() and file.name not in ("manifest.json", "README.md")
    )
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_every_row_is_written_a_duplicate_or_rejected(make_config: Any) -> None:
    path, manifest = build(make_config())
    books = {book.source: book for book in manifest.books}
    assert {name: book.read for name, book in books.items()} == {"law": 68, "medicine": 40, "code": 30, "copies": 7}
    assert {name: sum(book.duplicates.values()) for name, book in books.items()} == {
        "law": 9, "medicine": 3, "code": 0, "copies": 0,
    }  # fmt: skip
    assert books["law"].rejected == {"normalize.empty_answer": 1, "normalize.unknown_shape": 1, "read.not_json": 1}
    assert books["law"].written == {"law": 56}
    assert books["copies"].written == {
        "general": 7
    }  # of equal rows that of the first source stays, and copies come before law
    for entry in manifest.files:
        data = (path.parent / entry.path).read_bytes()
        assert (entry.bytes, entry.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert sum(shard.rows for shard in manifest.shards) == sum(sum(book.written.values()) for book in manifest.books)
    assert sum(file.rows for file in manifest.rejects) == 3
    assert sum(file.rows for file in manifest.lineage) == 145 - 3
    assert set(contents(path.parent)) == {entry.path for entry in manifest.files}


def test_the_pointer_names_the_version_and_nothing_else_is_left(make_config: Any) -> None:
    config = make_config()
    path, manifest = build(config)
    assert read_pointer(Path(config.home) / "latest.json", what="dataset", command="build") == path
    assert path.parent.name.endswith(manifest.digest[:8])
    assert sorted(entry.name for entry in Path(config.home).iterdir()) == [
        ".build.lock",
        path.parent.name,
        "latest.json",
    ]


def test_workers_batches_and_order_of_inputs_change_no_byte(make_config: Any, tiny_model: Path) -> None:
    reference = make_config("one", model=tiny_model, shard_bytes=4000)
    path, manifest = build(reference)
    assert len({shard.path.rpartition("/")[2] for shard in manifest.shards}) > 1  # several buckets
    sources = [source.model_dump(mode="json") for source in reversed(reference.sources)]
    for output, changes in {"two": {"workers": 2}, "three": {"batch_rows": 7}, "four": {"sources": sources}}.items():
        other_path, other = build(make_config(output, model=tiny_model, shard_bytes=4000, **changes))
        assert contents(other_path.parent) == contents(path.parent)
        assert other.digest == manifest.digest


def test_a_second_build_of_the_same_changes_nothing_and_says_so(make_config: Any) -> None:
    config = make_config()
    path, _ = build(config)
    stamps = {file: file.stat().st_mtime_ns for file in path.parent.rglob("*")}
    heard: list[str] = []

    class Listener(Silence):
        def say(self, message: str) -> None:
            heard.append(message)

    assert run(config, progress=Listener()) == path
    assert {file: file.stat().st_mtime_ns for file in path.parent.rglob("*")} == stamps
    assert "unchanged" in heard[-1]


def test_the_same_content_of_another_day_is_that_version(make_config: Any) -> None:
    config = make_config()
    path, manifest = build(config)
    (path.parent / manifest.shards[0].path).unlink()
    (path.parent / manifest.shards[1].path).write_bytes(b"damaged")
    older = path.parent.with_name(f"20200101-{manifest.digest[:8]}")
    path.parent.rename(older)
    DatasetManifest.load(older / "manifest.json").changed(version=older.name).write(older / "manifest.json")
    again, _ = build(config)
    assert again.parent == older
    for shard in manifest.shards[:2]:  # a lost file and a damaged one are put back
        assert sha256_file(older / shard.path) == shard.sha256


def test_a_damaged_manifest_in_the_way_is_named_with_what_to_do(make_config: Any) -> None:
    path, _ = build(make_config())
    now = f'"format_version": {DatasetManifest.FORMAT_VERSION}'.encode()
    path.write_bytes(path.read_bytes().replace(now, b'"format_version": 99'))
    with pytest.raises(ConfigError, match=r"format_version is 99.*delete its directory"):
        build(make_config())


def test_a_given_version_never_changes(make_config: Any) -> None:
    path, manifest = build(make_config(version="1.0.0"))
    assert (path.parent.name, manifest.version) == ("1.0.0", "1.0.0")
    before = contents(path.parent)
    with pytest.raises(ConfigError, match=r"1\.0\.0.*other content"):
        build(make_config(version="1.0.0", validation_fraction=0.3))
    assert contents(path.parent) == before
    assert build(make_config(version="1.0.0"))[0] == path


def test_the_datasets_library_loads_all_and_one_domain(make_config: Any, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    path, manifest = build(make_config())
    cache = str(tmp_path / "cache")
    everything = datasets.load_dataset(str(path.parent), cache_dir=cache)
    assert {split: everything[split].num_rows for split in everything} == {
        split: sum(total["rows"] for total in manifest.totals(split).values()) for split in ("train", "validation")
    }
    law = datasets.load_dataset(str(path.parent), "law", cache_dir=cache)
    assert law["train"].num_rows == manifest.totals("train")["law"]["rows"]
    assert set(law["train"]["domain"]) == {"law"}


def assert_nothing_complete(config: Config) -> None:
    home = Path(config.home)
    assert not list(home.rglob("manifest.json"))
    assert not (home / "latest.json").exists()
    assert not list(home.glob(".staging-*"))


def damage(tmp_path: Path) -> None:
    file = tmp_path / "raw" / "medicine.json.gz"
    file.write_bytes(file.read_bytes()[:-40])


def test_a_damaged_file_is_left_out_as_a_whole_and_said(make_config: Any, tmp_path: Path) -> None:
    damage(tmp_path)
    heard: list[str] = []

    class Listener(Silence):
        def say(self, message: str) -> None:
            heard.append(message)

    files = ["raw/law.jsonl", "raw/medicine.json.gz"]
    manifest = DatasetManifest.load(run(make_config(sources=[{"name": "mine", "files": files}]), progress=Listener()))
    damaged = manifest.inputs[1]
    assert (damaged.uri, damaged.rows) == ("raw/medicine.json.gz", 0)
    assert "raw/medicine.json.gz" in damaged.refused
    assert [message for message in heard if damaged.refused in message]
    (book,) = manifest.books
    assert (book.read, sum(book.written.values())) == (68, 60)


def test_a_build_of_which_no_file_can_be_read_ends(make_config: Any, tmp_path: Path) -> None:
    damage(tmp_path)
    config = make_config(sources=[{"name": "mine", "files": ["raw/medicine.json.gz"]}])
    with pytest.raises(DataError, match=r"raw/medicine\.json\.gz(.|\n)*Nothing is left to read"):
        build(config)
    assert_nothing_complete(config)


def test_a_damaged_file_ends_the_build_where_that_is_wanted(make_config: Any, tmp_path: Path) -> None:
    damage(tmp_path)
    config = make_config(on_refused_file="fail")
    with pytest.raises(DataError, match=r"raw/medicine\.json\.gz"):
        build(config)
    assert_nothing_complete(config)


def test_too_many_rejects_end_the_build_and_are_kept_to_look_at(make_config: Any) -> None:
    config = make_config(max_rejected_fraction=0.01)
    with pytest.raises(
        DataError, match=r"3 of 145 rows were rejected.*max_rejected_fraction.*\nThe rejected rows, with reasons"
    ):
        build(config)
    assert_nothing_complete(config)
    assert [file.name for file in Path(config.home, "rejected").iterdir()] == ["part-00000-of-00001.parquet"]


def test_no_rows_at_all_is_an_error(make_config: Any, tmp_path: Path) -> None:
    (tmp_path / "raw" / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match="no rows"):
        build(make_config(sources=[{"name": "empty", "files": ["raw/empty.jsonl"]}]))


def test_a_template_without_answers_is_an_error(make_config: Any, tiny_model: Path, tmp_path: Path) -> None:
    template = "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}{% endfor %}"
    (tmp_path / "mute.jinja").write_text(template)
    config = make_config(model=tiny_model)
    muted = config.model_copy(update={"model": config.model.model_copy(update={"chat_template": "mute.jinja"})})
    with pytest.raises(
        ConfigError, match=r"mute.jinja: not even one question and one answer .*an answer is not in what"
    ):
        build(muted)
    assert_nothing_complete(config)


def test_what_the_template_expresses_is_said_first_and_stands_in_the_manifest(
    make_config: Any, tiny_model: Path
) -> None:
    heard: list[str] = []

    class Listener(Silence):
        def say(self, message: str) -> None:
            heard.append(message)

    manifest = DatasetManifest.load(run(make_config(model=tiny_model), progress=Listener()))
    assert heard[0].startswith(
        f"build: chat template of model {tiny_model.name}: plain conversations, system turns can be"
    )
    assert "tool calls (such rows are rejected: template_without_calls)" in heard[1]
    assert manifest.tokenizer is not None
    assert manifest.tokenizer.template.answer.token == "<|im_end|>"
    assert {kind.kind for kind in manifest.tokenizer.template.kinds if kind.learned} >= {"one turn", "system turn"}


def test_rows_of_which_something_is_not_learned_are_counted_and_said(
    make_config: Any, tiny_model: Path, tmp_path: Path
) -> None:
    heard: list[str] = []

    class Listener(Silence):
        def say(self, message: str) -> None:
            heard.append(message)

    rows = [
        {
            "messages": [
                {"role": "user", "content": f"What is {n} and {n}?"},
                {"role": "assistant", "content": f"{n + n}.", **thoughts},
            ]
        }
        for n, thoughts in enumerate([{"reasoning_content": "I count."}, {}, {"reasoning_content": "I count again."}])
    ]
    (tmp_path / "raw" / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "bare.jinja").write_text(
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    )
    config = make_config(model=tiny_model, sources=[{"name": "sums", "files": ["raw/sums.jsonl"]}])
    config = config.model_copy(update={"model": config.model.model_copy(update={"chat_template": "bare.jinja"})})
    run(config, progress=Listener())
    assert "build: 2 rows: thoughts that the chat template does not write are not learned" in heard
    assert any(line.startswith("build: 3 rows: no token ends an answer (chat template bare.jinja)") for line in heard)


def test_a_failing_worker_is_one_line_with_its_cause(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("versatune.transforms.shards.write_shards._write_parquet", fail)
    config = make_config()
    with pytest.raises(RunError, match="no space is left on the disk") as caught:
        build(config)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None
    assert not list(Path(config.home).rglob("manifest.json"))


def test_rows_lost_on_the_way_to_the_shards_are_noticed(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from versatune.transforms.shards import pieces

    whole = pieces.read_bucket
    monkeypatch.setattr(pieces, "read_bucket", lambda *at: [batch.slice(1) for batch in whole(*at)])
    with pytest.raises(RunError, match="arrived at the shards"):
        build(make_config())


def test_rows_lost_before_they_are_classified_are_noticed(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from versatune.transforms.reading import normalize

    whole = normalize.normalize_batch
    monkeypatch.setattr(
        normalize, "normalize_batch", lambda raw, *rest: whole(raw._replace(payloads=raw.payloads[1:]), *rest)
    )
    with pytest.raises(RunError, match="do not balance"):
        build(make_config())


def test_a_lost_batch_is_noticed(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from versatune.pipelines import build as module

    monkeypatch.setattr(module, "PassOverFinished", lambda finished: _LoseOne())
    with pytest.raises(RunError, match="rows were lost on the way"):
        build(make_config(batch_rows=7))


class _LoseOne(beam.PTransform):
    def expand(self, batches: Any) -> Any:
        return batches | beam.Filter(lambda batch: not (batch.number == 3 and batch.split.source == "law"))


def test_two_builds_at_once_are_refused(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config()

    def build_again(*_: Any) -> None:
        with pytest.raises(RunError, match="another build"):
            build(config)
        raise DataError("seen")

    monkeypatch.setattr("versatune.pipelines.build.execute", build_again)
    with pytest.raises(DataError, match="seen"):
        build(config)


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--direct_running_mode=multi_threading", "loses rows"),
        ("--direct_running_mode=fast", "direct_running_mode"),
        ("--no_such_flag=1", "--no_such_flag"),
    ],
)
def test_flags_that_cannot_be_used_are_named(make_config: Any, flag: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(make_config(), flag)


def test_compressed_files_count_for_more(make_config: Any) -> None:
    splits = plan_inputs(make_config())
    assert planned_bytes(splits) == sum(split.bytes * (4 if split.uri.endswith(".gz") else 1) for split in splits)


def test_members_of_an_archive_count_as_what_they_are_unpacked(make_config: Any, tmp_path: Path) -> None:
    rows = "".join(json.dumps({"question": f"Why {i}?", "answer": "So."}) + "\n" for i in range(99))
    with zipfile.ZipFile(tmp_path / "raw" / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jsonl", rows)
    config = make_config(sources=[{"name": "zip", "files": ["raw/a.zip"]}])
    assert planned_bytes(plan_inputs(config)) == len(rows)


def test_progress_of_a_resumed_build_counts_what_is_left(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(batch_rows=20, sources=[{"name": "law", "files": ["raw/law.jsonl"], "domain": "law"}])
    whole, calls = exchange.replace_bytes, iter(range(9))

    def fail(*args: Any, **kwargs: Any) -> None:
        if next(calls) == 2:
            raise OSError("power cut")
        whole(*args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(RunError, match="power cut"):
        patch.setattr(exchange, "replace_bytes", fail)
        build(config)
    totals: list[float | None] = []

    class Listener(Silence):
        def begin(self, task: str, total: float | None, unit: str) -> None:
            totals.append(total)

    run(config, progress=Listener())
    left = (tmp_path / "raw" / "law.jsonl").read_bytes().splitlines()[40:]
    assert totals[0] == pytest.approx(sum(map(len, left)) / 1e6, abs=100e-6)


def test_a_version_left_half_moved_is_swept(make_config: Any) -> None:
    config = make_config(version="1.0")
    stray = Path(config.home) / "1.0" / "data" / "train" / "law" / "part-00099-of-00100.parquet"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"PAR1")
    build(config)
    assert not stray.exists()


def test_published_data_balances_with_one_and_two_workers(shared_data: Path, tiny_model: Path, tmp_path: Path) -> None:
    names = ["alpaca-cleaned-first-1000", "arc", "human-eval", "fastchat-dummy", "llama-factory-demo"]
    digests = set()
    for workers in (1, 2):
        value = {
            "name": "published",
            "output": str(tmp_path / f"out{workers}"),
            "sources": [{"name": name, "files": [str(shared_data / name)]} for name in names],
            "model": {"path": str(tiny_model)},
            "build": {"workers": workers, "shard_bytes": 2**20},
        }
        (tmp_path / "published.json").write_text(json.dumps(value))
        _, manifest = build(load_config(tmp_path / "published.json"))  # refuses books that do not balance
        assert [book.source for book in manifest.books] == sorted(names)
        assert (
            sum(book.read for book in manifest.books) == sum(file.rows for file in manifest.inputs) == 8_023
        )  # arc's held-out files are left out
        digests.add(manifest.digest)
    assert len(digests) == 1


def test_errors_are_for_the_user(make_config: Any, tmp_path: Path) -> None:
    (tmp_path / "raw" / "law.jsonl").unlink()
    with pytest.raises(VersatuneError, match=r"law\.jsonl"):
        build(make_config())


def test_a_build_never_reads_what_builds_wrote(make_config: Any, tmp_path: Path) -> None:
    (tmp_path / "small.json").write_text("[]")
    sources = [{"name": "all", "files": ["."], "domain": "law"}]
    run(make_config("outputs", sources=sources), progress=Silence())
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        DataError, match=r"source 'all': outputs/small/.* lies in .*outputs/small, where .* give 'output'"
    ):
        run(make_config("outputs", sources=sources), progress=Silence())
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_of_unknown_shape_comes_with_the_field_map_that_would_read_it(make_config: Any, tmp_path: Path) -> None:
    lines = [
        f'{number},"How do I reset number {number}?","Open the settings of number {number}."\n' for number in range(9)
    ]
    (tmp_path / "raw" / "helpdesk.csv").write_text("".join(["ticket,ask,reply\n", *lines]))
    heard: list[str] = []

    class Listener(Silence):
        def say(self, message: str) -> None:
            heard.append(message)

    sources = [{"name": "mine", "files": ["raw/code.csv", "raw/helpdesk.csv"]}]
    run(make_config(sources=sources), progress=Listener())
    (advice,) = [message for message in heard if "helpdesk" in message]
    assert "9 of 9 rows have no known shape" in advice
    assert "fields: {prompt: ask, completion: reply}" in advice
    sources = [{"name": "mine", "files": ["raw/helpdesk.csv"], "fields": {"prompt": "ask", "completion": "reply"}}]
    run(make_config(sources=sources), progress=Listener())
    assert len([message for message in heard if "helpdesk" in message]) == 1
