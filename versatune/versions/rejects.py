"""``versatune rejects``: rejected rows by reason and source, and as JSON Lines that can be repaired and given back."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow.dataset as ds

from versatune.schemas.arrow import REJECT_FILE
from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.errors import DataError, nearest
from versatune.schemas.progress import Progress
from versatune.transforms.shapes import exact_json
from versatune.versions.listing import paths

_BATCH_ROWS = 1024


class Kind(NamedTuple):
    """What rejected rows have in common."""

    source: str
    stage: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which rejects; None is any."""

    source: str | None = None
    stage: str | None = None
    reason: str | None = None

    def fits(self, kind: Kind) -> bool:
        """Say whether rows of a kind are wanted."""
        asked = (self.source, self.stage, self.reason)
        return all(want in (None, have) for want, have in zip(asked, kind, strict=True))

    def filter(self) -> Any:
        """Return the same for Arrow; None for all."""
        found = None
        for name in ("source", "stage", "reason"):
            if (value := getattr(self, name)) is not None:
                one = ds.field(name) == value
                found = one if found is None else found & one
        return found


def count_rejects(manifest: DatasetManifest, wanted: Wanted) -> Counter[Kind]:
    """Return the number of rejects of each kind, from the books.

    Raises:
        DataError: none of the version's rejects has such a source, stage or reason.
    """
    kinds = Counter(
        {Kind(book.source, *why.split(".", 1)): rows for book in manifest.books for why, rows in book.rejected.items()}
    )
    for name in ("source", "stage", "reason"):
        known = (
            {book.source for book in manifest.books} if name == "source" else {getattr(kind, name) for kind in kinds}
        )
        value = getattr(wanted, name)
        if value is not None and value not in known:
            raise DataError(f"--{name} {value}: no rejected row of this version has it{nearest(value, known)}")
    return Counter({kind: rows for kind, rows in kinds.items() if wanted.fits(kind)})


def read_rejects(directory: Path, manifest: DatasetManifest, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """Yield rejects as JSON objects, in the order of their files and places: source, origin, stage, reason, detail,
    payload_digest, unchanged, payload.

    ``payload`` is the row as JSON where it is JSON, else its text; bytes that are no UTF-8 show as U+FFFD. ``payload_digest`` names the
    bytes themselves, and ``unchanged`` the payload as it stands here, so that rows nobody touched are told from repaired ones.
    """
    from versatune.transforms.reading.repairs import payload_digest, value_digest

    files = paths(directory, manifest.rejects)
    if not files:
        return
    rows = ds.dataset(files, schema=REJECT_FILE, format="parquet")
    for batch in rows.to_batches(
        filter=wanted.filter(), batch_size=_BATCH_ROWS, fragment_readahead=1, batch_readahead=1
    ):
        for row in batch.to_pylist():
            raw = row.pop("payload")
            payload = _readable(raw)
            yield row | {"payload_digest": payload_digest(raw), "unchanged": value_digest(payload), "payload": payload}


def _readable(payload: bytes) -> Any:
    """Return a payload's JSON value if the same value can be written again, else its text."""
    try:
        value = exact_json.loads(payload)
    except json.JSONDecodeError:
        return payload.decode(errors="replace")
    return value if isinstance(value, dict | list) else payload.decode(errors="replace")


def write_rejects(file: Path, rows: Iterator[dict[str, Any]], limit: int | None, heard: Callable[[int], None]) -> int:
    """Write rejects as JSON Lines, whole or not at all, and return their number.

    Raises:
        DataError: the file cannot be written.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    count = 0
    try:
        with partial.open("wb") as stream:
            for row in rows:
                if limit is not None and count >= limit:
                    break
                stream.write(exact_json.dumps(row, orjson.OPT_APPEND_NEWLINE))
                count += 1
                heard(count)
        partial.replace(file)
    except OSError as error:
        raise DataError(f"{file}: cannot be written ({error.strerror})") from None
    finally:
        partial.unlink(missing_ok=True)
    return count


def export_rejects(
    directory: Path, manifest: DatasetManifest, wanted: Wanted, file: Path, limit: int | None, progress: Progress
) -> int:
    """Write the wanted rejects of a version to a file of JSON Lines; return their number."""
    total = sum(count_rejects(manifest, wanted).values())
    progress.begin("write rejects", min(total, limit) if limit is not None else total, "rows")
    count = write_rejects(file, read_rejects(directory, manifest, wanted), limit, progress.advance_to)
    progress.end()
    return count
