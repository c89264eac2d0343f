"""What to do about sources whose rows fit no shape: one line for each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import pyarrow.compute as pc
import pyarrow.dataset as ds

from versatune.transforms.shapes.base import Row, RowError
from versatune.transforms.shapes.conversation import parse_row
from versatune.transforms.shapes.field_advice import ADVISED, advice
from versatune.transforms.shapes.field_proposal import propose_fields

_STAGE = "normalize"
_ROWS = 50
_BYTES = 8 << 20


def shape_advice(
    rejects: Sequence[str], mapped: Collection[str], read: Mapping[tuple[str, str], int] | None = None
) -> dict[str, str]:
    """Return what to say of each source, by its file of which the most rows could not be read.

    Args:
        rejects: Parquet files of rejected rows.
        mapped: sources to pass over.
        read: the rows of each source and file, where they are known; a file counts if most of its rows are rejected.
    """
    if not rejects:
        return {}
    table = ds.dataset(list(rejects), format="parquet")
    refused = (pc.field("stage") == _STAGE) & pc.field("reason").isin(list(ADVISED))
    counts: dict[tuple[str, str], Counter[str]] = {}
    columns = {"source": pc.field("source"), "uri": pc.field("origin", "uri"), "reason": pc.field("reason")}
    for batch in table.to_batches(columns=columns, filter=refused):
        for (source, uri, reason), number in Counter(zip(*(c.to_pylist() for c in batch.columns), strict=True)).items():
            counts.setdefault((source, uri), Counter())[reason] += number
    bad = [place for place, found in counts.items() if read is None or 2 * found.total() > read[place]]
    told: dict[str, str] = {}
    for place in sorted(bad, key=lambda place: -counts[place].total()):
        source, uri = place
        if source in told or source in mapped:
            continue
        rows = _most_alike(
            _sample(table, refused & (pc.field("source") == source) & (pc.field("origin", "uri") == uri))
        )
        more = sum(other == source for other, _ in bad) - 1
        others = f" (and of {more:,} more of its files)" if more else ""
        reason, number = counts[place].most_common(1)[0]
        of = f" of {read[place]:,}" if read else ""
        what = "have no known shape" if reason == "unknown_shape" else f"are rejected as {reason}"
        told[source] = f"{uri}: {number:,}{of} rows {what}{others}. {advice(propose_fields(rows), rows)}"
    return told


def _sample(table: ds.Dataset, wanted: ds.Expression) -> list[Row]:
    """Return some of the rows; of large ones fewer."""
    rows: list[Row] = []
    size = 0
    for batch in table.to_batches(columns=["payload"], filter=wanted, batch_size=_ROWS, batch_readahead=0):
        for payload in batch["payload"]:
            size += len(payload.as_buffer())
            try:
                rows.append(parse_row(payload.as_py()))
            except RowError:
                continue
            if len(rows) >= _ROWS or size > _BYTES:
                return rows
    return rows


def _most_alike(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that have the same fields as most."""
    layouts: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        layouts.setdefault(tuple(row), []).append(row)
    return max(layouts.values(), key=len, default=[])
