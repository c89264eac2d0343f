"""The rows of a dataset version: are they what their paths, the manifest, the lineage and the books say?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from versatune.schemas.arrow import LINEAGE, REJECT_FILE, example_schema
from versatune.schemas.dataset import DatasetManifest, Shard, SideFile
from versatune.schemas.inside import inside
from versatune.schemas.progress import Progress
from versatune.transforms.classifier.classify import probabilities, undetermined
from versatune.transforms.shapes.base import Example
from versatune.transforms.shapes.conversation import example_id
from versatune.transforms.shards.write_shards import in_validation
from versatune.transforms.transport.messages import conversations
from versatune.versions.listing import Bucket, bucket_of

_BATCH_ROWS = 8192
_NO_IDS = pa.array([], pa.string())


def check_rows(directory: Path, manifest: DatasetManifest, progress: Progress) -> list[str]:
    """Return one line for each thing that is wrong with the rows of a version whose files are whole.

    In memory are the ids of one range of shards, the pairs of near-duplicates, and one byte for each row that was read.
    """
    check = _Check(directory, manifest)
    progress.begin("look at rows", sum(entry.rows for entry in manifest.files), "rows")
    seen = 0
    for group in check.groups():
        check.look_at(group)
        seen += sum(entry.rows for entry in group)
        progress.advance_to(seen)
    check.compare()
    progress.end()
    return check.problems


class _Check:
    """What has been seen so far, and what was wrong with it."""

    def __init__(self, directory: Path, manifest: DatasetManifest) -> None:
        self._directory, self._manifest = directory, manifest
        self.problems: list[str] = []
        read = [file for file in manifest.inputs if not file.refused]
        self._covered = {(file.source, file.uri): np.zeros(file.rows, bool) for file in read}
        self._licenses = {
            source: {f.license for f in read if f.source == source} for source in {f.source for f in read}
        }
        self._pinned = {source["name"] for source in manifest.config.get("sources", []) if source.get("domain")}
        self._written: Counter[tuple[str, str]] = Counter()
        self._undetermined: Counter[tuple[str, str]] = Counter()
        self._cut: Counter[tuple[str, str]] = Counter()
        self._cut_tokens: Counter[tuple[str, str]] = Counter()
        self._rejected: Counter[tuple[str, str]] = Counter()
        self._fates: Counter[tuple[str, str]] = Counter()
        self._near = self._near_pairs()
        kept = pc.unique(self._near["kept_id"].combine_chunks()) if len(self._near) else _NO_IDS
        self._awaited = dict.fromkeys(kept.to_pylist(), True)

    def groups(self) -> Iterator[list[Shard | SideFile]]:
        """Yield files that have to be looked at together: the lineage and the shards of a range of ids, each group of rejects."""
        buckets: dict[Bucket, list[Shard | SideFile]] = {}
        ranged: list[Shard | SideFile] = [*self._manifest.lineage, *self._manifest.shards]
        for entry in ranged:
            buckets.setdefault(bucket_of(entry.path), []).append(entry)
        yield from (buckets[bucket] for bucket in sorted(buckets))
        for rejects in self._manifest.rejects:
            yield [rejects]

    def look_at(self, group: list[Shard | SideFile]) -> None:
        """Check a group of files."""
        shards = [entry for entry in group if isinstance(entry, Shard)]
        if group[0].path.startswith("rejects/"):
            self._look_at_rejects(group[0])
            return
        bucket = bucket_of(group[0].path)
        ids = [self._look_at_shard(entry, bucket) for entry in shards]
        written = pa.concat_arrays([*ids, _NO_IDS])
        if twice := len(written) - len(pc.unique(written)):
            self._say(f"{', '.join(entry.path for entry in shards)}: {twice:,} ids stand there more than once")
        for identity in written.to_pylist() if self._awaited else ():
            self._awaited.pop(identity, None)
        for entry in group:
            if not isinstance(entry, Shard):
                self._look_at_lineage(entry, bucket, written)

    def compare(self) -> None:
        """Compare what was counted with the books, once everything was looked at."""
        books = self._manifest.books
        self._compare("rows written of", self._written, {(b.source, d): n for b in books for d, n in b.written.items()})
        unsure = {(b.source, d): n for b in books for d, n in b.undetermined.items()}
        self._compare("undetermined rows of", self._undetermined, unsure)
        cut = {(b.source, d): n for b in books for d, n in b.cut.items()}
        self._compare("rows cut at max_tokens of", self._cut, cut)
        cut = {(b.source, d): n for b in books for d, n in b.cut_tokens.items()}
        self._compare("tokens cut off rows of", self._cut_tokens, cut)
        self._compare(
            "rejects of", self._rejected, {(b.source, why): n for b in books for why, n in b.rejected.items()}
        )
        fates = {
            (book.source, fate): sum(part.values())
            for book in books
            for fate, part in (
                ("written", book.written),
                ("duplicate", book.duplicates),
                ("near_duplicate", book.near_duplicates),
            )
        }
        self._compare("lineage rows of", self._fates, fates)
        if self._awaited:
            self._say(f"lineage: {_some(list(self._awaited))} is kept for near-duplicates, and in no shard")
        self._compare_near_duplicates()
        for (source, uri), covered in self._covered.items():
            if not covered.all():
                missing = np.flatnonzero(~covered)
                self._say(
                    f"{uri} (source '{source}'): {len(missing):,} of its {len(covered):,} rows are neither in the lineage nor"
                    f" rejected, such as row {missing[0]}"
                )

    def _say(self, problem: str) -> None:
        self.problems.append(problem)

    def _compare(self, what: str, found: Counter[tuple[str, str]], books: dict[tuple[str, str], int]) -> None:
        for source, kind in sorted({*found, *books}):
            if found[source, kind] != books.get((source, kind), 0):
                self._say(
                    f"books: {books.get((source, kind), 0):,} {what} source '{source}', {kind}; the files hold"
                    f" {found[source, kind]:,}"
                )

    def _batches(self, entry: Shard | SideFile, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(inside(self._directory, entry.path)) as file:
            if not file.schema_arrow.remove_metadata().equals(schema):
                self._say(
                    f"{entry.path}: has other columns or types than schema_version {self._manifest.schema_version}"
                )
                return
            yield from file.iter_batches(_BATCH_ROWS)

    def _wrong(self, path: str, bad: np.ndarray, ids: pa.Array, what: str) -> None:
        if bad.any():
            self._say(f"{path}: {what} ({_some(ids.filter(pa.array(bad)).to_pylist())})")

    def _look_at_shard(self, entry: Shard, bucket: Bucket) -> pa.Array:
        manifest = self._manifest
        schema = example_schema(len(manifest.taxonomy), tokenized=manifest.tokenizer is not None)
        fraction = manifest.config.get("build", {}).get("validation_fraction", 0.0)
        ids: list[pa.Array] = [_NO_IDS]
        sums: Counter[str] = Counter()
        licenses: set[str] = set()
        for batch in self._batches(entry, schema):
            names, path = batch.column("id"), entry.path
            self._check_ids(path, bucket, ids[-1], names)
            held_out = in_validation(names, fraction)
            self._wrong(
                path, held_out != (entry.split == "validation"), names, f"ids that do not belong to {entry.split}"
            )
            self._wrong(
                path, _differs(batch, "domain", entry.domain), names, f"rows that are not of domain {entry.domain}"
            )
            self._wrong(path, _other_content(batch), names, "ids that are not the digest of the row's content")
            self._wrong(path, _other_length(batch), names, "num_chars is not the length of the contents")
            sources, allowed = batch.column("source").to_pylist(), batch.column("license").to_pylist()
            foreign = [
                name not in self._licenses.get(source, ()) for source, name in zip(sources, allowed, strict=True)
            ]
            self._wrong(path, np.array(foreign, bool), names, "source and licence that no input file has together")
            licenses.update(allowed)
            self._written.update((source, entry.domain) for source in sources)
            unsure = _numpy(batch.column("undetermined"))
            self._undetermined.update((sources[at], entry.domain) for at in np.flatnonzero(unsure))
            self._wrong(
                path, unsure != self._unsure(batch, sources), names, "undetermined is not what the probabilities say"
            )
            if manifest.tokenizer is not None:
                self._wrong(
                    path, _other_tokens(batch), names, "token counts that are not those of input_ids and loss_mask"
                )
                beyond = _numpy(batch.column("num_cut_tokens"))
                for at in np.flatnonzero(beyond):
                    self._cut[sources[at], entry.domain] += 1
                    self._cut_tokens[sources[at], entry.domain] += int(beyond[at])
                for name in ("num_tokens", "num_loss_tokens"):
                    sums[name] += pc.sum(batch.column(name)).as_py() or 0
            ids.append(names)
        for what, found, said in (
            ("tokens", sums["num_tokens"], entry.tokens),
            ("loss tokens", sums["num_loss_tokens"], entry.loss_tokens),
            ("licences", sorted(licenses), sorted(entry.licenses)),
        ):
            if found != said:
                self._say(f"{entry.path}: its rows have {_shown(found)} {what}, the manifest says {_shown(said)}")
        return pa.concat_arrays(ids)

    def _unsure(self, batch: pa.RecordBatch, sources: list[str]) -> np.ndarray:
        free = np.array([source not in self._pinned for source in sources], bool)
        return np.asarray(free & undetermined(probabilities(batch), self._manifest.classifier.undetermined_below))

    def _check_ids(self, path: str, bucket: Bucket, before: pa.Array, ids: pa.Array) -> None:
        both = pa.concat_arrays([before[-1:], ids])
        order = np.zeros(len(ids), bool)
        order[len(ids) - len(both) + 1 :] = pc.less_equal(both[1:], both[:-1]).to_numpy(zero_copy_only=False)
        self._wrong(path, order, ids, "ids that are not in order, or stand there twice")
        self._check_bucket(path, bucket, ids)

    def _check_bucket(self, path: str, bucket: Bucket, ids: pa.Array) -> None:
        elsewhere = np.array([not bucket.holds(name) for name in ids.to_pylist()], bool)
        self._wrong(path, elsewhere, ids, "ids that belong into another part")

    def _look_at_lineage(self, entry: SideFile, bucket: Bucket, written: pa.Array) -> None:
        path, known = entry.path, [_NO_IDS]
        last: dict[str, Any] = {"id": "", "kept_id": ""}
        for batch in self._batches(entry, LINEAGE):
            ids, kept, fate = (batch.column(name) for name in ("id", "kept_id", "fate"))
            self._check_bucket(path, bucket, ids)
            before = pa.concat_arrays([pa.array([last["id"]]), ids[:-1]])
            kept_before = pa.concat_arrays([pa.array([last["kept_id"]]), kept[:-1]])
            first, duplicate = _numpy(pc.not_equal(ids, before)), _numpy(pc.equal(fate, "duplicate"))
            self._wrong(path, _numpy(pc.less(ids, before)), ids, "ids that are not in order")
            self._wrong(path, first == duplicate, ids, "ids of which not exactly one row is no duplicate")
            self._wrong(
                path, ~first & _numpy(pc.not_equal(kept, kept_before)), ids, "copies that different rows stand for"
            )
            is_written = _numpy(pc.equal(fate, "written"))
            self._wrong(path, first & (is_written != _numpy(pc.equal(ids, kept))), ids, "fate and kept_id disagree")
            known.append(ids.filter(pa.array(is_written)))
            self._tally_origins(path, batch)
            self._fates.update(zip(batch.column("source").to_pylist(), fate.to_pylist(), strict=True))
            last = {"id": ids[-1].as_py(), "kept_id": kept[-1].as_py()} if len(ids) else last
        in_lineage = pa.concat_arrays(known)
        for ours, theirs, what in (
            (in_lineage, written, "are written, says the lineage, and in no shard"),
            (written, in_lineage, "are in the shards, and not written, says the lineage"),
        ):
            missing = ours.filter(pc.invert(pc.is_in(ours, value_set=theirs)))
            if len(missing):
                self._say(f"{path}: {_some(missing.to_pylist())} {what}")

    def _look_at_rejects(self, entry: Shard | SideFile) -> None:
        for batch in self._batches(entry, REJECT_FILE):
            self._tally_origins(entry.path, batch)
            reasons = pc.binary_join_element_wise(batch.column("stage"), batch.column("reason"), ".")
            self._rejected.update(zip(batch.column("source").to_pylist(), reasons.to_pylist(), strict=True))

    def _tally_origins(self, path: str, batch: pa.RecordBatch) -> None:
        """Mark the rows of input files that a batch accounts for."""
        uri, row, _ = batch.column("origin").flatten()
        files, number = np.unique(
            np.array([f"{s}\0{u}" for s, u in zip(batch.column("source").to_pylist(), uri.to_pylist(), strict=True)]),
            return_inverse=True,
        )
        rows = row.to_numpy()
        for at, name in enumerate(files):
            source, _, file = str(name).partition("\0")
            here, covered = rows[number == at], self._covered.get((source, file))
            if covered is None:
                self._say(f"{path}: rows of {file} (source '{source}'), which is not among the files that were read")
            elif here.min() < 0 or here.max() >= len(covered):
                self._say(f"{path}: row {here.max()} of {file} (source '{source}'), which has {len(covered):,} rows")
            else:
                covered[here] = True

    def _near_pairs(self) -> pa.Table:
        """Return (id, kept_id) of the lineage's near-duplicates, sorted by id."""
        near = pc.field("fate") == "near_duplicate"
        files = [inside(self._directory, entry.path) for entry in self._manifest.lineage]
        parts = [pq.read_table(file, columns=["id", "kept_id"], filters=near, partitioning=None) for file in files]
        empty = pa.table({"id": _NO_IDS, "kept_id": _NO_IDS})
        return pa.concat_tables([empty, *(part.cast(empty.schema) for part in parts)]).sort_by("id")

    def _compare_near_duplicates(self) -> None:
        entry = self._manifest.near_duplicates
        if entry is None:
            return
        pairs = pq.read_table(inside(self._directory, entry.path), columns=["id", "kept"], partitioning=None).sort_by(
            "id"
        )
        if not (pairs["id"].equals(self._near["id"]) and pairs["kept"].equals(self._near["kept_id"])):
            self._say(f"{entry.path}: names other near-duplicates than the lineage")


