"""Batches travel whole, and never as pickles."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from apache_beam.coders.typecoders import registry
from hypothesis import given
from hypothesis import strategies as st

from versatune.schemas.arrow import NORMALIZED, REJECT
from versatune.schemas.config import SourceConfig
from versatune.transforms.reading.normalize import normalize_batch
from versatune.transforms.transport.batch import Batch, InputSplit, RawBatch, RowFault
from versatune.transforms.transport.batch_coders import BatchCoder, RawBatchCoder

SPLIT = InputSplit(
    source="s", uri="ä.zip!/b", location="/ä.zip", bytes=2**40, modified="1", license="MIT", part=1, parts=2, start=3,
    end=4, member="b",
)  # fmt: skip
PAYLOADS = st.lists(
    st.binary(max_size=20) | st.builds(RowFault, st.text(max_size=5), st.text(max_size=5), st.binary(max_size=5)),
    max_size=6,
)


@given(payloads=PAYLOADS, number=st.integers(0, 2**40), first=st.integers(0, 2**60))
def test_raw_batches_come_back_with_their_faults(payloads: list[Any], number: int, first: int) -> None:
    raw = RawBatch(SPLIT, number, first, payloads)
    found = RawBatchCoder().decode(RawBatchCoder().encode(raw))
    assert found == raw
    assert [type(row) for row in found.payloads] == [type(row) for row in payloads]
    assert (found.key, found.raw_bytes) == (raw.key, raw.raw_bytes)


@pytest.mark.parametrize(
    "payloads", [[], [b'{"prompt": "a", "completion": "b"}'] * 3, [b"x"], [b'{"text": "a"}', b"x"]]
)
def test_batches_come_back_with_their_rejects_and_counts(payloads: list[bytes]) -> None:
    batch = normalize_batch(RawBatch(SPLIT, 0, 0, list(payloads)), SourceConfig(name="s", files=["x"]))
    batch = batch._replace(counts=Counter({"pii.email.rows": 3, "expanded": 1}))
    found = BatchCoder().decode(BatchCoder().encode(batch))
    assert found == batch
    assert isinstance(found.counts, Counter)
    assert (found.examples.schema, found.rejects.schema) == (NORMALIZED, REJECT)
    found.examples.validate(full=True)


def test_a_slice_travels_as_itself() -> None:
    payloads: list[bytes | RowFault] = [b'{"prompt": "%d", "completion": "b"}' % n for n in range(1000)]
    batch = normalize_batch(RawBatch(SPLIT, 0, 0, payloads), SourceConfig(name="s", files=["x"]))
    one = batch._replace(examples=batch.examples.slice(500, 1))
    assert BatchCoder().decode(BatchCoder().encode(one)) == one
    assert len(BatchCoder().encode(one)) < len(BatchCoder().encode(batch)) / 10


@pytest.mark.parametrize(("kind", "coder"), [(Batch, BatchCoder), (RawBatch, RawBatchCoder)])
def test_beam_uses_these_coders_and_takes_no_batch_for_a_key(kind: type, coder: type) -> None:
    found = registry.get_coder(kind)
    assert type(found) is coder
    assert not found.is_deterministic()
    assert found.to_type_hint() is kind


def test_the_size_is_about_that_of_the_rows() -> None:
    rows: list[bytes | RowFault] = [b"x" * 100] * 50
    assert RawBatchCoder().estimate_size(RawBatch(SPLIT, 0, 0, rows)) == 5000
    assert RawBatchCoder().estimate_size(RawBatch(SPLIT, 0, 0, [])) == 0
    batch = normalize_batch(RawBatch(SPLIT, 0, 0, rows), SourceConfig(name="s", files=["x"]))
    assert 5000 <= BatchCoder().estimate_size(batch) < 20_000
    empty = batch._replace(rejects=pa.RecordBatch.from_pylist([], schema=REJECT))
    assert BatchCoder().estimate_size(empty) < 1000
