"""A file that changes between the listing and the end of a read is noticed, whatever the change and the format."""

from __future__ import annotations

import gzip
import json
import os
import zipfile
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from versatune.schemas.config import Config, load_config
from versatune.schemas.errors import ChangedError
from versatune.transforms.formats.state import difference, status_state
from versatune.transforms.reading.changes import check_unchanged
from versatune.transforms.reading.read import ReadRecord, plan_inputs, read_rows
from versatune.transforms.transport.batch import InputSplit, RawBatch

ROWS = [{"prompt": f"Question {number}?", "completion": "An answer. " * 20} for number in range(400)]
LINES = b"".join(orjson.dumps(row) + b"\n" for row in ROWS)


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rows.jsonl", LINES)


def write_arrow(path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=40)


FORMATS: dict[str, Callable[[Path], object]] = {
    "rows.jsonl": lambda path: path.write_bytes(LINES),
    "rows.jsonl.gz": lambda path: path.write_bytes(gzip.compress(LINES)),
    "rows.csv": lambda path: path.write_bytes(b"prompt,completion\n" + b"why?,because it is\n" * 400),
    "rows.zip": write_zip,
    "rows.parquet": lambda path: pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=20),
    "rows.arrow": write_arrow,
}


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 3)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b'{"prompt": "More?", "completion": "Yes."}\n')


def rewrite_with_its_old_time(path: Path) -> None:
    before = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_with_the_same_size_and_time(path: Path) -> None:
    before, other = path.stat(), path.with_suffix(".other")
    other.write_bytes(path.read_bytes()[::-1])
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


CHANGES: dict[Callable[[Path], None], str] = {
    cut: "bytes and has",
    append: "bytes and has",
    rewrite_with_its_old_time: "content or its permissions were changed, at 20",
    replace_with_the_same_size_and_time: "another file has taken its name",
    Path.unlink: "it is gone",
}


def configured(folder: Path, part_bytes: int = 2**30, **source: object) -> Config:
    path = folder / "config.json"
    sources = [{"name": "s", **source}]
    path.write_text(json.dumps({"name": "t", "sources": sources, "build": {"part_bytes": part_bytes}}))
    return load_config(path)


def read(split: InputSplit, after_first: Callable[[], object] = lambda: None) -> ReadRecord:
    """Read a split to its end; do something once its first batch is there."""
    batches = read_rows(split, batch_rows=20)
    found: list[ReadRecord] = []

    def record() -> Generator[RawBatch, None, None]:
        found.append((yield from batches))

    for number, _ in enumerate(record()):
        if number == 0:
            after_first()
    return found[0]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", FORMATS)
def test_a_change_after_the_first_batch_is_noticed(tmp_path: Path, name: str, change: Callable[[Path], None]) -> None:
    file = tmp_path / name
    FORMATS[name](file)
    [split] = plan_inputs(configured(tmp_path, files=[name]))
    record = read(split, lambda: change(file))
    assert record.changed
    assert record.refused.startswith(f"source 's': {split.uri}: the file changed after the build had listed it: ")
    assert CHANGES[change] in record.refused
    assert "run the same command again" in record.refused


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_stays_as_it_is_is_read(tmp_path: Path, name: str) -> None:
    FORMATS[name](tmp_path / name)
    [split] = plan_inputs(configured(tmp_path, files=[name]))
    record = read(split, (tmp_path / name).read_bytes)
    assert (record.changed, record.refused, record.rows) == (False, "", 400)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_of_a_divided_file_every_later_part_says_so_without_reading(tmp_path: Path, name: str) -> None:
    FORMATS[name](tmp_path / name)
    parts = plan_inputs(configured(tmp_path, files=[name], part_bytes=(tmp_path / name).stat().st_size // 6))
    assert len(parts) > 2
    assert not read(parts[0]).changed
    append(tmp_path / name)
    assert [(record.changed, record.rows) for record in map(read, parts[1:])] == [(True, 0)] * len(parts[1:])


def test_of_files_side_by_side_the_one_that_changed_is_named(tmp_path: Path) -> None:
    for name in ("q.txt", "a.txt"):
        (tmp_path / name).write_text("a line\n" * 100)
    [split] = plan_inputs(configured(tmp_path, parallel={"prompt": "q.txt", "completion": "a.txt"}))
    record = read(split, lambda: append(tmp_path / "a.txt"))
    assert record.changed
    assert f"{tmp_path / 'a.txt'}: the file changed" in record.refused
    assert f"{tmp_path / 'q.txt'}: the file" not in record.refused


def test_a_folder_read_as_a_hub_dataset_is_compared_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name in ("d/one.jsonl", "d/two.jsonl"):
        (tmp_path / name).write_bytes(LINES)
    [split] = plan_inputs(configured(tmp_path, hub={"id": "d", "split": "train"}))
    assert not read(split).changed
    (tmp_path / "d/two.jsonl").unlink()
    assert read(split).changed


def test_a_file_of_which_nothing_is_known_is_read(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(LINES)
    split = InputSplit(source="s", uri="rows.jsonl", location=str(tmp_path / "rows.jsonl"), bytes=len(LINES))
    assert not read(split, lambda: append(tmp_path / "rows.jsonl")).changed


def test_a_changed_file_is_another_split(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(LINES)
    config = configured(tmp_path, files=["rows.jsonl"])
    [before] = plan_inputs(config)
    rewrite_with_its_old_time(file)
    [after] = plan_inputs(config)
    assert before.key != after.key
    assert replace(after, modified=before.modified) == before


def test_the_states_of_objects_are_compared_too() -> None:
    assert difference("5:1764000000.25", "5:1764000000.25") == ""
    assert "2025-11-24 16:00:00.250+00:00 and again at 2025-11-24 16:00:01" in difference(
        "5:1764000000.25", "5:1764000001.25"
    )
    assert difference("5:", "6:1764000001.25") == "it had 5 bytes and has 6 now"
    assert difference("5:", "") == "it is gone"


def test_files_that_changed_are_one_error(tmp_path: Path) -> None:
    records = [
        {"source": "s", "uri": f"{name}.jsonl", "changed": name != "c", "refused": f"{name} changed"} for name in "bac"
    ]
    with pytest.raises(ChangedError, match=r"^a changed\nb changed$"):
        check_unchanged([*records, records[0]])
    check_unchanged(records[2:])
    assert status_state((tmp_path).stat()).count(":") == 2
