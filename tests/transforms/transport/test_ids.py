"""Ids as numbers and back."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from versatune.transforms.transport.ids import all_halves, hex_ids, id_halves, id_keys

IDS = st.lists(st.text("0123456789abcdef", min_size=32, max_size=32), max_size=20)


@given(IDS, st.integers(0, 5), st.integers(0, 20))
def test_ids_are_numbers_in_the_order_of_their_digits(names: list[str], start: int, length: int) -> None:
    part = pa.array(names, pa.string()).slice(start, length)
    names = part.to_pylist()
    halves = id_halves(part)
    assert halves.tolist() == [[int(name[:16], 16), int(name[16:], 16)] for name in names]
    assert id_keys(part).tolist() == [int(name[-4:], 16) for name in names]
    assert hex_ids(halves).to_pylist() == names
    assert [names[at] for at in np.lexsort((halves[:, 1], halves[:, 0]))] == sorted(names)


@given(st.lists(IDS, max_size=4))
def test_columns_and_chunks_follow_each_other(parts: list[list[str]]) -> None:
    columns = [pa.array(part, pa.string()) for part in parts]
    expected = id_halves(pa.array([name for part in parts for name in part], pa.string())).tolist()
    assert all_halves(columns).tolist() == expected
    assert id_halves(pa.chunked_array(columns, pa.string())).tolist() == expected
