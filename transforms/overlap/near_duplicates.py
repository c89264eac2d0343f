"""Near-duplicates: rows whose texts share most of their word n-grams, in clusters of which one row stays.

1. Beside every batch of examples a block is written: ids, signatures, band keys (about 450 bytes a row). The engine's shuffle
   carries only the names of these files.
2. For each band, rows with equal keys meet in a bucket, and their signatures are compared: a link joins two rows of which at
   least the share ``similarity`` of places agrees.
3. Rows that links connect are a cluster. The smallest id stays.

An id says on which side of the split its row is: validation rows are those below a bound
(:func:`versatune.transforms.shards.write_shards.in_validation`). So if a cluster has a validation row at all, then its smallest id is one, and a
near-duplicate of a validation row never stays in train.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.pvalue import AsList, PCollection

from versatune.schemas.config import NearDuplicatesConfig
from versatune.schemas.files import sha256_bytes
from versatune.transforms.overlap.minhash import band_keys, choose_bands, signatures_of
from versatune.transforms.overlap.shingles import shingles_of, words_of_conversations
from versatune.transforms.transport.ids import hex_ids, id_halves
from versatune.transforms.transport.storage import open_arrow, replace_bytes, write_arrow

NEAR_DUPLICATE = pa.schema(
    [
        pa.field("kept", pa.string(), nullable=False),  # the cluster's smallest id: the row that stays
        pa.field("id", pa.string(), nullable=False),  # a row that goes
        pa.field("similarity", pa.float32(), nullable=False),  # of the two, estimated; lower along a chain of links
    ]
)
_LINK = pa.schema([("a", pa.int64()), ("b", pa.int64())])
LEADERS = 8
"""Rows of a bucket with which the others are compared at most; see :func:`link_band`."""

_PART_ROWS = 2**22  # rows whose keys are sorted at once
_CHUNK_PAIRS = 2**15  # pairs whose signatures are in memory at once
_ROW_GROUP_ROWS = 2**16
_CHUNK_ROWS = 256  # rows whose words are in memory at once: ten times their text


class Links(NamedTuple):
    """A file with the links that one band found."""

    path: str
    rows: int


class Clusters(NamedTuple):
    """What was found."""

    path: str
    """Parquet, :data:`NEAR_DUPLICATE`, sorted by kept id, then id."""
    rows: int
    """Of the file: distinct ids that go."""
    bytes: int
    sha256: str
    clusters: int


def signature_rows(batch: pa.RecordBatch, settings: NearDuplicatesConfig) -> pa.RecordBatch:
    """Return id, signature and band keys of each example that has a word; the others are nobody's duplicates.

    The text that counts is that of all turns but the system's, thoughts too. Of a signature the lower 16 bits of each place are kept
    (b-bit MinHash, Li and König 2010): they agree by chance once in 65,536.

    Args:
        batch: with the columns ``id`` (32 hex digits) and ``messages``.
        settings: n-gram, permutations and similarity.
    """
    signatures = np.empty((batch.num_rows, settings.permutations), np.uint32)
    has_words = np.empty(batch.num_rows, bool)
    for start in range(0, batch.num_rows, _CHUNK_ROWS):
        here = slice(start, start + _CHUNK_ROWS)
        words = words_of_conversations(batch.column("messages")[here], without="system")
        signatures[here] = signatures_of(shingles_of(words, settings.ngram), settings.permutations)
        has_words[here] = np.diff(words.offsets) > 0
    ids, signatures = id_halves(batch.column("id")).astype(">u8")[has_words], signatures[has_words]
    keys = band_keys(signatures, choose_bands(settings.similarity, settings.permutations))
    places = pa.array(signatures.astype(np.uint16).reshape(-1))
    columns = {
        "id": pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(signatures), [None, pa.py_buffer(ids.tobytes())]),
        "signature": pa.FixedSizeListArray.from_arrays(places, settings.permutations),
    }
    return pa.record_batch(columns | {_band(number): pa.array(row) for number, row in enumerate(keys)})


def write_signatures(batch: pa.RecordBatch, settings: NearDuplicatesConfig, directory: str, key: str) -> str:
    """Write the block ``<directory>/<key>.arrow``, whole or not at all, and return its path; a retry writes the same bytes."""
    rows = signature_rows(batch, settings)
    path = f"{directory}/{key}.arrow"
    write_arrow([rows], rows.schema, path)
    return path


def link_band(blocks: Iterable[str], band: int, similarity: float) -> Iterator[np.ndarray]:
    """Yield links between rows that agree in a band and whose signatures agree in at least a share ``similarity`` of places.

    In each bucket the row of the smallest id leads: all others are compared with it, and linked or not. As long as a row is linked
    to nothing, the first such row leads next, up to :data:`LEADERS` times. So a bucket that a hundred thousand rows share,
    because they share a boilerplate, costs at most :data:`LEADERS` comparisons a row. Two rows that both are linked to leaders
    already are not compared; nor are, in a bucket with more than :data:`LEADERS` unlike rows, those that never led. Other bands may
    still find what one of them misses.

    Args:
        blocks: paths of all of them, in any order.
        band: its number.
        similarity: the least share of places that agree.

    Yields:
        (n, 2) int64 numbers of rows, the blocks sorted by path and counted through.
    """
    store = _Store(blocks)
    keys = store.band(band)
    parts = -(-len(keys) // _PART_ROWS)
    for part in range(parts):
        here = np.flatnonzero(keys % np.uint64(parts) == part) if parts > 1 else np.arange(len(keys))
        rows, bucket = store.distinct(*_sharing(here, keys[here]))
        linked = np.zeros(len(rows), bool)
        for _ in range(LEADERS):
            leads, led = _leaders(bucket, linked)
            if not led.any():
                break
            close = np.zeros(len(rows), bool)
            close[led] = store.similarity(rows[leads[led]], rows[led]) >= similarity
            yield np.column_stack([rows[leads[close]], rows[close]])
            rows, bucket, linked = rows[led], bucket[led], (linked | close)[led]


def write_links(blocks: Iterable[str], band: int, similarity: float, directory: str) -> Links:
    """Write the links of one band as ``<directory>/links-<band>.arrow``."""
    path = f"{directory}/links-{band:03d}.arrow"
    columns = (pairs.T for pairs in link_band(blocks, band, similarity))
    return Links(
        path, write_arrow((pa.record_batch([*map(pa.array, pair)], schema=_LINK) for pair in columns), _LINK, path)
    )


def write_clusters(blocks: Iterable[str], links: Iterable[Links], path: str) -> Clusters:
    """Join what is linked, and write every row that goes beside the one that stays; the file depends on the rows alone."""
    store = _Store(blocks)
    roots = np.arange(store.rows)
    for file in sorted(links):
        for pairs in _read_links(file):
            connect(roots, pairs)
    members = np.flatnonzero(np.bincount(roots, minlength=store.rows)[roots] > 1)
    ids = store.ids(members)
    order = np.lexsort((ids[:, 1], ids[:, 0], roots[members]))
    members, ids = members[order], ids[order]
    first = np.flatnonzero(np.diff(roots[members], prepend=-1))
    kept = np.repeat(first, np.diff(first, append=len(members)))
    gone = np.flatnonzero(kept != np.arange(len(members)))
    gone = gone[np.lexsort((ids[gone, 1], ids[gone, 0], ids[kept[gone], 1], ids[kept[gone], 0]))]
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, NEAR_DUPLICATE, compression="zstd") as writer:
        for start in range(0, len(gone), _ROW_GROUP_ROWS):
            here = gone[start : start + _ROW_GROUP_ROWS]
            similar = store.similarity(members[kept[here]], members[here]).astype(np.float32)
            columns = [hex_ids(ids[kept[here]]), hex_ids(ids[here]), pa.array(similar)]
            writer.write_table(pa.table(columns, schema=NEAR_DUPLICATE))
    data = sink.getvalue().to_pybytes()
    replace_bytes(path, data)
    return Clusters(path, len(gone), len(data), sha256_bytes(data), len(first))


def connect(roots: np.ndarray, pairs: np.ndarray) -> None:
    """Join the trees of linked rows, in place.

    Args:
        roots: (rows,) int64, the smallest row number of each row's tree.
        pairs: (n, 2) int64.
    """
    while len(pairs):
        ends = np.sort(roots[pairs], axis=1)
        pairs = ends[ends[:, 0] != ends[:, 1]]
        np.minimum.at(roots, pairs[:, 1], pairs[:, 0])  # a root's new parent is smaller, so there is no circle
        while not np.array_equal(further := roots[roots], roots):
            roots[:] = further


def dropped_of(path: str) -> tuple[np.ndarray, pa.Array]:
    """Read a file of clusters: the ids that go, (d, 2) uint64 in order, and beside each the id that stays in its place."""
    with open_arrow(path) as stream:
        rows = pq.read_table(stream, columns=["id", "kept"]).sort_by("id").combine_chunks()
    return id_halves(rows["id"]), rows["kept"].combine_chunks()


@dataclass(kw_only=True)
class FindNearDuplicates(beam.PTransform[PCollection[str], PCollection[Clusters]]):
    """Paths of all blocks in, exactly one :class:`Clusters` out, whose file is ``<directory>/near_duplicates.parquet``.

    Links are written beside the blocks. Bands are worked on in parallel. The order of blocks means nothing; a retry writes the same files again.
    """

    settings: NearDuplicatesConfig
    directory: str

    def expand(self, blocks: PCollection[str]) -> PCollection[Clusters]:
        """Find links band by band, then clusters."""
        bands = choose_bands(self.settings.similarity, self.settings.permutations).bands
        links = (
            blocks.pipeline
            | "ListBands" >> beam.Create(range(bands))
            | "SpreadBands" >> beam.Reshuffle()
            | "LinkBand" >> beam.FlatMap(self._link, AsList(blocks)).with_output_types(Links)
        )
        return (
            blocks.pipeline
            | "Once" >> beam.Create([f"{self.directory}/near_duplicates.parquet"])
            | "WriteClusters" >> beam.Map(self._cluster, AsList(blocks), AsList(links)).with_output_types(Clusters)
        )

    def _link(self, band: int, blocks: list[str]) -> Iterator[Links]:
        if blocks:
            beside = min(blocks).rpartition("/")[0]
            yield write_links(blocks, band, self.settings.similarity, beside)

    def _cluster(self, path: str, blocks: list[str], links: list[Links]) -> Clusters:
        return write_clusters(blocks, links, path)


class _Store:
    """All signature blocks as one long table, of which little is in memory at a time."""

    def __init__(self, blocks: Iterable[str]) -> None:
        self._paths = sorted(blocks)
        self._starts = np.zeros(len(self._paths) + 1, np.int64)
        np.cumsum([len(_column(path, "id")) for path in self._paths], out=self._starts[1:])
        self.rows = int(self._starts[-1])

    def band(self, number: int) -> np.ndarray:
        """Return every row's key in a band, (rows,) uint64."""
        keys = np.empty(self.rows, np.uint64)
        for path, start, end in zip(self._paths, self._starts[:-1], self._starts[1:], strict=True):
            keys[start:end] = _column(path, _band(number)).to_numpy()
        return keys

    def ids(self, rows: np.ndarray) -> np.ndarray:
        """Return the ids of some rows, (n, 2) uint64: compared left to right they are in the order of their hex digits."""
        return self._take("id", rows, 2, np.dtype(">u8")).astype(np.uint64)

    def similarity(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return the share of places in which the signatures of each pair agree, (n,) float64."""
        shares = np.empty(len(left))
        for start in range(0, len(left), _CHUNK_PAIRS):
            here = slice(start, start + _CHUNK_PAIRS)
            both = self._signatures(np.concatenate([left[here], right[here]]))
            half = len(both) // 2
            shares[here] = (both[:half] == both[half:]).mean(axis=1)
        return shares

    def distinct(self, rows: np.ndarray, bucket: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sort rows by bucket and id and keep one of each id: its first, in every band the same, for equal rows share every bucket."""
        ids = self.ids(rows)
        order = np.lexsort((rows, ids[:, 1], ids[:, 0], bucket))
        rows, bucket, ids = rows[order], bucket[order], ids[order]
        repeats = np.zeros(len(rows), bool)
        repeats[1:] = (ids[1:] == ids[:-1]).all(axis=1) & (bucket[1:] == bucket[:-1])
        return rows[~repeats], bucket[~repeats]

    def _signatures(self, rows: np.ndarray) -> np.ndarray:
        with open_arrow(self._paths[0]) as stream:
            width = pa.ipc.open_file(stream).schema.field("signature").type.list_size
        return self._take("signature", rows, width, np.uint16)

    def _take(self, column: str, rows: np.ndarray, width: int, kind: Any) -> np.ndarray:
        """Return a column's values of some rows, (n, width)."""
        taken = np.empty((len(rows), width), kind)
        order = np.argsort(rows, kind="stable")
        ends = np.searchsorted(rows[order], self._starts)
        for block in np.flatnonzero(np.diff(ends)):
            here = order[ends[block] : ends[block + 1]]
            array = _column(self._paths[block], column)
            values = np.frombuffer(array.flatten().buffers()[1] if column == "signature" else array.buffers()[1], kind)
            taken[here] = values.reshape(-1, width)[rows[here] - self._starts[block]]
        return taken


def _column(path: str, name: str) -> pa.Array:
    with open_arrow(path) as stream:
        return pa.ipc.open_file(stream).get_batch(0).column(name)


def _band(number: int) -> str:
    return f"band_{number:03d}"


def _sharing(rows: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows whose key another row has too, and the number of the bucket of each."""
    order = np.argsort(keys)
    keys = keys[order]
    new = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    shared = ~(new & np.append(new[1:], True))
    return rows[order][shared], np.cumsum(new)[shared]


def _leaders(bucket: np.ndarray, linked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choose the first row of each bucket that is not linked yet.

    Args:
        bucket: (n,) of each row, ascending.
        linked: (n,) bool.

    Returns:
        (n,) int64, the place of each row's leader; (n,) bool, true where there is one, and not the row itself.
    """
    unlinked = np.flatnonzero(~linked)
    at = np.searchsorted(bucket[unlinked], bucket)
    has_leader = at < len(unlinked)
    leads = np.zeros(len(bucket), np.int64)
    leads[has_leader] = unlinked[at[has_leader]]
    has_leader &= bucket[leads] == bucket
    return leads, has_leader & (leads != np.arange(len(bucket)))


def _read_links(links: Links) -> Iterator[np.ndarray]:
    with open_arrow(links.path) as stream:
        file = pa.ipc.open_file(stream)
        for number in range(file.num_record_batches):
            yield np.column_stack([column.to_numpy() for column in file.get_batch(number).columns])
