"""Arrow's columns as JSON values."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from versatune.transforms.formats.columnar import batch_rows, parquet_rows
from versatune.transforms.formats.fault import FormatError


def written(array: pa.Array, metadata: dict[bytes, bytes] | None = None) -> list[str]:
    """Return what stands in the rows of one column ``x``."""
    schema = pa.schema([pa.field("x", array.type)], metadata=metadata)
    rows = batch_rows(pa.record_batch([array], schema=schema), 2**20)
    return [row.decode().removeprefix('{"x":').removesuffix("}") for row in rows]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (
            pa.array([37.2, 0.1, 1e-7, 16777216, float("nan"), None], pa.float32()),
            ["37.2", "0.1", "1e-07", "16777216.0", "null", "null"],
        ),
        (pa.array(np.array([0.1, 1.5], np.float16)), ["0.1", "1.5"]),
        (pa.array([0.1, 1e300, 1e-5]), ["0.1", "1e+300", "1e-05"]),
        (pa.array([[37.2], None, []], pa.list_(pa.float32())), ["[37.2]", "null", "[]"]),
        (pa.array([decimal.Decimal("1.10"), None]), ["1.10", "null"]),
        (pa.array([decimal.Decimal(12345678901234567890123)]), ["12345678901234567890123"]),
        (pa.array([2**64 - 1], pa.uint64()), [str(2**64 - 1)]),
        (pa.array([dt.date(2024, 2, 29)]), ['"2024-02-29"']),
        (
            pa.array([3_000_000, -719_529, 2**31 - 1], pa.date32()),
            ['"10183-09-21"', '"-0001-12-31"', '"5881580-07-11"'],
        ),
        (pa.array([1_500], pa.timestamp("ms")), ['"1970-01-01T00:00:01.5"']),
        (pa.array([1], pa.timestamp("ns")), ['"1970-01-01T00:00:00.000000001"']),
        (pa.array([253_402_300_800], pa.timestamp("s")), ['"10000-01-01T00:00:00"']),
        (pa.array([0], pa.timestamp("us", "Europe/Berlin")), ['"1970-01-01T01:00:00+01:00"']),
        (pa.array([0], pa.timestamp("us", "Mars/Olympus")), ['"1970-01-01T00:00:00+00:00"']),
        (pa.array([3_661_000_000_001], pa.time64("ns")), ['"01:01:01.000000001"']),
        (pa.array([93_784_500, -1_000, 0], pa.duration("ms")), ['"PT26H3M4.5S"', '"-PT1S"', '"PT0S"']),
        (pa.array([[("a", 1), ("b", None)], None], pa.map_(pa.string(), pa.int64())), ['{"a":1,"b":null}', "null"]),
        (pa.array(["a", None, "a"]).dictionary_encode(), ['"a"', "null", '"a"']),
        (pa.array(["a"], pa.string_view()), ['"a"']),
        (pa.nulls(1), ["null"]),
        (pa.array([{"a": 1, "b": None}, {"a": None, "b": None}, None]), ['{"a":1}', "{}", "null"]),
        (pa.array([{"a": [{"b": None, "c": 1}, None]}]), ['{"a":[{"c":1},null]}']),
        (pa.array([b"caf\xc3\xa9", b"caf\xe9", b"5 \x80", None]), ['"café"', '"café"', '"5 €"', "null"]),
    ],
)
def test_values(array: pa.Array, expected: list[str]) -> None:
    assert written(array) == expected


@pytest.mark.parametrize(
    "array", [pa.array([None, *"abc"]), pa.array([[("k", 1)], [("l", 2)]] * 2, pa.map_(pa.string(), pa.int64()))]
)
def test_a_row_does_not_depend_on_where_a_batch_begins(array: pa.Array) -> None:
    assert [row for at in range(4) for row in written(array.slice(at, 1))] == written(array)


def test_bytes_that_are_no_text_are_named_and_do_not_cost_their_row() -> None:
    (row,) = written(pa.array([b"\x89PNG\r\n\x1a\n\x00"]))
    assert json.loads(row) == {"$bytes": "9 bytes, sha256 " + json.loads(row)["$bytes"][-16:]}
    (row,) = written(pa.array([b"\xc4\xe3\xba\xc3\xc2\xf0"]))
    assert "$bytes" in json.loads(row)


@pytest.mark.parametrize(
    ("array", "metadata"),
    [
        (pa.ListArray.from_arrays([0, 3], pa.array(['{"a": 1.10}', "null", None], pa.json_())), None),
        (
            pa.array([['{"a": 1.10}', "null", None]]),
            {b"huggingface": b'{"info":{"features":{"x":{"_type":"List","feature":{"_type":"Json"}}}}}'},
        ),
        (
            pa.array(
                [['{"a": 1.10}', "null", None]],
                pa.list_(pa.field("item", pa.string(), metadata={b"ARROW:extension:name": b"arrow.json"})),
            ),
            None,
        ),
    ],
)
def test_json_is_decoded_at_any_depth(array: pa.Array, metadata: Any) -> None:
    assert written(array, metadata) == ['[{"a":1.10},null,null]']


def test_text_in_a_json_column_that_is_no_json_stays_text() -> None:
    assert written(pa.array(["plain"], pa.json_())) == ['"plain"']


@pytest.mark.parametrize("nested", [False, True])
def test_two_columns_of_one_name_are_refused(nested: bool) -> None:
    fields = [pa.field("a", pa.int64()), pa.field("a", pa.int64())]
    schema = pa.schema([pa.field("s", pa.struct(fields))] if nested else fields)
    sink = io.BytesIO()
    pq.write_table(schema.empty_table(), sink)
    with pytest.raises(FormatError, match=r"two columns named '(s\.)?a'"):
        list(parquet_rows(sink, 2**20))
