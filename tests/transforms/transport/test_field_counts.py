"""Counts by field add up, whatever the order, and are bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from versatune.transforms.transport import field_counts
from versatune.transforms.transport.field_counts import FieldCounts

_COUNTED = st.lists(st.tuples(st.text("abc", min_size=1, max_size=4), st.integers(0, 2)), max_size=60)


def _counts(counted: list[tuple[str, int]]) -> FieldCounts:
    counts = FieldCounts()
    for path, kind in counted:
        counts.count(path, kind)
    counts.prune()
    return counts


@given(_COUNTED, st.data())
def test_neither_order_nor_batches_decide_which_fields_have_names(
    counted: list[tuple[str, int]], data: st.DataObject
) -> None:
    """With far more names than are kept, cut anywhere and merged in any order, the result is that of one batch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(field_counts, "MAX_FIELDS", 3)
        patch.setattr(field_counts, "_PRUNED_AT", 5)
        whole = _counts(counted)
        order = data.draw(st.permutations(counted))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=4)))
        parts = [_counts(order[start:end]) for start, end in zip([0, *cuts], [*cuts, len(order)], strict=True)]
        merged = FieldCounts()
        for part in data.draw(st.permutations(parts)):
            merged.add(part)
    assert (merged.fields, merged.total) == (whole.fields, whole.total)
    assert len(merged.fields) <= 3
