"""Bring examples that belong together to one place: rows travel through files, the engine carries references.

A local engine keeps whatever passes its shuffle in memory (5 to 9 KB a row). So each batch becomes one Arrow IPC file, its rows
ordered by a 16-bit key from their ids, cut into record batches at fixed keys: whoever gathers a bucket (a range of keys) reads that
part of every file and nothing else. Names are those of the batches, and a small record is written last: a retried or restarted
build takes what has a record as it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
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
_PART_ROWS = 64  # in a part on average, at least: a record batch costs about 1 KB and as much time as a few dozen rows


@dataclass(frozen=True)
class Fragment:
    """What became of one batch, as its record says and the engine carries it; its files are named by its key.

    It is the same size whatever the number of buckets: what is where in a file is in the file's own footer.
    """

    key: str
    """Of the batch."""
    source: str
    rows: int
    bytes: int
    """Of the examples' texts; a function of the rows alone."""
    parts: int
    """Into how many ranges of keys the file with the examples is cut, one record batch each."""
    rejected: int
    rejected_bytes: int
    domains: dict[str, int]
    """Examples by domain."""
    counts: dict[str, int]
    raw_bytes: int
    """Of the rows as read."""
    fields: FieldCounts
    """Which fields of the raw rows were used, and which were not."""
    file_bytes: tuple[int, ...]
    """Of examples, rejects and signature block; -1 for one that is not there."""

    @property
    def split(self) -> str:
        """Key of its split."""
        return split_of(self.key)


def pack(fragment: Fragment) -> bytes:
    """Return a fragment's record: what is written beside its files, and what travels."""
    named = vars(fragment) | {"fields": list(vars(fragment.fields).values())}
    return orjson.dumps(list(named.values()))


def unpack(record: bytes) -> Fragment:
    """Undo :func:`pack`."""
    named = dict(zip(Fragment.__dataclass_fields__, orjson.loads(record), strict=True))
    return Fragment(**named | {"fields": FieldCounts(*named["fields"]), "file_bytes": tuple(named["file_bytes"])})


def split_of(key: str) -> str:
    """Return the key of the split that a batch belongs to."""
    return key.partition("-")[0]


def examples_path(directory: str, key: str) -> str:
    """Return where the examples of a batch are; there is no file for 0 rows."""
    return f"{directory}/{key}.examples.arrow"


def rejects_path(directory: str, key: str) -> str:
    """Return where the rejected rows of a batch are; there is no file for 0 rows."""
    return f"{directory}/{key}.rejects.arrow"


def is_there(fragment: Fragment, directory: str, signatures: str | None) -> bool:
    """Say whether the files are as they were written: a machine that went down may have lost them."""
    return _file_bytes(fragment.key, directory, signatures) == fragment.file_bytes


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
        parts: a power of two, into how many the file is cut at most; more than there will be buckets costs file headers, fewer costs reading.
        signatures: where the batch's signature block is already, if it has one.
    """
    examples, rejects = batch.examples, batch.rejects
    parts = min(parts, _parts_of(examples.num_rows))
    if examples.num_rows:
        _write_parts(examples, examples_path(directory, batch.key), parts)
    if rejects.num_rows:
        write_arrow([rejects], rejects.schema, rejects_path(directory, batch.key))
    domains = pc.value_counts(examples.column("domain")).to_pylist()
    fragment = Fragment(
        key=batch.key,
        source=batch.split.source,
        rows=examples.num_rows,
        bytes=_text_bytes(examples) + _ROW_BYTES * examples.num_rows,
        parts=parts,
        rejected=rejects.num_rows,
        rejected_bytes=rejects.nbytes,
        domains={entry["values"]: entry["counts"] for entry in domains},
        counts=dict(batch.counts),
        raw_bytes=batch.raw_bytes,
        fields=batch.fields,
        file_bytes=_file_bytes(batch.key, directory, signatures),
    )
    replace_bytes(record_path(directory, batch.key), pack(fragment), durable=False)
    return fragment


def _parts_of(rows: int) -> int:
    """Return the largest power of two that leaves a part enough rows."""
    return 1 << (max(1, rows // _PART_ROWS).bit_length() - 1)


def _file_bytes(key: str, directory: str, signatures: str | None) -> tuple[int, ...]:
    paths = [examples_path(directory, key), rejects_path(directory, key)]
    return (*map(size, paths), size(f"{signatures}/{key}.arrow") if signatures else -1)


def record_path(directory: str, key: str) -> str:
    """Return where the record of a batch is."""
    return f"{directory}/{key}.json"


def read_record(path: str) -> Fragment:
    """Read what :func:`write_fragment` wrote last."""
    return unpack(read_bytes(path))


def _write_parts(examples: pa.RecordBatch, path: str, parts: int) -> None:
    keys = id_keys(examples.column("id"))
    order = np.argsort(keys, kind="stable")
    examples = examples.take(pa.array(order))
    edges = np.searchsorted(keys[order], np.arange(parts + 1) * (KEYS // parts)).tolist()
    write_arrow((examples.slice(a, b - a) for a, b in itertools.pairwise(edges)), examples.schema, path)


def _text_bytes(examples: pa.RecordBatch) -> int:
    contents = examples.column("messages").flatten().field("content")
    texts = (contents, examples.column("tools"), examples.column("rejected"))
    return sum(int(pc.sum(pc.binary_length(column)).as_py() or 0) for column in texts)


def read_bucket(directory: str, key: str, parts: int, bucket: Bucket) -> list[pa.RecordBatch]:
    """Read the rows of a bucket from one fragment that has some, in the order of their keys; a local file is mapped, not copied.

    Args:
        directory: where the fragments are.
        key: of the batch.
        parts: into how many the file is cut.
        bucket: which keys.
    """
    with open_arrow(examples_path(directory, key)) as stream:  # a mapping outlives its closed file
        return bucket_rows(pa.ipc.open_file(stream), parts, bucket)


def map_fragment(directory: str, key: str) -> pa.ipc.RecordBatchFileReader:
    """Open the examples of a local fragment for many reads; no file stays open."""
    with pa.memory_map(examples_path(directory, key)) as stream:
        return pa.ipc.open_file(stream.read_buffer())


def bucket_rows(examples: pa.ipc.RecordBatchFileReader, parts: int, bucket: Bucket) -> list[pa.RecordBatch]:
    """Return the rows of a bucket, as :func:`read_bucket` does, from a fragment that is open."""
    first, last = bucket.keys
    width = KEYS // parts
    batches = [examples.get_batch(part) for part in range(first // width, -(-last // width))]
    if last - first < width:  # a part holds several buckets
        batches = [_slice(batch, first, last) for batch in batches]
    return [batch for batch in batches if batch.num_rows]


def _slice(batch: pa.RecordBatch, first: int, last: int) -> pa.RecordBatch:
    keys = id_keys(batch.column("id"))
    start, end = np.searchsorted(keys, [first, last])
    return batch.slice(int(start), int(end - start))


def read_rejects(directory: str, key: str) -> pa.RecordBatch:
    """Read the rejected rows of a fragment that has some."""
    with open_arrow(rejects_path(directory, key)) as stream:
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


def buckets(count: int) -> Iterator[Bucket]:
    """Yield all buckets."""
    return (Bucket(number, count) for number in range(count))
