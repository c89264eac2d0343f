"""Is a dataset version what its manifest says: files, checksums, counts, books, licences, card?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from versatune.schemas.dataset import DECONTAMINATE, REPAIRED, DatasetManifest, Shard
from versatune.schemas.errors import ConfigError, IntegrityError
from versatune.schemas.inside import inside
from versatune.schemas.progress import Progress
from versatune.schemas.yaml_text import parse_yaml
from versatune.transforms.shards.dataset_card import front_matter
from versatune.versions.checksums import checksum
from versatune.versions.listing import bucket_of

_CARD = "README.md"
_FENCE = re.compile(r"^---\n", re.MULTILINE)
_OWN_FILES = ("manifest.json", _CARD)


def check_version(file: Path, progress: Progress) -> tuple[DatasetManifest, list[str]]:
    """Read every file of a version once; return its manifest and one line for each thing that is wrong.

    Raises:
        DataError: there is no such manifest, or it is of another version of versatune.
        IntegrityError: the manifest was changed.
    """
    manifest, folder = DatasetManifest.load(file), file.parent  # whose names lie below the folder, or it is refused
    problems: list[str] = []
    progress.begin("verify", sum(entry.bytes for entry in manifest.files) / 1e6, "MB")
    done = 0
    for entry in manifest.files:
        wrong = list(file_problems(folder, entry.path, entry.bytes, entry.sha256))
        problems += wrong or row_problems(folder, entry.path, entry.rows)
        done += entry.bytes
        progress.advance_to(done / 1e6)
    progress.end()
    return manifest, [
        *problems,
        *_stray_files(folder, {entry.path for entry in manifest.files}),
        *_names(manifest),
        *_books(manifest),
        *_licenses(manifest),
        *_records(manifest),
        *_card(folder, manifest),
    ]


def file_problems(directory: Path, relative: str, size: int | None, digest: str | None) -> Iterator[str]:
    """Compare a file's size and sha256 with what a document says of it; None where it does not say."""
    try:
        file = inside(directory, relative)
    except IntegrityError as error:
        yield str(error)
        return
    if not file.is_file():
        yield f"{file}: missing"
    elif size is not None and file.stat().st_size != size:
        yield f"{file}: has {file.stat().st_size:,} bytes, the manifest says {size:,}"
    elif digest is not None and (found := checksum(file)) != digest:
        yield f"{file}: sha256 is {found[:12]}..., the manifest says {digest[:12]}..."


def row_problems(directory: Path, relative: str, rows: int) -> Iterator[str]:
    """Compare the rows in a Parquet file's footer with what a document says of it."""
    try:
        with pa.OSFile(
            str(directory / relative)
        ) as stream:  # a name takes Arrow a millisecond to find a file system for
            found = pq.read_metadata(stream).num_rows
    except (pa.ArrowInvalid, OSError):
        yield f"{directory / relative}: is no Parquet file; it was damaged or cut short"
        return
    if found != rows:
        yield f"{directory / relative}: has {found:,} rows, the manifest says {rows:,}"


def _stray_files(directory: Path, known: set[str]) -> Iterator[str]:
    for file in sorted(directory.rglob("*")):
        name = file.relative_to(directory).as_posix()
        if (file.is_file() or file.is_symlink()) and name not in known and name not in _OWN_FILES:
            yield f"{file}: is not in the manifest; delete it, or move it elsewhere"


def _names(manifest: DatasetManifest) -> Iterator[str]:
    """Check that paths say what the entries say, and that no file is named twice."""
    for path, times in Counter(entry.path for entry in manifest.files).items():
        if times > 1:
            yield f"manifest.json: names {path} {times} times"
    for shard in manifest.shards:
        if shard.path.rpartition("/")[0] != f"data/{shard.split}/{shard.domain}":
            yield f"manifest.json: {shard.path} is listed as domain {shard.domain} of {shard.split}"
        if shard.domain not in manifest.taxonomy.domains:
            yield f"manifest.json: {shard.path} is of domain '{shard.domain}', which the taxonomy does not have"
    try:
        paths = [entry.path for entry in manifest.shards] + [entry.path for entry in manifest.lineage]
        parts = {bucket_of(path).of for path in paths}
    except IntegrityError as error:
        yield f"manifest.json: {error}"
        return
    if len(parts) > 1:
        yield f"manifest.json: files are parts of {' and '.join(map(str, sorted(parts)))}; expected one number"


