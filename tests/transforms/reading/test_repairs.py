"""Repaired rows: found by what they replace, refused when they cannot be meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from versatune.schemas.errors import DataError
from versatune.transforms.reading.repairs import Repairs, no_repairs, parse_repairs, payload_digest, read_repairs
from versatune.transforms.transport.batch import RowFault


def line(broken: bytes, payload: Any, **more: Any) -> bytes:
    return orjson.dumps({"payload_digest": payload_digest(broken), "payload": payload, **more})


def test_a_repair_is_found_by_the_digest_of_what_was_rejected() -> None:
    lines = [line(b"a", {"prompt": "q"}, reason="not_json"), b"", line(b"b", '{"prompt": "q"}'), b"  "]
    repairs = parse_repairs(b"\n".join(lines), "r.jsonl")
    assert repairs.of(b"a") == b'{"prompt":"q"}'
    assert repairs.of(b"b") == b'{"prompt": "q"}'  # text is taken as it is
    assert repairs.of(b"c") is None
    assert repairs.of(RowFault("too_large", "", b"a")) == repairs.of(b"a")
    assert no_repairs().of(b"a") is None


def test_rows_that_were_not_changed_are_no_repairs() -> None:
    assert parse_repairs(line(b"a", "a") + b"\n" + line(b"b", "x"), "r").rows == {payload_digest(b"b"): b"x"}


def test_repairs_survive_their_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(line(b"a", {"x": "ä\u2028\n"}) + b"\r\n" + line(b"\xff", "not json"))
    repairs = read_repairs(path)
    assert len(repairs.rows) == 2
    repairs.save(str(tmp_path / "repairs.jsonl"))
    assert Repairs.load(str(tmp_path / "repairs.jsonl")) == repairs


def test_the_record_of_repairs_tells_the_rows_what_they_replace_and_nothing_else() -> None:
    pairs = [(b"a", "x"), (b"b", "y")]
    digests = {
        parse_repairs(b"\n".join(line(*pair) for pair in order), "r").sha256
        for order in (pairs, pairs[::-1], [*pairs, (b"c", "c")], [*pairs, pairs[0]])
    }
    assert len(digests) == 1
    for other in ([(b"a", "x"), (b"b", "z")], [(b"a", "x"), (b"d", "y")], [(b"a", "x")]):
        assert parse_repairs(b"\n".join(line(*pair) for pair in other), "r").sha256 not in digests


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "r.jsonl line 1: not JSON"),
        (line(b"a", "x") + b"\n[]", "r.jsonl line 2: has no 'payload_digest' and 'payload'"),
        (b'{"payload": {}}', "has no 'payload_digest'"),
        (b'{"payload_digest": "0"}', "has no 'payload_digest' and 'payload'"),
        (b'{"payload_digest": 7, "payload": {}}', "has no 'payload_digest'"),
        (line(b"a", "x") + b"\n" + line(b"a", "y"), "line 2: repairs a row .* that an earlier line repairs otherwise"),
    ],
)
def test_lines_that_are_no_repairs_are_named(data: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        parse_repairs(data, "r.jsonl")


def test_a_file_that_is_not_there_or_repairs_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_repairs(tmp_path / "nowhere.jsonl")
    path = tmp_path / "same.jsonl"
    path.write_bytes(line(b"a", "a"))
    with pytest.raises(DataError, match="every payload is as it was rejected"):
        read_repairs(path)


def test_a_row_of_which_nothing_was_kept_is_never_repaired() -> None:
    repairs = Repairs({payload_digest(b""): b"[]"})
    assert repairs.of(b"") is None
    assert repairs.of(RowFault("not_utf8", "", b"")) is None
