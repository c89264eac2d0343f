"""What is said of a source's fields at the end of a build: a table, a line on texts that went unused, an error where a field map is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

from versatune.schemas.dataset import OTHER_FIELDS, FieldUse
from versatune.schemas.errors import DataError
from versatune.transforms.transport.field_counts import PROSE, UNUSED, USED, FieldCounts

_FEW_ROWS = 3
_FEW_SHARE = 0.01
_PROSE_SHARE = 0.25  # of the rows where it holds text: fewer, and it holds names or labels, of which some are long
_SHOWN = 6
_SHOWN_NAMES = 12


def field_uses(counts: Mapping[str, FieldCounts]) -> list[FieldUse]:
    """Return the fields that were used or held text, by source; within one the most unused first."""
    found: list[FieldUse] = []
    for source, counted in sorted(counts.items()):
        named = [(path, numbers) for path, numbers in counted.fields.items() if any(numbers) or path in counted.mapped]
        named += [(path, [0, 0, 0]) for path in counted.mapped if path not in counted.fields]
        sums = [sum(numbers[kind] for _, numbers in named) for kind in (USED, UNUSED, PROSE)]
        others = [all_rows - rows for all_rows, rows in zip(counted.total, sums, strict=True)]
        uses = [_use(source, path, numbers, counted) for path, numbers in named]
        uses.sort(key=lambda use: (-use.prose, -use.unused, -use.used, use.field))
        found += uses + ([_use(source, OTHER_FIELDS, others, counted)] if any(others) else [])
    return found


def _use(source: str, path: str, numbers: Sequence[int], counted: FieldCounts) -> FieldUse:
    return FieldUse(
        source=source,
        field=path,
        used=numbers[USED],
        unused=numbers[UNUSED],
        prose=numbers[PROSE],
        mapped=counted.mapped.get(path),
    )


def unused_texts(fields: Sequence[FieldUse], read: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Yield a source and the line that names its fields whose texts went into no example, in more than a few rows.

    Args:
        fields: as :func:`field_uses` returns them.
        read: by source, the rows that were read.
    """
    lost: dict[str, list[FieldUse]] = {}
    for use in fields:
        few = max(min(_FEW_ROWS, read[use.source]), _FEW_SHARE * read[use.source])
        if use.prose >= max(few, _PROSE_SHARE * use.unused, 1):
            lost.setdefault(use.source, []).append(use)
    for source, uses in lost.items():
        of_all = f" of {read[source]:,} rows"
        named = ", ".join(
            f"'{use.field}' ({use.prose:,}{'' if at else of_all})" for at, use in enumerate(uses[:_SHOWN])
        )
        more = f" and {len(uses) - _SHOWN} more fields" if len(uses) > _SHOWN else ""
        yield (
            source,
            f"text that went into no example: {named}{more}. A field map makes use of it",
        )


def check_mapped(counts: Mapping[str, FieldCounts]) -> None:
    """Refuse a field map that names a field which no row of its source has: a typing error would drop it in silence.

    Raises:
        DataError: naming the source, the field, and the nearest names that the rows have.
    """
    for source, counted in sorted(counts.items()):
        if absent := absent_fields(counted):
            raise DataError(f"source '{source}': " + "; ".join(absent_field(path, counted.fields) for path in absent))


def absent_fields(counted: FieldCounts) -> list[str]:
    """Return the mapped fields that are in no row."""
    return [path for path, rows in counted.mapped.items() if not rows]


def absent_field(path: str, names: Sequence[str] | Mapping[str, object]) -> str:
    """Say that a mapped field is in no row, and which names are."""
    near = difflib.get_close_matches(path, names, n=3, cutoff=0.5)
    if near:
        hint = f"did you mean {' or '.join(repr(name) for name in near)}?"
    else:
        shown = [f"'{name}'" for name in list(names)[:_SHOWN_NAMES]]
        hint = f"the rows have {', '.join(shown) or 'no fields'}{' and more' if len(names) > _SHOWN_NAMES else ''}."
    return f"the field map names '{path}', which is in no row; {hint} Mend sources.fields, or take it out of the map"
