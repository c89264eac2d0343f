"""Bring examples that belong together to one place: rows travel through files, the engine carries references.

A local engine keeps whatever passes its shuffle in memory (5 to 9 KB a row). So each batch becomes one Arrow IPC file, its rows
ordered by a 16-bit key from their ids, cut into record batches at fixed keys: whoever gathers a bucket (a range of keys) reads that
part of every file and nothing else. Names are those of the batches, and a small record is written last: a retried or restarted
build takes what has a record as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import PCollection

from versatune.transforms.transport.batch import Batch
from versatune.transforms.transport.field_counts import FieldCounts
from versatune.transforms.transport.ids import id_keys
from versatune.transforms.transport.storage import open_arrow, read_bytes, replace_bytes, size, write_arrow

KEYS = 2**16
_ROW_BYTES = 64  # what a row takes besides its text, about


@dataclass(frozen=True)
class Fragment:
    """What became of one batch: two files and the numbers that others need before they read them."""

    key: str
    """Of the batch."""
    split: str
    """Key of its split."""
    source: str
    examples: str
    """Path of the file with the examples; there is none for 0 rows."""
    rejects: str
    rows: int
    bytes: int
    """Of the examples' texts; a function of the rows alone."""
    parts: int
    """Into how many ranges of keys the file is cut."""
    present: tuple[int, ...]
    """The ranges that have rows, in order: one record batch each."""
    rejected: int
    rejected_bytes: int
    domains: dict[str, int]
    """Examples by domain."""
    counts: dict[str, int]
    raw_bytes: int
    """Of the rows as read."""
    signatures: str
    """Path of the batch's signature block; empty where near-duplicates are not looked for."""
    fields: FieldCounts
    """Which fields of the raw rows were used, and which were not."""
    file_bytes: tuple[int, ...]
    """Of the three files; -1 for one that is not there."""

    @property
    def is_there(self) -> bool:
        """Whether the files are as they were written: a machine that went down may have lost them."""
        return _sizes(self.examples, self.rejects, self.signatures) == self.file_bytes


class Bucket(NamedTuple):
    """A range of keys: which of how many (a power of two) equal ones."""

    number: int
    of: int

    @property
    def keys(self) -> tuple[int, int]:
        """The first key and the one after the last."""
        width = KEYS // self.of
        return self.number * width, (self.number + 1) * width


