"""What to do about literal end markers behind a source's answers."""

from __future__ import annotations

from collections.abc import Iterator

from versatune.schemas.config import Config
from versatune.schemas.dataset import DatasetManifest, SourceBooks
from versatune.transforms.cleaning.tails import tail_advice, unused_markers


def said_of_tails(manifest: DatasetManifest, config: Config) -> Iterator[str]:
    """Yield a line for each source of which many answers end with a marker, and for each marker to drop that ended none."""
    drop = {source.name: source.drop_tail for source in config.sources}
    for book in manifest.books:
        if (advice := tail_advice(book.source, book.counts, _answers(book))) is not None:
            yield advice
        for marker in unused_markers(drop.get(book.source, ()), book.counts):
            yield f"source '{book.source}': no answer ends with '{marker}', which drop_tail names"


def _answers(book: SourceBooks) -> int:
    """How many examples were read and cleaned, whatever became of them then."""
    later = sum(
        rows for reason, rows in book.rejected.items() if reason.split(".")[0] not in ("read", "normalize", "clean")
    )
    return later + sum(sum(part.values()) for part in (book.written, book.duplicates, book.near_duplicates))
