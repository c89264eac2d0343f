"""What is said of a source's fields."""

from __future__ import annotations

import pytest

from versatune.schemas.dataset import OTHER_FIELDS, FieldUse
from versatune.schemas.errors import DataError
from versatune.transforms.reading.field_use import absent_field, check_mapped, field_uses, unused_texts
from versatune.transforms.transport import field_counts
from versatune.transforms.transport.field_counts import FieldCounts


def _use(field: str, prose: int, unused: int | None = None) -> FieldUse:
    return FieldUse(
        source="s", field=field, used=0, unused=prose if unused is None else unused, prose=prose, mapped=None
    )


def test_the_table_lists_every_source_the_most_unused_first() -> None:
    """Mapped fields have their rows; names of which nothing was counted are left out."""
    a = FieldCounts(
        {"q": [5, 0, 0], "note": [0, 5, 4], "id": [0, 5, 0], "seen": [0, 0, 0]}, [5, 10, 4], {"q": 6, "c": 0}
    )
    b = FieldCounts({"text": [2, 0, 0]}, [2, 0, 0])
    found = [tuple(use.model_dump().values()) for use in field_uses({"b": b, "a": a})]
    assert found == [
        ("a", "note", 0, 5, 4, None),
        ("a", "id", 0, 5, 0, None),
        ("a", "q", 5, 0, 0, 6),
        ("a", "c", 0, 0, 0, 0),
        ("b", "text", 2, 0, 0, None),
    ]


def test_fields_without_a_name_of_their_own_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the names, the sums are those of all fields."""
    monkeypatch.setattr(field_counts, "MAX_FIELDS", 2)
    counts = FieldCounts()
    for path in ("a", "b", "long-name", "x" * 500):
        counts.count(path, field_counts.UNUSED)
    counts.prune()
    found = {use.field: use.unused for use in field_uses({"s": counts})}
    assert found == {"a": 1, "b": 1, OTHER_FIELDS: 2}


@pytest.mark.parametrize(
    ("use", "read", "said"),
    [
        (_use("n", 1), 1, True),
        (_use("n", 2), 2, True),
        (_use("n", 2), 3, False),
        (_use("n", 3), 300, True),
        (_use("n", 3), 301, False),
        (_use("n", 0, 500), 500, False),
        (_use("n", 100, 500), 500, False),  # mostly labels, of which some are long
        (_use("n", 125, 500), 500, True),
    ],
)
def test_a_line_is_for_texts_in_more_than_a_few_rows(use: FieldUse, read: int, said: bool) -> None:
    """Three rows (or all of them) and one in a hundred, and a quarter of the texts have several words."""
    assert bool(list(unused_texts([use], {"s": read}))) is said


def test_one_line_a_source_names_the_fields_with_their_rows() -> None:
    """At most six of them."""
    uses = [_use(f"f{number}", 1000 - number) for number in range(8)]
    ((source, line),) = unused_texts(uses, {"s": 1204})
    assert source == "s"
    assert line.startswith("text that went into no example: 'f0' (1,000 of 1,204 rows), 'f1' (999), ")
    assert "'f5' (995) and 2 more fields." in line


def test_a_mapped_field_in_no_row_is_refused_with_the_nearest_names() -> None:
    """Those that occur in few rows are not; nor is anything where no row could be parsed."""
    check_mapped({"s": FieldCounts(mapped={"q": 1}), "t": FieldCounts()})
    counts = FieldCounts({"question": [1, 0, 0], "data.facts": [0, 0, 0]}, [1, 0, 0], {"question": 9, "data.fact": 0})
    with pytest.raises(DataError, match=r"source 's': the field map names 'data.fact'.* did you mean 'data.facts'\?"):
        check_mapped({"s": counts})


def test_without_a_near_name_the_names_of_the_rows_are_listed() -> None:
    """Twelve of them."""
    assert "the rows have 'a', 'b'." in absent_field("passage", ["a", "b"])
    assert "'n11' and more." in absent_field("passage", [f"n{number}" for number in range(40)])
    assert "the rows have no fields." in absent_field("passage", [])
