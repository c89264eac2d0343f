"""Rejected rows go out as lines that can be mended, and come back as repairs of what was changed only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from versatune.schemas.dataset import DatasetManifest, RepairRecord
from versatune.schemas.errors import DataError
from versatune.schemas.progress import Silence
from versatune.transforms.reading.repairs import parse_repairs, payload_digest, read_repairs
from versatune.versions.rejects import Wanted, count_rejects, export_rejects
from versatune.versions.reprocess import usage


def manifest(directory: Path) -> DatasetManifest:
    return DatasetManifest.load(directory / "manifest.json")


def export(directory: Path, file: Path, limit: int | None = None, **wanted: Any) -> list[dict[str, Any]]:
    count = export_rejects(directory, manifest(directory), Wanted(**wanted), file, limit, Silence())
    lines = [json.loads(line) for line in file.read_bytes().splitlines()]
    assert len(lines) == count
    return lines


def test_reasons_are_counted_by_source_and_filtered(story) -> None:
    counts = count_rejects(manifest(story.directory), Wanted())
    assert {(*kind, rows) for kind, rows in counts.items()} == {
        ("one", "normalize", "empty_answer", 1),
        ("one", "read", "not_json", 1),
        ("two", "normalize", "bad_pair", 1),
    }
    assert sum(count_rejects(manifest(story.directory), Wanted(source="one", stage="read")).values()) == 1
    with pytest.raises(DataError, match=r"--reason empty_answr: no rejected row .* did you mean 'empty_answer'"):
        count_rejects(manifest(story.directory), Wanted(reason="empty_answr"))


def test_rows_come_with_their_place_reason_and_payload(story, tmp_path: Path) -> None:
    lines = export(story.directory, tmp_path / "r.jsonl")
    empty, broken, pair = lines
    assert empty["origin"] == {"uri": "raw/one.jsonl", "row": 4, "item": 0}
    assert (empty["payload"], empty["reason"]) == ({"prompt": "Hm?", "completion": ""}, "empty_answer")
    assert empty["payload_digest"] == payload_digest(b'{"prompt": "Hm?", "completion": ""}')
    assert broken["payload"] == '{"prompt": \ufffd'
    assert pair["source"] == "two"
    assert export(story.directory, tmp_path / "r.jsonl", reason="bad_pair") == [pair]
    assert export(story.directory, tmp_path / "r.jsonl", limit=2) == [empty, broken]
    assert not list(tmp_path.glob(".r.jsonl*"))


def test_only_what_was_changed_is_a_repair_however_the_file_was_written_again(story, tmp_path: Path) -> None:
    lines = export(story.directory, tmp_path / "r.jsonl")
    again = [dict(reversed(line.items())) for line in lines]  # another order of keys, other blanks
    again[0]["payload"] = dict(reversed(again[0]["payload"].items()))
    text = "\n".join(json.dumps(line, indent=None, separators=(" ,  ", " : ")) for line in again)
    assert parse_repairs(text.encode(), "x").rows == {}
    again[2]["payload"] = {"prompt": "Hm?", "completion": "Yes."}
    again[1]["payload"] = '{"prompt": "Well?", "completion": "No."}'
    repairs = parse_repairs("\n".join(json.dumps(line) for line in again).encode(), "x")
    assert {digest: orjson.loads(row)["completion"] for digest, row in repairs.rows.items()} == {
        lines[2]["payload_digest"]: "Yes.",
        lines[1]["payload_digest"]: "No.",
    }


def test_one_of_two_equal_payloads_may_be_repaired_and_two_repairs_must_agree() -> None:
    digest = payload_digest(b'{"a": 1}')
    untouched = {"payload_digest": digest, "unchanged": payload_digest(b'{"a":1}'), "payload": {"a": 1}}
    mended = [{**untouched, "payload": {"a": value}} for value in (2, 3)]

    def parse(*entries: dict[str, Any]) -> dict[str, bytes]:
        return dict(parse_repairs(b"\n".join(map(orjson.dumps, entries)), "f.jsonl").rows)

    assert parse(untouched, mended[0]) == parse(mended[0], untouched, mended[0]) == {digest: b'{"a":2}'}
    with pytest.raises(DataError, match=r"f\.jsonl line 2: repairs a row .* otherwise"):
        parse(*mended)


def test_a_file_without_a_repair_is_refused(story, tmp_path: Path) -> None:
    export(story.directory, tmp_path / "r.jsonl")
    with pytest.raises(DataError, match="every payload is as it was rejected"):
        read_repairs(tmp_path / "r.jsonl")


def test_a_file_that_cannot_be_written_is_named(story, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone/r\.jsonl: cannot be written"):
        export(story.directory, tmp_path / "gone" / "r.jsonl")


def test_usage_tells_repairs_that_were_not_enough_and_those_of_unknown_rows(make_version, row, reject) -> None:
    stays, goes = b'{"prompt": "still"}', b'{"prompt": "mended"}'
    parent = make_version(
        rows=[row("A.")],
        rejects=[reject("empty_answer", row=1, payload=stays), reject("bad_pair", row=2, payload=goes)],
        version="1",
    )
    child = make_version(
        rows=[row("A."), row("B.", row=2)],
        rejects=[reject("empty_answer", row=1, payload=stays)],
        version="2",
        parent=manifest(parent).digest,
        counts={"repaired": 1},
        repairs=RepairRecord(sha256="0" * 64, rows=3, used=0),
    )
    given = {payload_digest(stays): b"{}", payload_digest(goes): b"{}", "f" * 32: b"{}"}
    found = usage(child / "manifest.json", given)
    assert (found.given, found.used, found.unknown, found.parent) == (3, 1, ["f" * 32], parent)
    assert found.still_rejected == {"one: normalize.empty_answer": 1}
    with pytest.raises(DataError, match="was built without repairs"):
        usage(parent / "manifest.json", given)
