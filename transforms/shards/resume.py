"""What a killed build left that the next one can use: batches that were written, and splits that were read to their end."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import apache_beam as beam
import orjson
from apache_beam.pvalue import PCollection

from versatune.schemas.files import sha256_bytes
from versatune.transforms.formats.hub import SCHEME
from versatune.transforms.transport.batch import InputSplit, RawBatch
from versatune.transforms.transport.exchange import Fragment, is_there, pack, read_record, split_of, unpack
from versatune.transforms.transport.storage import match, read_bytes, replace_bytes

_DIGITS = 16


@dataclass(frozen=True)
class Finished:
    """The usable part of an earlier try's work."""

    fragments: list[Fragment]
    """Of splits that are read again in part, and of those that are not."""
    records: list[dict[str, Any]]
    """:class:`versatune.transforms.reading.read.ReadRecord` of splits that need no reading."""
    todo: list[InputSplit]
    """Splits to read; those of their batches that have a fragment are passed over."""


def find_finished(staging: str, splits: Sequence[InputSplit], signatures: str | None = None) -> Finished:
    """Look at a staging directory; whatever belongs to a split that is no longer planned (a changed file) is ignored.

    Args:
        staging: where an earlier try worked.
        splits: all that are planned.
        signatures: where signature blocks are, if there are some.
    """
    planned = {split.key for split in splits}
    fragments = list(_fragments(fragments_directory(staging), planned, signatures))
    changing = {split.key for split in splits if split.location.startswith(SCHEME)}
    batches = Counter(fragment.split for fragment in fragments)
    whole = {
        record["key"]: record
        for record in _records(staging)
        if record["key"] in planned and not record["refused"] and batches[record["key"]] == record["batches"]
    }
    # A hub dataset does not tell when it was changed: its batches may be used together, but not beside some that are read later.
    fragments = [fragment for fragment in fragments if fragment.split in whole or fragment.split not in changing]
    return Finished(fragments, list(whole.values()), [split for split in splits if split.key not in whole])


def _fragments(directory: str, planned: set[str], signatures: str | None) -> Iterator[Fragment]:
    for path in match(f"{directory}/*.json"):
        if split_of(path.rpartition("/")[2]) in planned:
            # A power cut may leave a record without its content.
            with contextlib.suppress(ValueError, TypeError, KeyError):
                fragment = read_record(path)
                if is_there(fragment, directory, signatures):
                    yield fragment


def _records(staging: str) -> Iterator[dict[str, Any]]:
    for path in match(f"{staging}/reads/*.json"):
        with contextlib.suppress(ValueError):
            yield orjson.loads(read_bytes(path))


def fragments_directory(staging: str) -> str:
    """Return where the fragments are."""
    return f"{staging}/fragments"


def save_read_record(record: dict[str, Any], staging: str) -> dict[str, Any]:
    """Remember that a split was read to its end, and return its record."""
    replace_bytes(f"{staging}/reads/{record['key']}.json", orjson.dumps(record), durable=False)
    return record


def save_finished(finished: Finished, staging: str) -> str | None:
    """Write the finished fragments to a file that workers read, for there may be too many for a graph; return its path if there are some."""
    if not finished.fragments:
        return None
    data = b"\n".join(pack(fragment) for fragment in finished.fragments)
    path = f"{staging}/finished-{sha256_bytes(data)[:_DIGITS]}.jsonl"  # one name, one content: workers remember it
    replace_bytes(path, data, durable=False)
    return path


def load_finished(path: str) -> Iterator[Fragment]:
    """Yield what :func:`save_finished` wrote."""
    return (unpack(line) for line in read_bytes(path).splitlines())


@lru_cache(maxsize=1)
def _finished_keys(path: str) -> frozenset[str]:
    return frozenset(fragment.key for fragment in load_finished(path))


@dataclass(kw_only=True)
class PassOverFinished(beam.PTransform[PCollection[RawBatch], PCollection[RawBatch]]):
    """Raw batches in; out those that have no fragment yet."""

    finished: str | None
    """The file of those that have; absent where there are none."""

    def expand(self, batches: PCollection[RawBatch]) -> PCollection[RawBatch]:
        """Leave out what is done."""
        return batches | "IsNew" >> beam.FlatMap(self._new).with_output_types(RawBatch)

    def _new(self, batch: RawBatch) -> Iterator[RawBatch]:
        if self.finished is None or batch.key not in _finished_keys(self.finished):
            yield batch