def _books(manifest: DatasetManifest) -> Iterator[str]:
    """Compare the books with the files; each source's own balance is checked on loading."""
    books = manifest.books
    read: Counter[str] = Counter()
    for file in manifest.inputs:
        read[file.source] += file.rows
        if file.refused and file.rows:
            yield f"manifest.json: {file.uri} was refused, yet {file.rows:,} of its rows count as read"
    yield from _differences("rows read of source", {book.source: book.read for book in books}, read, "the input files")
    in_shards: Counter[str] = Counter()
    for shard in manifest.shards:
        in_shards[shard.domain] += shard.rows
    written = _sum(book.written for book in books)
    yield from _differences("rows written of domain", written, in_shards, "the shards")
    near = sum(_sum(book.near_duplicates for book in books).values())
    ended = sum(written.values()) + sum(_sum(book.duplicates for book in books).values()) + near
    totals = [
        ("rows rejected", sum(_sum(book.rejected for book in books).values()), manifest.rejects),
        ("rows written or dropped as duplicates", ended, manifest.lineage),
    ]
    if manifest.near_duplicates is not None:
        totals.append(("near-duplicates", near, [manifest.near_duplicates]))
    elif near:
        yield f"manifest.json: the books say {near:,} near-duplicates, there is no file of them"
    for what, in_books, entries in totals:
        in_files = sum(entry.rows for entry in entries)
        if in_books != in_files:
            yield f"manifest.json: the books say {in_books:,} {what}, the files hold {in_files:,}"


def _sum(parts: Iterable[dict[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return total


def _differences(what: str, books: dict[str, int], found: Counter[str], where: str) -> Iterator[str]:
    for name in sorted({*books, *found}):
        if books.get(name, 0) != found[name]:
            yield f"manifest.json: the books say {books.get(name, 0):,} {what} '{name}', {where} {found[name]:,}"


def _licenses(manifest: DatasetManifest) -> Iterator[str]:
    known = {file.license for file in manifest.inputs if not file.refused}
    for shard in manifest.shards:
        if list(shard.licenses) != sorted(set(shard.licenses)) or not shard.licenses:
            yield f"manifest.json: {shard.path} has the licences {shard.licenses}; expected them sorted, at least one"
        for name in sorted(set(shard.licenses) - known):
            yield f"manifest.json: {shard.path} has the licence '{name}', which no input file has"


def _records(manifest: DatasetManifest) -> Iterator[str]:
    """Compare what stands twice: hits and repairs with their counts, tokens with the tokenizer."""
    counts = _sum(book.counts for book in manifest.books)
    for benchmark in manifest.decontamination.benchmarks if manifest.decontamination else []:
        if benchmark.hits != counts[DECONTAMINATE + benchmark.name]:
            yield (
                f"manifest.json: benchmark {benchmark.name} has {benchmark.hits:,} hits, the books count"
                f" {counts[DECONTAMINATE + benchmark.name]:,}"
            )
    used = manifest.repairs.used if manifest.repairs else 0
    if used != counts[REPAIRED]:
        yield f"manifest.json: {used:,} repairs were used, the books count {counts[REPAIRED]:,}"
    if manifest.tokenizer is None and any(_has_tokens(shard) for shard in manifest.shards):
        yield "manifest.json: shards have tokens, yet there is no tokenizer"


def _has_tokens(shard: Shard) -> bool:
    return bool(shard.tokens or shard.loss_tokens)


def _card(folder: Path, manifest: DatasetManifest) -> Iterator[str]:
    """Compare the part of the card that machines read; the text below it is its owner's to change."""
    try:
        file = inside(folder, _CARD)
    except IntegrityError as error:
        yield str(error)
        return
    if not file.is_file():
        yield f"{file}: missing; `datasets.load_dataset` finds splits and domains by it"
        return
    expected = front_matter(manifest)
    try:
        found = parse_yaml(_FENCE.split(file.read_text(encoding="utf-8"))[1], str(file))
        wrong = [key for key in ("license", "configs") if found.get(key) != expected[key]]
    except (ConfigError, UnicodeDecodeError, IndexError, AttributeError):
        yield f"{file}: does not begin with a card's front matter between two lines of ---"
        return
    if wrong:
        yield f"{file}: its front matter says something else than the manifest under {' and '.join(wrong)}"
