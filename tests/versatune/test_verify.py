"""What verify finds."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.dataset import ClassifierRecord, DatasetManifest, InputFile, Shard, SourceBooks
from schemas.errors import DataError, IntegrityError
from schemas.files import sha256_file
from schemas.progress import Silence
from schemas.run import ReferenceLosses, RunRecord
from schemas.taxonomy import DEFAULT_TAXONOMY
from versatune.verify import verify


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset version of one shard with three rows."""
    shard = tmp_path / "data" / "train" / "law" / "part-0.parquet"
    shard.parent.mkdir(parents=True)
    pq.write_table(pa.table({"id": ["a", "b", "c"]}), shard)
    DatasetManifest.create(
        name="d", version="1", created_at="", environment={}, schema_version=1, code_version="1", taxonomy=DEFAULT_TAXONOMY,
        classifier=ClassifierRecord(sha256="0" * 64, labels=[], confusion=None), tokenizer=None, config={}, rejects=[],
        inputs=[InputFile(source="s", uri="f", bytes=1, sha256="0" * 64, rows=4)],
        books=[SourceBooks(source="s", read=4, written={"law": 3}, duplicates=1, rejected={})],
        shards=[Shard(path="data/train/law/part-0.parquet", split="train", domain="law", rows=3, tokens=0, loss_tokens=0,
                      bytes=shard.stat().st_size, sha256=sha256_file(shard), licenses=[])],
    ).write(tmp_path / "manifest.json")  # fmt: skip
    return tmp_path


def _problems(path: Path) -> list[str]:
    return verify(path, Silence())[1]


def test_a_whole_dataset_has_no_problems(dataset: Path) -> None:
    assert _problems(dataset) == _problems(dataset / "manifest.json") == []


def test_one_changed_byte_is_found(dataset: Path) -> None:
    shard = dataset / "data/train/law/part-0.parquet"
    content = bytearray(shard.read_bytes())
    content[10] ^= 1
    shard.write_bytes(content)
    assert [problem.split(": sha256")[0] for problem in _problems(dataset)] == [str(shard)]


def test_a_truncated_a_missing_and_a_stray_file_are_found(dataset: Path) -> None:
    shard = dataset / "data/train/law/part-0.parquet"
    shard.write_bytes(shard.read_bytes()[:-1])
    (dataset / "data" / "stray.parquet").write_bytes(b"")
    assert ["the manifest says" in problem or "not in the manifest" in problem for problem in _problems(dataset)] == [
        True,
        True,
    ]
    shard.unlink()
    assert any(problem.endswith("missing") for problem in _problems(dataset))


def test_a_file_that_is_no_parquet_is_a_problem_and_no_fault(dataset: Path) -> None:
    shard, file = dataset / "data/train/law/part-0.parquet", dataset / "manifest.json"
    shard.write_bytes(b"PAR1 cut")
    manifest = DatasetManifest.load(file)
    entry = manifest.shards[0].model_copy(update={"bytes": 8, "sha256": sha256_file(shard)})
    changed = manifest.model_copy(update={"shards": [entry]})
    changed.model_copy(update={"digest": changed.content_digest()}).write(file)
    assert _problems(dataset) == [f"{shard}: is no Parquet file; it was damaged or cut short"]


def test_an_edited_manifest_is_refused(dataset: Path) -> None:
    file = dataset / "manifest.json"
    file.write_text(file.read_text().replace('"rows": 3', '"rows": 4'))
    with pytest.raises(IntegrityError, match="does not match its digest"):
        verify(dataset, Silence())


def test_books_that_do_not_balance_cannot_be_written_down() -> None:
    with pytest.raises(ValueError, match="4 rows read, 3 accounted for"):
        SourceBooks(source="s", read=4, written={"law": 3}, duplicates=0, rejected={})


def test_a_manifest_may_not_name_files_outside_its_directory(dataset: Path) -> None:
    manifest = DatasetManifest.load(dataset / "manifest.json")
    shard = manifest.shards[0].model_copy(update={"path": "../../etc/passwd"})
    fields = {name: getattr(manifest, name) for name in DatasetManifest.model_fields} | {"shards": [shard]}
    for name in ("kind", "format_version", "digest"):
        del fields[name]
    DatasetManifest.create(**fields).write(dataset / "manifest.json")
    assert "lies outside" in _problems(dataset)[0]


def test_a_directory_without_a_manifest_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds none of manifest\.json"):
        verify(tmp_path, Silence())
    with pytest.raises(DataError, match="no such directory"):
        verify(tmp_path / "x", Silence())


def test_a_run_without_its_checkpoints_is_found(tmp_path: Path) -> None:
    RunRecord.create(
        created_at="", environment={}, mixture_path="m", mixture_digest="m", dataset_digest="d", model_sha256="w", config={},
        domains=["law"], reference=ReferenceLosses(source="zero", losses=[0.0], protocol={}), loss_before=[1.0],
        loss_after=[1.0], steps=1, segments=1, model="model", model_files={},
    ).write(tmp_path / "run.json")  # fmt: skip
    log = tmp_path / "weights.jsonl"
    for content, said in ((None, "not the checkpoints of a run"), (b'{"a": ', "not the checkpoints"), (b"", "holds 0")):
        if content is not None:
            log.write_bytes(content)
        (problem,) = _problems(tmp_path)
        assert problem.startswith(f"{log}: {said}")
        assert "train" in problem
