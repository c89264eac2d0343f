"""How an engine moves batches between workers, if it must: rows as Arrow IPC, the rest as JSON, never as a pickle.

In a build's graph the steps that hand batches on are fused, so nothing is encoded; but Beam asks for sizes.
"""

from __future__ import annotations

import json  # and not orjson: a file's name may hold bytes that are not UTF-8, as lone surrogates
from collections import Counter
from dataclasses import asdict
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.coders.typecoders import registry

from versatune.transforms.transport.batch import Batch, InputSplit, RawBatch, RowFault
from versatune.transforms.transport.field_counts import FieldCounts

_LENGTH_BYTES = 8


class BatchCoder(beam.coders.Coder):
    """Moves a :class:`Batch`. Importing this module registers it with Beam."""

    def encode(self, value: Batch) -> bytes:
        """Serialise a batch."""
        head = {
            "key": value.key,
            "split": asdict(value.split),
            "counts": value.counts,
            "raw_bytes": value.raw_bytes,
            "fields": asdict(value.fields),
        }
        return _join(json.dumps(head).encode(), _ipc(value.examples), _ipc(value.rejects))

    def decode(self, encoded: bytes) -> Batch:
        """Read it back; the columns are views of ``encoded``."""
        head, examples, rejects = _cut(encoded)
        fields = json.loads(head)
        return Batch(
            fields["key"],
            InputSplit.from_dict(fields["split"]),
            pa.ipc.open_stream(examples).read_next_batch(),
            pa.ipc.open_stream(rejects).read_next_batch(),
            Counter(fields["counts"]),
            fields["raw_bytes"],
            FieldCounts(**fields["fields"]),
        )

    def estimate_size(self, value: Batch) -> int:
        """Say how large a batch is; Beam asks often, so it must not encode to find out."""
        return int(value.examples.nbytes + value.rejects.nbytes)

    def is_deterministic(self) -> bool:
        """Say no: a batch is never a key."""
        return False

    def to_type_hint(self) -> Any:
        """Return the type this coder is for."""
        return Batch


class RawBatchCoder(beam.coders.Coder):
    """Moves a :class:`RawBatch`. Importing this module registers it with Beam."""

    def encode(self, value: RawBatch) -> bytes:
        """Serialise a batch."""
        faults = {str(at): list(row[:2]) for at, row in enumerate(value.payloads) if isinstance(row, RowFault)}
        head = {"split": asdict(value.split), "number": value.number, "first": value.first, "faults": faults}
        return _join(
            json.dumps(head).encode(), *(row.head if isinstance(row, RowFault) else row for row in value.payloads)
        )

    def decode(self, encoded: bytes) -> RawBatch:
        """Read it back."""
        head, *payloads = _cut(encoded)
        fields = json.loads(head)
        rows: list[bytes | RowFault] = list(payloads)
        for at, (reason, detail) in fields["faults"].items():
            rows[int(at)] = RowFault(reason, detail, payloads[int(at)])
        return RawBatch(InputSplit.from_dict(fields["split"]), fields["number"], fields["first"], rows)

    def estimate_size(self, value: RawBatch) -> int:
        """Say about how large a batch is."""
        first = value.payloads[0] if value.payloads else b""
        return len(value.payloads) * len(first.head if isinstance(first, RowFault) else first)

    def is_deterministic(self) -> bool:
        """Say no: a batch is never a key."""
        return False

    def to_type_hint(self) -> Any:
        """Return the type this coder is for."""
        return RawBatch


def _ipc(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def _join(*parts: bytes) -> bytes:
    return b"".join(piece for part in parts for piece in (len(part).to_bytes(_LENGTH_BYTES, "big"), part))


def _cut(encoded: bytes) -> list[bytes]:
    parts, at = [], 0
    while at < len(encoded):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(encoded[at:start], "big")
        parts.append(encoded[start:at])
    return parts


registry.register_coder(Batch, BatchCoder)
registry.register_coder(RawBatch, RawBatchCoder)