def count_buckets(total_bytes: int, bucket_bytes: int) -> int:
    """Return the power of two at which a bucket gets at most ``bucket_bytes`` on average (at most 65,536)."""
    wanted = max(1, -(-total_bytes // bucket_bytes))
    return min(KEYS, 1 << (wanted - 1).bit_length())


def write_fragment(batch: Batch, directory: str, parts: int, signatures: str | None = None) -> Fragment:
    """Write a batch of classified examples and its rejects, then the record that says they are there.

    Args:
        batch: as it comes out of the last step.
        directory: where the files go.
        parts: a power of two; more than there will be buckets costs file headers, fewer costs reading.
        signatures: where the batch's signature block is already, if it has one.
    """
    examples, rejects = batch.examples, batch.rejects
    path = f"{directory}/{batch.key}"
    present: tuple[int, ...] = ()
    if examples.num_rows:
        present = _write_parts(examples, f"{path}.examples.arrow", parts)
    if rejects.num_rows:
        write_arrow([rejects], rejects.schema, f"{path}.rejects.arrow")
    block = f"{signatures}/{batch.key}.arrow" if signatures and examples.num_rows else ""
    domains = pc.value_counts(examples.column("domain")).to_pylist()
    fragment = Fragment(
        key=batch.key,
        split=batch.split.key,
        source=batch.split.source,
        examples=f"{path}.examples.arrow",
        rejects=f"{path}.rejects.arrow",
        rows=examples.num_rows,
        bytes=_text_bytes(examples) + _ROW_BYTES * examples.num_rows,
        parts=parts,
        present=present,
        rejected=rejects.num_rows,
        rejected_bytes=rejects.nbytes,
        domains={entry["values"]: entry["counts"] for entry in domains},
        counts=dict(batch.counts),
        raw_bytes=batch.raw_bytes,
        signatures=block,
        fields=batch.fields,
        file_bytes=_sizes(f"{path}.examples.arrow", f"{path}.rejects.arrow", block),
    )
    replace_bytes(record_path(directory, batch.key), orjson.dumps(asdict(fragment)), durable=False)
    return fragment


def _sizes(*paths: str) -> tuple[int, ...]:
    return tuple(size(path) if path else -1 for path in paths)


def record_path(directory: str, key: str) -> str:
    """Return where the record of a batch is."""
    return f"{directory}/{key}.json"


def read_record(path: str) -> Fragment:
    """Read what :func:`write_fragment` wrote last."""
    record = orjson.loads(read_bytes(path))
    tuples = {name: tuple(record[name]) for name in ("present", "file_bytes")}
    return Fragment(**{**record, **tuples, "fields": FieldCounts(**record["fields"])})


def _write_parts(examples: pa.RecordBatch, path: str, parts: int) -> tuple[int, ...]:
    keys = id_keys(examples.column("id"))
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    examples = examples.take(pa.array(order))
    numbers, starts = np.unique(keys // (KEYS // parts), return_index=True)
    ends = [*starts[1:], len(keys)]
    pieces = (examples.slice(int(start), int(end - start)) for start, end in zip(starts, ends, strict=True))
    write_arrow(pieces, examples.schema, path)
    return tuple(int(number) for number in numbers)


def _text_bytes(examples: pa.RecordBatch) -> int:
    contents = examples.column("messages").flatten().field("content")
    texts = (contents, examples.column("tools"), examples.column("rejected"))
    return sum(int(pc.sum(pc.binary_length(column)).as_py() or 0) for column in texts)


def read_bucket(fragment: Fragment, bucket: Bucket) -> list[pa.RecordBatch]:
    """Read the rows of a bucket from one fragment, in the order of their keys; a local file is mapped, not copied."""
    first, last = bucket.keys
    width = KEYS // fragment.parts
    wanted = [at for at, part in enumerate(fragment.present) if part * width < last and (part + 1) * width > first]
    if not wanted:
        return []
    with open_arrow(fragment.examples) as stream:  # a mapping outlives its closed file
        reader = pa.ipc.open_file(stream)
        batches = [reader.get_batch(at) for at in wanted]
    if width > KEYS // bucket.of:  # a part holds several buckets
        batches = [_slice(batch, first, last) for batch in batches]
    return [batch for batch in batches if batch.num_rows]


def _slice(batch: pa.RecordBatch, first: int, last: int) -> pa.RecordBatch:
    keys = id_keys(batch.column("id"))
    start, end = np.searchsorted(keys, [first, last])
    return batch.slice(int(start), int(end - start))


def read_rejects(fragment: Fragment) -> pa.RecordBatch:
    """Read the rejected rows of a fragment that has some."""
    with open_arrow(fragment.rejects) as stream:
        return pa.ipc.open_file(stream).get_batch(0)


@dataclass(kw_only=True)
class WriteFragments(beam.PTransform[PCollection[Batch], PCollection[Fragment]]):
    """Classified batches in, one :class:`Fragment` each out; :func:`write_fragment` for each element.

    A retry writes the same bytes under the same names.
    """

    directory: str
    parts: int
    signatures: str | None = None
    """Where signature blocks are, if there are some."""

    def expand(self, batches: PCollection[Batch]) -> PCollection[Fragment]:
        """Write every batch on its own."""
        write = beam.Map(write_fragment, self.directory, self.parts, self.signatures)
        return batches | "WriteFragment" >> write.with_output_types(Fragment)


def total(fragments: Iterable[Fragment]) -> tuple[int, int]:
    """Return the bytes of all examples and of all rejects."""
    sums = [(fragment.bytes, fragment.rejected_bytes) for fragment in fragments]
    return sum(size for size, _ in sums), sum(size for _, size in sums)


def buckets(count: int) -> Iterator[Bucket]:
    """Yield all buckets."""
    return (Bucket(number, count) for number in range(count))