def _differs(batch: pa.RecordBatch, column: str, value: str) -> np.ndarray:
    return _numpy(pc.not_equal(batch.column(column), value))


def _examples(batch: pa.RecordBatch) -> Iterator[Example]:
    sides = [batch.column(name).to_pylist() for name in ("tools", "rejected", "unlearned")]
    for messages, tools, rejected, unlearned in zip(conversations(batch), *sides, strict=True):
        yield Example(messages, tools, rejected, unlearned=tuple(unlearned))


def _other_content(batch: pa.RecordBatch) -> np.ndarray:
    ids = batch.column("id").to_pylist()
    return np.array([example_id(e) != name for e, name in zip(_examples(batch), ids, strict=True)], bool)


def _other_length(batch: pa.RecordBatch) -> np.ndarray:
    lengths = [sum(len(content) for _, content in messages) for messages in conversations(batch)]
    return np.asarray(batch.column("num_chars").to_numpy() != np.array(lengths, np.int64))


def _other_tokens(batch: pa.RecordBatch) -> np.ndarray:
    tokens, mask = batch.column("input_ids"), batch.column("loss_mask")
    lengths = mask.value_lengths().to_numpy()
    trained = np.concatenate([[0], np.cumsum(_numpy(mask.flatten()))])
    ends = np.cumsum(lengths)
    return np.asarray(
        (tokens.value_lengths().to_numpy() != batch.column("num_tokens").to_numpy())
        | (lengths != batch.column("num_tokens").to_numpy())
        | (trained[ends] - trained[ends - lengths] != batch.column("num_loss_tokens").to_numpy())
    )


def _numpy(array: pa.Array) -> np.ndarray:
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _some(ids: Sequence[str]) -> str:
    return f"{len(ids):,} {'row' if len(ids) == 1 else 'rows'}, such as {ids[0]}"


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else ", ".join(value) or "no"
