"""What a build says of its sources at the end: of each what became of it first, nothing twice, and nothing else of one that gave nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from versatune.pipelines.shape_advice import shape_advice
from versatune.schemas.config import Config
from versatune.schemas.dataset import DatasetManifest, SourceBooks
from versatune.schemas.inside import inside
from versatune.transforms.chat.verdict import TOKENIZE_REASONS
from versatune.transforms.classifier.classify import CLASSIFY_REASONS
from versatune.transforms.cleaning.tails import tail_advice, unused_markers
from versatune.transforms.overlap.decontaminate import DECONTAMINATE_REASONS
from versatune.transforms.shapes.base import CLEAN_REASONS, NORMALIZE_REASONS, READ_REASONS
from versatune.transforms.transport.storage import is_local

_REASONS = 3
_MEANINGS = {
    "read": READ_REASONS,
    "normalize": NORMALIZE_REASONS,
    "clean": CLEAN_REASONS,
    "decontaminate": DECONTAMINATE_REASONS,
    "classify": CLASSIFY_REASONS,
    "tokenize": TOKENIZE_REASONS,
}


def source_notices(
    manifest: DatasetManifest, found: Mapping[str, Sequence[str]], directory: str, config: Config
) -> Iterator[str]:
    """Yield what to know of each source, at most one line for each kind.

    Args:
        manifest: of the version.
        found: by source, what was found in its files, the gravest first.
        directory: where the version is; of one that is not local no rejected rows are looked at.
        config: what was built. Of a source with a field map the reasons speak for themselves.
    """
    files = [str(inside(directory, file.path)) for file in manifest.rejects] if is_local(directory) else []
    mapped = {source.name for source in config.sources if source.fields}
    drop = {source.name: source.drop_tail for source in config.sources}
    advised = shape_advice(files, mapped, {(file.source, file.uri): file.rows for file in manifest.inputs})
    for book in manifest.books:
        lines, advice = found.get(book.source, ()), advised.get(book.source)
        if sum(book.written.values()):
            yield from ([advice] if advice else [])
            yield from lines
            yield from _said_of_tails(book, drop.get(book.source, ()))
        else:
            refused = [line for line in lines if line.startswith("refused: ")]
            yield from refused
            if book.read or not refused:
                yield f"source '{book.source}' gave nothing: {advice or _why_nothing(book)}"


def _why_nothing(book: SourceBooks) -> str:
    if not book.read:
        return "no rows could be read from its files"
    same = sum(book.duplicates.values()) + sum(book.near_duplicates.values())
    rejected = Counter(book.rejected).most_common()
    parts = [f"duplicates of other rows {same:,}"] if same else []
    parts += [
        f"{reason} {rows:,}{_meaning(reason) if not at else ''}"
        for at, (reason, rows) in enumerate(rejected[:_REASONS])
    ]
    more = f" and {len(rejected) - _REASONS} more reasons" if len(rejected) > _REASONS else ""
    return f"of {book.read + book.expanded:,} examples none is left: {', '.join(parts)}{more}"


def _meaning(reason: str) -> str:
    stage, _, name = reason.partition(".")
    meaning = _MEANINGS.get(stage, {}).get(name)
    return f" ({meaning})" if meaning else ""


def _said_of_tails(book: SourceBooks, drop: Sequence[str]) -> Iterator[str]:
    """Yield a line if many answers end with a marker, and for each marker to drop that ended none."""
    if (advice := tail_advice(book.source, book.counts, _answers(book))) is not None:
        yield advice
    for marker in unused_markers(drop, book.counts):
        yield f"source '{book.source}': no answer ends with '{marker}', which drop_tail names"


def _answers(book: SourceBooks) -> int:
    """How many examples were read and cleaned, whatever became of them then."""
    later = sum(
        rows for reason, rows in book.rejected.items() if reason.split(".")[0] not in ("read", "normalize", "clean")
    )
    return later + sum(sum(part.values()) for part in (book.written, book.duplicates, book.near_duplicates))
